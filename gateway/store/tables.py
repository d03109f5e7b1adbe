"""The tables. One schema for SQLite and PostgreSQL; changes go through Alembic (`migrations/`).

All times are UTC, stored without a zone and read back with one (`UtcDateTime`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

BigKey = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time; aware in Python, naive UTC in the database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time into naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


def _time(*, nullable: bool = True) -> Any:
    return Column(UtcDateTime(), nullable=nullable)


class Image(SQLModel, table=True):
    """An approved image: what a tag pointed to when an admin approved it."""

    __tablename__ = "image"
    __table_args__ = (UniqueConstraint("name", "digest"), UniqueConstraint("name", "tag"))

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    digest: str
    tag: str | None = None
    entrypoint: list[str] = Field(sa_column=Column(JSON, nullable=False))
    cmd: list[str] = Field(sa_column=Column(JSON, nullable=False))
    workdir: str = "/"
    env: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # What it is on each platform: its digest there, and its configuration where that was asked for.
    platforms: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    urls: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    usage_notes: str | None = Field(default=None, sa_column=Column(Text))
    refdata_id: int | None = None
    default_refdata_mount_point: str | None = None
    registered_by: str
    registered_on: datetime = Field(sa_column=_time(nullable=False))


class ImageSite(SQLModel, table=True):
    """An image that is to be in a site's cache before a job wants it. `job_id` is the job that puts it there."""

    __tablename__ = "image_site"

    image_id: int = Field(primary_key=True)
    site: str = Field(primary_key=True)
    state: str
    job_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    error: str | None = Field(default=None, sa_column=Column(Text))
    updated: datetime = Field(sa_column=_time(nullable=False))


class Request(SQLModel, table=True):
    """What a user asks the admins for: an image, or reference data; and what came of it."""

    __tablename__ = "request"
    __table_args__ = (Index("ix_request_user_state", "user", "state"),)

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    target: str
    unpack: bool = False
    user: str
    note: str | None = Field(default=None, sa_column=Column(Text))
    state: str
    created: datetime = Field(sa_column=_time(nullable=False))
    answered: datetime | None = Field(default=None, sa_column=_time())
    answered_by: str | None = None
    answer: str | None = Field(default=None, sa_column=Column(Text))
    result: str | None = None


class Job(SQLModel, table=True):
    """One request of a user. `phase` is the newest of its transitions, kept here for queries.

    `clean` says that its directory shall go: "asked", or "forced" where nothing in it is waited for. `logs_stored` is when
    its logs were seen in S3, `logs_cleaned` whether they are gone from the site.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_user_updated", "user", "updated"),
        Index("ix_job_site_phase", "site", "phase"),
        Index("ix_job_user_id", "user", "id"),
        Index("ix_job_user_name", "user", "name", "id"),
        Index("ix_job_user_image", "user", "image_name", "id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigKey, primary_key=True, autoincrement=True)
    )
    user: str
    name: str | None = None
    image_name: str | None = None  # of `image`, for queries
    site: str
    phase: str
    created: datetime = Field(sa_column=_time(nullable=False))
    updated: datetime = Field(sa_column=_time(nullable=False))
    job_input: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    image: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    token: str
    num_containers: int
    cpus: int
    memory: int = Field(sa_column=Column(BigInteger, nullable=False))
    runtime: int
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    retries: int = 0
    input_file_count: int
    input_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    output_dir: str
    declobber: bool = False
    output_file_count: int | None = None
    reason: str | None = Field(default=None, sa_column=Column(Text))
    error: str | None = Field(default=None, sa_column=Column(Text))
    cancel_by: str | None = None
    cancel_time: datetime | None = Field(default=None, sa_column=_time())
    cpu_hours: float | None = None
    cpu_factor: float | None = None
    max_memory: int | None = Field(default=None, sa_column=Column(BigInteger))
    usage_final: bool = False
    cleaned: bool = False
    clean: str | None = None
    logpath: str | None = None
    logs_stored: datetime | None = Field(default=None, sa_column=_time())
    logs_cleaned: bool = False
    skip_check: bool = False  # whether its containers are to be looked for among those done before
    unplanned: bool = False  # it has no containers yet: other jobs are to write some of its inputs
    admin_meta: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class JobLabel(SQLModel, table=True):
    """A label of a job; `user` is the job's, so that a list of one user's jobs by a label reads no others'."""

    __tablename__ = "job_label"
    __table_args__ = (
        Index("ix_job_label_user_key", "user", "key", "job_id"),
        Index("ix_job_label_user_value", "user", "key", "value", "job_id"),
        Index("ix_job_label_value", "key", "value", "job_id"),  # of everyone's
    )

    job_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    key: str = Field(primary_key=True)
    user: str
    value: str


