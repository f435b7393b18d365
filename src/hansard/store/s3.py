"""The way to object storage: one client a process, and its errors in Hansard's words.

boto3 is imported when the first request is made, and only in threads: it waits. Requests are tried
again by botocore (throttling, 5xx, cut connections: exponential, with jitter); answers that are
cut in the middle go on where they were, see ``store.bucket``.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from hansard.errors import (
    BadSettings,
    DiskFull,
    FilesGone,
    HansardError,
    MachineError,
    MissingPart,
)
from hansard.shared import S3Settings

_HASTY_TRIES = 2
_HASTY_SECONDS = 5.0
"""Of requests that somebody waits for with a lock in his hands, or to know whether all is well."""

_CONNECTIONS = 48
"""Connections that are kept open for the next request."""

_ABSENT = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
_MEANINGS: tuple[tuple[set[str], type[HansardError], str, str], ...] = (
    (
        {"NoSuchBucket"},
        BadSettings,
        "There is no bucket {}",
        "Create it, or see the setting `files`.",
    ),
    (
        {
            *("QuotaExceeded", "InsufficientStorage", "507"),
            *("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"),
        },
        DiskFull,
        "There is no room left in bucket {}",
        "Raise its quota, or let retention remove what is old.",
    ),
    (
        {
            *("403", "401", "Forbidden", "Unauthorized", "AccessDenied", "AllAccessDisabled"),
            *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        },
        MachineError,
        "The object storage refuses us the use of bucket {}",
        "The key must be allowed to get, put, list and delete; docs/files.md has a policy.",
    ),
    (
        {"301", "PermanentRedirect", "AuthorizationHeaderMalformed"},
        BadSettings,
        "Bucket {} is in another region",
        "Set s3.region.",
    ),
    (
        {"501", "NotImplemented", "InvalidEncryptionAlgorithmError"},
        BadSettings,
        "The object storage of bucket {} cannot do what is asked",
        "Not every storage encrypts: see s3.encryption and docs/files.md.",
    ),
)
"""Codes of answers, and what they are for us. Any other may be over with the next try."""


def parsed(address: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; the prefix ends with a slash or is empty.

    Raises:
        BadSettings: it is no such address.
    """
    found = urlsplit(address)
    if found.scheme != "s3" or not found.netloc or found.query or found.fragment:
        raise BadSettings(
            f"This is no place in object storage: {address}.", hint="Like s3://bucket/prefix."
        )
    prefix = found.path.strip("/")
    return found.netloc, f"{prefix}/" if prefix else ""


_LOADING = threading.Lock()
"""A session makes one client at a time. What it reads for the first it knows for the next."""


@cache
def _session() -> Any:
    import boto3

    return boto3.session.Session()


class Clients:
    """Makes the clients of one process, each when it is first asked for."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._made: dict[bool, Any] = {}
        self._closed = False
        self._making = threading.Lock()

    def get(self, *, hasty: bool = False) -> Any:
        """The one client; threads share it. ``hasty``: one that gives up soon.

        Raises:
            MissingPart: boto3 is not installed.
            FilesGone: they were closed; who comes late is told, and opens no new connections.
            BadSettings: there is no region, or no such profile.
        """
        found = self._made.get(hasty)
        if found is None:
            with self._making:
                if self._closed:
                    raise FilesGone("The object storage is not used here any more.")
                found = self._made.get(hasty)
                if found is None:
                    found = self._made[hasty] = self._make(hasty=hasty)
        return found

    def _make(self, *, hasty: bool) -> Any:
        try:
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError as error:
            raise MissingPart(
                "Object storage needs the package boto3.", hint="pip install 'hansard[scale]'"
            ) from error
        asked = self._settings
        timeout = min(asked.timeout, _HASTY_SECONDS) if hasty else asked.timeout
        tries = min(asked.attempts, _HASTY_TRIES) if hasty else asked.attempts
        config = Config(
            connect_timeout=min(timeout, 10.0),
            read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            signature_version="s3v4",
            s3={"addressing_style": "path" if asked.path_style else "virtual"},
            # Others than AWS do not know the newer checksums; ours is the SHA-256 of the whole.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # Others than AWS have no regions, but a signature has one in it.
        region = asked.region or ("us-east-1" if asked.endpoint else None)
        try:
            with _LOADING:
                client = _session().client(
                    "s3",
                    endpoint_url=asked.endpoint,
                    region_name=region,
                    aws_access_key_id=asked.access_key,
                    aws_secret_access_key=asked.secret_key,
                    config=config,
                )
        except (BotoCoreError, ValueError) as error:
            raise BadSettings(
                f"Object storage cannot be used: {error}",
                hint="See the settings s3.endpoint and s3.region.",
            ) from error
        client.meta.events.register("before-call.s3.DeleteObjects", _with_md5)
        return client

    def close(self) -> None:
        """Let go of the connections."""
        with self._making:
            self._closed = True
            clients = list(self._made.values())
            self._made.clear()
        for client in clients:
            client.close()


def _with_md5(params: dict[str, Any], **_: Any) -> None:
    """Many that speak S3 want this header where AWS takes a newer checksum as well."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def encrypted(settings: S3Settings) -> dict[str, str]:
    """What is said with everything that is written about its encryption."""
    if settings.encryption == "none":
        return {}
    said: dict[str, str] = {"ServerSideEncryption": settings.encryption}
    if settings.kms_key is not None:
        said["SSEKMSKeyId"] = settings.kms_key
    return said


@contextmanager
def explained(bucket: str) -> Iterator[None]:
    """Errors of the client in Hansard's words; what is not there is a ``FileNotFoundError``."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from botocore.exceptions import PartialCredentialsError as Partial

    try:
        yield
    except ClientError as error:
        raise _refused(error, bucket) from error
    except (NoCredentialsError, Partial) as error:
        raise BadSettings(
            f"Object storage cannot be used: {error}.",
            hint="Set s3.access_key and s3.secret_key, or what AWS's own tools read.",
        ) from error
    except (BotoCoreError, ConnectionError, TimeoutError) as error:
        raise FilesGone(
            f"The object storage does not answer: {_short(error)}",
            hint="It is tried again. Is s3.endpoint right, and is there a network?",
        ) from error


def _refused(error: Any, bucket: str) -> HansardError | FileNotFoundError:
    """What an answer with an error means for us. ``error``: a ``ClientError``."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _ABSENT:
        return FileNotFoundError(code)
    for codes, kind, said, hint in _MEANINGS:
        if code in codes:
            return kind(f"{said.format(bucket)}: {_short(error)}", hint=hint)
    return FilesGone(
        f"The object storage does not do what is asked: {_short(error)}",
        hint="It is tried again; if that does not help, see docs/files.md.",
    )


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:300]


def cuts() -> tuple[type[Exception], ...]:
    """What an answer that is cut in the middle is raised as."""
    from http.client import HTTPException

    from botocore.exceptions import (
        HTTPClientError,
        IncompleteReadError,
        ReadTimeoutError,
        ResponseStreamingError,
    )
    from urllib3.exceptions import HTTPError

    return (
        *(HTTPClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError),
        *(HTTPError, HTTPException, ConnectionError, TimeoutError),
    )
