"""Settings of what many machines share: database, object storage, broker, archive."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hansard.machine import Section


class PostgresSettings(Section):
    """The connections to PostgreSQL, where ``database`` names one."""

    connections: int = Field(
        16, ge=2, description="Most connections of a process of each kind: hasty and lasting."
    )


class S3Settings(Section):
    """Object storage, where ``files`` names some: AWS, MinIO, R2 and whatever speaks S3."""

    endpoint: str | None = Field(
        None, description="Address of the service; AWS of the region where it is not set."
    )
    region: str | None = Field(None, description="Region; the usual AWS sources when not set.")
    access_key: str | None = Field(
        None, repr=False, description="Key id; the usual AWS sources when not set."
    )
    secret_key: str | None = Field(None, repr=False, description="Secret of the key.")
    encryption: Literal["none", "AES256", "aws:kms"] = Field(
        "none", description="Server-side encryption that is asked for."
    )
    kms_key: str | None = Field(None, description="Key of aws:kms; the bucket's when not set.")
    path_style: bool = Field(
        True, description="The bucket in the path, as MinIO wants it, not in the host's name."
    )
    part: int = Field(
        8 * 2**20, ge=5 * 2**20, description="Bytes of one part of a multipart transfer."
    )
    at_once: int = Field(4, ge=1, description="Parts under way at the same time.")
    attempts: int = Field(8, ge=1, description="Tries of one request.")
    timeout: float = Field(30.0, gt=0, description="Seconds to wait for an answer.")
    direct: bool = Field(
        False, description="Send clients to the storage itself for media: presigned addresses."
    )
    direct_seconds: float = Field(
        3600.0, gt=0, description="How long a presigned address is good for."
    )


class DeliverySettings(Section):
    """Waking workers of other machines by a broker, where ``broker`` names one."""

    concurrency: int | None = Field(
        None, ge=1, description="Units of work at a time of one worker; chosen when not set."
    )
    round_seconds: float = Field(
        5.0, gt=0, description="Seconds between two looks for work that has no permit."
    )
    quorum: bool = Field(True, description="Quorum queues on RabbitMQ: they survive a node.")
    prefix: str = Field("hansard", description="First word of the names of queues and exchanges.")
    spot_url: str | None = Field(
        None, description="Address that answers 200 when this machine is about to be taken away."
    )


class ArchiveSettings(Section):
    """Where old meetings go: ``hansard archive``."""

    place: str | None = Field(
        None,
        description="s3://bucket/prefix or a directory; archive/ beside the files if not set.",
    )
    days: float | None = Field(
        None, gt=0, description="Days after which ended transcriptions are archived by themselves."
    )