class JobShare(SQLModel, table=True):
    """Somebody who may read a job of another's: a `user`, or all of a `group`."""

    __tablename__ = "job_share"
    __table_args__ = (Index("ix_job_share_name", "kind", "name", "job_id"),)

    job_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)


class JobDependency(SQLModel, table=True):
    """Another job of the same user that must have ended (`afterany`), or ended well (`afterok`), before a job is submitted."""

    __tablename__ = "job_dependency"

    job_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    on_job_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    condition: str = Field(primary_key=True)


class IdempotencyKey(SQLModel, table=True):
    """The job that a request with this key made; `digest` is the SHA-256 of the request."""

    __tablename__ = "idempotency_key"

    user: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str
    job_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    created: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False, index=True))


class Transition(SQLModel, table=True):
    """The history of jobs; rows are only ever added."""

    __tablename__ = "transition"

    id: int | None = Field(
        default=None, sa_column=Column(BigKey, primary_key=True, autoincrement=True)
    )
    job_id: int = Field(sa_column=Column(BigInteger, index=True, nullable=False))
    container: int | None = None
    phase: str
    time: datetime = Field(sa_column=_time(nullable=False))
    detail: str | None = Field(default=None, sa_column=Column(Text))


class Container(SQLModel, table=True):
    """One run of the image over its share of the inputs; the last run, where it was run again.

    `task` is its array task in the submission. `earlier` has what became of earlier runs, `retried` how many of those were
    retries since the job was submitted or restarted. `requeued` is how often since then it lost its node or was preempted.
    `upload_only`: it has run, and its outputs alone are uploaded.
    `generated` are files that it finds beside its inputs: name, text.
    """

    __tablename__ = "container"
    __table_args__ = (Index("ix_container_phase", "phase"),)

    job_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    index: int = Field(primary_key=True)
    phase: str
    fingerprint: str | None = Field(default=None, index=True)
    skipped: str | None = None  # by which container it was done before, as 12_3
    args: list[str] = Field(sa_column=Column(JSON, nullable=False))
    environment: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    generated: dict[str, str] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True))
    )
    submission_id: int | None = None
    task: int | None = None
    upload_only: bool = False
    retried: int = 0
    requeued: int = 0
    earlier: list[dict[str, Any]] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    slurm_job_id: str | None = None
    slurm_state: str | None = None
    node: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = Field(default=None, sa_column=Column(Text))
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    ended: datetime | None = Field(default=None, sa_column=_time())
    usage: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))


class InputFile(SQLModel, table=True):
    """One object that a container reads, as S3 showed it at submission; without a `container` each one reads it."""

    __tablename__ = "input_file"
    __table_args__ = (Index("ix_input_file_job_container", "job_id", "container"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigKey, primary_key=True, autoincrement=True)
    )
    job_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    container: int | None = None
    position: int
    bucket: str
    key: str
    path: str
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    etag: str
    part_sizes: list[int] | None = Field(default=None, sa_column=Column(JSON))
    crc64nvme: str | None = None
    check_crc64nvme: bool = False


class OutputFile(SQLModel, table=True):
    """One object that a container writes: granted first, verified in S3 after its end.

    `md5` is empty and `etag` unknown where the node announced a CRC, or finds one as it sends: its result says the rest.
    """

    __tablename__ = "output_file"
    __table_args__ = (UniqueConstraint("job_id", "key"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigKey, primary_key=True, autoincrement=True)
    )
    job_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    container: int
    bucket: str
    key: str
    path: str
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    md5: str
    etag: str | None = None
    crc64nvme: str | None = None
    upload_id: str | None = None
    verified: bool = False


class Submission(SQLModel, table=True):
    """One Slurm job of a gateway job: written with its unique tag before sbatch is called.

    It runs `containers`, in that order, `per_task` of them side by side in each array task.
    """

    __tablename__ = "submission"

    id: int | None = Field(
        default=None, sa_column=Column(BigKey, primary_key=True, autoincrement=True)
    )
    job_id: int = Field(sa_column=Column(BigInteger, index=True, nullable=False))
    number: int
    containers: list[int] = Field(sa_column=Column(JSON, nullable=False))
    per_task: int = 1
    upload_only: bool = False
    tag: str = Field(unique=True)
    state: str
    created: datetime = Field(sa_column=_time(nullable=False))
    slurm_job_id: str | None = Field(default=None, index=True)
    submitted: datetime | None = Field(default=None, sa_column=_time())
    attempts: int = 0
    script: str | None = Field(default=None, sa_column=Column(Text))


