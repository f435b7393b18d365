"""Rules of the bucket itself: what was given up goes, whether or not anybody of us is running."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hansard.errors import HansardError

if TYPE_CHECKING:
    from hansard.store.bucket import Bucket

_log = logging.getLogger("hansard.store")

PARTS_DAYS = 2
"""Days after which the parts of an upload that was not completed go."""
PREPARED_DAYS = 30
"""Days after which prepared audio goes; it can be made again."""


def rules(prefix: str) -> list[dict[str, Any]]:
    """The rules for what lies below a prefix, which ends with a slash or is empty."""
    name = f"hansard {prefix}".strip()
    return [
        {
            "ID": f"{name} broken-off uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": PARTS_DAYS},
        },
        {
            "ID": f"{name} prepared audio",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{prefix}pcm/"},
            "Expiration": {"Days": PREPARED_DAYS},
        },
    ]


_advised: set[str] = set()
"""Buckets whose owner was told what to set himself."""


def see_to(bucket: Bucket) -> bool:
    """Add our rules to those that the bucket has; where we may not, say once what to add.

    Returns:
        Whether the bucket has them.
    """
    place = f"s3://{bucket.name}/{bucket.prefix}"
    if place in _advised:
        return False
    try:
        others, missing = _compared(bucket)
        if missing:
            with bucket.client(hasty=True) as client:
                client.put_bucket_lifecycle_configuration(
                    Bucket=bucket.name, LifecycleConfiguration={"Rules": [*others, *missing]}
                )
            _log.info("%s has rules now for what is given up", place)
    except (HansardError, FileNotFoundError) as error:
        _advised.add(place)
        _log.warning(
            "the rules of %s cannot be set (%s): let its owner set AbortIncompleteMultipartUpload "
            "after %d days, and expire %spcm/ after %d; see docs/files.md",
            *(place, error, PARTS_DAYS, bucket.prefix, PREPARED_DAYS),
        )
        return False
    return True


def _compared(bucket: Bucket) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rules that there are, and those of ours that are missing."""
    try:
        with bucket.client(hasty=True) as client:
            said = client.get_bucket_lifecycle_configuration(Bucket=bucket.name)
    except HansardError as error:
        code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
        if code != "NoSuchLifecycleConfiguration":
            raise
        said = {}
    found = list(said.get("Rules", ()))
    known = {rule.get("ID") for rule in found}
    return found, [rule for rule in rules(bucket.prefix) if rule["ID"] not in known]