class Audit(SQLModel, table=True):
    """Every write to the system: who, from where, what, and how it went."""

    __tablename__ = "audit"

    id: int | None = Field(
        default=None, sa_column=Column(BigKey, primary_key=True, autoincrement=True)
    )
    time: datetime = Field(sa_column=_time(nullable=False))
    user: str
    origin: str
    action: str
    target: str
    result: str


class Token(SQLModel, table=True):
    """A bearer token: of whom, until when, and the SHA-256 of the whole, never the token itself."""

    __tablename__ = "token"

    id: str = Field(primary_key=True)
    user: str = Field(index=True)
    name: str | None = None
    digest: str
    created: datetime = Field(sa_column=_time(nullable=False))
    created_by: str
    expires: datetime = Field(sa_column=_time(nullable=False))
    last_used: datetime | None = Field(default=None, sa_column=_time())
    revoked: datetime | None = Field(default=None, sa_column=_time())
    revoked_by: str | None = None


class Upload(SQLModel, table=True):
    """A multipart upload that a user was granted, so that it can go on, and is aborted when nobody does. `md5` is base64."""

    __tablename__ = "upload"

    id: int | None = Field(default=None, primary_key=True)
    user: str
    bucket: str
    key: str = Field(index=True)
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    md5: str
    crc64nvme: bool
    part_size: int = Field(sa_column=Column(BigInteger, nullable=False))
    upload_id: str
    created: datetime = Field(sa_column=_time(nullable=False))


class Refdata(SQLModel, table=True):
    """An object that was registered as reference data, as S3 showed it then; `number` counts those that were forced."""

    __tablename__ = "refdata"
    __table_args__ = (
        UniqueConstraint("bucket", "key", "etag", "number"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    bucket: str
    key: str
    number: int = 0
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    etag: str
    part_sizes: list[int] | None = Field(default=None, sa_column=Column(JSON))
    crc64nvme: str | None = None
    check_crc64nvme: bool = False
    unpack: bool
    registered_by: str
    registered_on: datetime = Field(sa_column=_time(nullable=False))


class RefdataSite(SQLModel, table=True):
    """Reference data at a site. `job_id` is the job that stages it; `remove` says that its files are to go first."""

    __tablename__ = "refdata_site"

    refdata_id: int = Field(primary_key=True)
    site: str = Field(primary_key=True)
    state: str
    job_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    error: str | None = Field(default=None, sa_column=Column(Text))
    remove: bool = False
    unpacked_bytes: int | None = Field(default=None, sa_column=Column(BigInteger))


class RefdataTransition(SQLModel, table=True):
    """The history of reference data at its sites; rows are only ever added."""

    __tablename__ = "refdata_transition"

    id: int | None = Field(default=None, primary_key=True)
    refdata_id: int = Field(index=True)
    site: str
    state: str
    time: datetime = Field(sa_column=_time(nullable=False))
    detail: str | None = Field(default=None, sa_column=Column(Text))


class JobRefdata(SQLModel, table=True):
    """The reference data that a job's containers see."""

    __tablename__ = "job_refdata"

    job_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    refdata_id: int = Field(index=True)


class Subscriber(SQLModel, table=True):
    """Who is told of transitions: a webhook of a user or of the configuration (`name`), or Kafka.

    `cursor` is the last transition that it was told, or that is none for it; `resent` the last row of `resend`.
    """

    __tablename__ = "subscriber"
    __table_args__ = (UniqueConstraint("kind", "name"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    name: str | None = None
    user: str | None = Field(default=None, index=True)
    url: str | None = Field(default=None, sa_column=Column(Text))
    secret: str | None = None
    states: list[str] = Field(sa_column=Column(JSON, nullable=False))
    containers: bool = False
    created: datetime = Field(sa_column=_time(nullable=False))
    cursor: int = Field(sa_column=Column(BigInteger, nullable=False))
    resent: int = 0
    last_success: datetime | None = Field(default=None, sa_column=_time())
    failing_since: datetime | None = Field(default=None, sa_column=_time())
    failures: int = 0
    last_error: str | None = Field(default=None, sa_column=Column(Text))
    disabled: datetime | None = Field(default=None, sa_column=_time())


class Resend(SQLModel, table=True):
    """A transition that an admin has sent to the subscribers once more."""

    __tablename__ = "resend"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    transition_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    by: str
    time: datetime = Field(sa_column=_time(nullable=False))


class SiteSwitch(SQLModel, table=True):
    """Whether a site takes jobs, where an admin has said so: it goes before the configuration."""

    __tablename__ = "site_switch"

    site: str = Field(primary_key=True)
    active: bool
    reason: str | None = Field(default=None, sa_column=Column(Text))
    changed_by: str
    changed: datetime = Field(sa_column=_time(nullable=False))
