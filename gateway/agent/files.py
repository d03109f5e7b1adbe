"""The files that daemon and agent share: parsed once, here, and written so that nobody reads half.

The contract is docs/node-protocol.md. Models are NamedTuples: importing dataclasses takes some
10 ms, and a container starts the agent four times.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Tuple

Clock = Callable[[], float]
Say = Callable[[str], None]
_QUERY = re.compile(r"\?[^\s'\"<>]*")


class ContractError(Exception):
    """A file of the daemon is not what docs/node-protocol.md says."""


def redact(text: str) -> str:
    """Return the text without what follows a question mark: a presigned URL's query is a secret."""
    return _QUERY.sub("?…", text)


def utc(seconds: float) -> str:
    """Return a moment (seconds since 1970) in ISO 8601, UTC, with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a file (0600) under a temporary name in its directory, sync and rename it."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{time.monotonic_ns()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(document, ensure_ascii=True).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Fields:
    """A JSON object whose members are read with their type."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ContractError(f"{where}: an object is expected")
        self._value: Dict[str, Any] = value
        self._where = where

    def _get(self, name: str, kinds: Tuple[type, ...]) -> Any:
        value = self._value.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ContractError(f"{self._where}: {name!r} is missing or of the wrong type")
        return value

    def text(self, name: str) -> str:
        """Return a string member."""
        return str(self._get(name, (str,)))

    def text_or_none(self, name: str) -> Optional[str]:
        """Return a string member; None where it is null or not there."""
        return None if self._value.get(name) is None else self.text(name)

    def whole(self, name: str) -> int:
        """Return an integer member."""
        return int(self._get(name, (int,)))

    def whole_or_none(self, name: str) -> Optional[int]:
        """Return an integer member; None where it is null or not there."""
        return None if self._value.get(name) is None else self.whole(name)

    def number(self, name: str) -> float:
        """Return a number member."""
        return float(self._get(name, (int, float)))

    def flag(self, name: str) -> bool:
        """Return a boolean member."""
        return bool(self._get(name, (bool,)))

    def flag_or_false(self, name: str) -> bool:
        """Return a boolean member; False where it is not there."""
        return name in self._value and self.flag(name)

    def texts(self, name: str) -> Tuple[str, ...]:
        """Return a list of strings; an absent or null one is empty."""
        if self._value.get(name) is None:
            return ()
        values = self._get(name, (list,))
        if not all(isinstance(value, str) for value in values):
            raise ContractError(f"{self._where}: {name!r} must hold strings")
        return tuple(values)

    def wholes(self, name: str) -> Optional[Tuple[int, ...]]:
        """Return a list of integers, or None."""
        if self._value.get(name) is None:
            return None
        return tuple(int(value) for value in self._get(name, (list,)))

    def pairs(self, name: str) -> Dict[str, str]:
        """Return an object of strings; an absent one is empty."""
        if self._value.get(name) is None:
            return {}
        return {str(key): str(value) for key, value in self._get(name, (dict,)).items()}

    def inner(self, name: str) -> Fields:
        """Return an object member."""
        return Fields(self._get(name, (dict,)), f"{self._where}: {name}")

    def inner_or_none(self, name: str) -> Optional[Fields]:
        """Return an object member, or None."""
        return None if self._value.get(name) is None else self.inner(name)

    def each(self, name: str) -> List[Fields]:
        """Return a list of objects; an absent or null one is empty."""
        if self._value.get(name) is None:
            return []
        return [Fields(v, f"{self._where}: {name}") for v in self._get(name, (list,))]


def parse_fields(text: bytes, where: str) -> Fields:
    """Read a JSON object; `where` is what errors call it.

    Raises
    ------
    ContractError
        When it is not JSON or not an object.
    """
    try:
        return Fields(json.loads(text), where)
    except ValueError as exc:
        raise ContractError(f"{where} is not JSON") from exc


def read_fields(path: Path) -> Fields:
    """Read a file that holds a JSON object; raises as `parse_fields`."""
    return parse_fields(path.read_bytes(), path.name)


class Image(NamedTuple):
    """The image of a job; `reference` is by digest."""

    reference: str
    digest: str
    entrypoint: Tuple[str, ...]
    cmd: Tuple[str, ...]
    workdir: str
    env: Dict[str, str]
    login: bool = False


class Staging(NamedTuple):
    """What a job that stages reference data does: unpack its one input into `directory`/`name`.

    One whose kind is `image` puts the job's image into the cache; the rest has no meaning for it.
    """

    kind: str
    file_name: str
    directory: Path
    name: str
    max_bytes: int
    max_files: int


class Generated(NamedTuple):
    """A file that the daemon writes beside the inputs; `path` is relative to the input directory."""

    path: str
    text: str


def _generated(fields: Fields) -> Tuple[Generated, ...]:
    return tuple(Generated(g.text("path"), g.text("text")) for g in fields.each("generated"))


class Trust(NamedTuple):
    """What is trusted of a host (with its port, unless that is 443) and of the names below it; "" is any.

    `ca_file`: certificates in place of the system's.
    """

    host: str
    ca_file: Optional[str] = None
    insecure: bool = False


class Storage(Protocol):
    """How object stores are reached: part of what a job is told. `part_size` in bytes."""

    @property
    def part_size(self) -> int:
        """Larger outputs are uploaded in parts of this size."""

    @property
    def trusts(self) -> Tuple[Trust, ...]:
        """What certificates are trusted, by host."""


class Road(NamedTuple):
    """Where the daemon answers over TLS, and the certificates to trust in place of the system's."""

    url: str
    ca_file: Optional[str]


class Job(NamedTuple):
    """What the containers of a job have in common (job.json). Memory and sizes in bytes."""

    job_id: int
    token: str
    mailbox: Path
    job_dir: Path
    agent: str
    python: str
    image: Image
    image_cache: Path
    apptainer: str
    apptainer_flags: Tuple[str, ...]
    no_https: bool
    input_mount_point: str
    output_mount_point: str
    cpus: int
    memory: int
    run_memory_mb: Optional[int]
    runtime_seconds: int
    grace_seconds: int
    scratch: Optional[str]
    max_log_size: int
    part_size: int
    trusts: Tuple[Trust, ...]
    srun: str
    refdata: Tuple[Tuple[str, str], ...]
    generated: Tuple[Generated, ...]
    staging: Optional[Staging]
    gpus: int = 0
    nodes: int = 1
    submission: int = 0
    grants: Optional[Road] = None

    def __repr__(self) -> str:
        return f"Job({self.job_id})"


def _versioned(path: Path) -> Fields:
    fields = read_fields(path)
    if fields.whole("version") != 1:
        raise ContractError(f"{path.name} is of another version than 1")
    return fields


def read_job(path: Path, submission: int = 0) -> Job:
    """Read job.json, for the submission of that number."""
    f = _versioned(path)
    image, s3 = f.inner("image"), f.inner("s3")
    return Job(
        job_id=f.whole("job_id"),
        token=f.text("token"),
        mailbox=Path(f.text("mailbox")),
        job_dir=Path(f.text("job_dir")),
        agent=f.text("agent"),
        python=f.text("python"),
        image=Image(
            image.text("reference"),
            image.text("digest"),
            image.texts("entrypoint"),
            image.texts("cmd"),
            image.text_or_none("workdir") or "/",
            image.pairs("env"),
            image.flag_or_false("login"),
        ),
        image_cache=Path(f.text("image_cache")),
        apptainer=f.text("apptainer"),
        apptainer_flags=f.texts("apptainer_flags"),
        no_https=f.flag("no_https"),
        input_mount_point=f.text("input_mount_point"),
        output_mount_point=f.text("output_mount_point"),
        cpus=f.whole("cpus"),
        memory=f.whole("memory"),
        run_memory_mb=f.whole_or_none("run_memory_mb"),
        runtime_seconds=f.whole("runtime_seconds"),
        grace_seconds=f.whole("grace_seconds"),
        scratch=f.text_or_none("scratch"),
        max_log_size=f.whole("max_log_size"),
        part_size=s3.whole("part_size"),
        trusts=tuple(
            Trust(t.text("host"), t.text_or_none("ca_file"), t.flag("insecure"))
            for t in s3.each("stores")
        ),
        srun=f.text_or_none("srun") or "srun",
        refdata=tuple((r.text("path"), r.text("mount_point")) for r in f.each("refdata")),
        generated=_generated(f),
        staging=_staging(f.inner_or_none("staging")),
        gpus=f.whole_or_none("gpus") or 0,
        nodes=f.whole_or_none("nodes") or 1,
        submission=submission,
        grants=_road(f.inner_or_none("grants")),
    )


def _road(fields: Optional[Fields]) -> Optional[Road]:
    return None if fields is None else Road(fields.text("url"), fields.text_or_none("ca_file"))


def _staging(fields: Optional[Fields]) -> Optional[Staging]:
    if fields is None:
        return None
    if fields.text("kind") == "image":
        return Staging("image", "", Path(), "", 0, 0)
    return Staging(
        fields.text("kind"),
        fields.text("file_name"),
        Path(fields.text("directory")),
        fields.text("name"),
        fields.whole("max_bytes"),
        fields.whole("max_files"),
    )


class Submission(NamedTuple):
    """Which containers a Slurm job runs (submit-<k>.json), `per_task` of them in each array task."""

    containers: Tuple[int, ...]
    per_task: int
    upload_only: bool

    def of_task(self, task: int) -> Tuple[int, ...]:
        """Return the containers of an array task.

        Raises
        ------
        ContractError
            When it has none.
        """
        mine = self.containers[task * self.per_task : (task + 1) * self.per_task]
        if not mine:
            raise ContractError(f"the submission has no containers for array task {task}")
        return mine


def read_submission(path: Path) -> Submission:
    """Read submit-<k>.json."""
    f = _versioned(path)
    return Submission(f.wholes("containers") or (), f.whole("per_task"), f.flag("upload_only"))


class Input(NamedTuple):
    """An object to fetch; `path` is relative to the input directory, `etag` without quotes.

    A `crc64nvme` must be that of the bytes; `stored_crc64nvme` is what the store keeps, and proves them as the ETag does.
    """

    id: int
    path: str
    size: int
    etag: str
    part_sizes: Optional[Tuple[int, ...]]
    crc64nvme: Optional[str]
    stored_crc64nvme: Optional[str] = None


class Container(NamedTuple):
    """What one container is given (container.json)."""

    args: Tuple[str, ...]
    environment: Dict[str, str]
    inputs: Tuple[Input, ...]
    generated: Tuple[Generated, ...]
    attempt: int = 1


def read_container(path: Path) -> Container:
    """Read container.json."""
    f = _versioned(path)
    inputs = tuple(
        Input(
            i.whole("id"),
            i.text("path"),
            i.whole("size"),
            i.text("etag"),
            i.wholes("part_sizes"),
            i.text_or_none("crc64nvme"),
            i.text_or_none("stored_crc64nvme"),
        )
        for i in f.each("inputs")
    )
    attempt = f.whole_or_none("attempt") or 1
    return Container(f.texts("args"), f.pairs("environment"), inputs, _generated(f), attempt)


class Output(NamedTuple):
    """An object that was uploaded, with its ETag in S3 and the CRC, base64, that the node computed."""

    path: str
    size: int
    etag: str
    crc64nvme: Optional[str] = None
    crc32: Optional[str] = None


class StepResult(NamedTuple):
    """How a step ended; the batch process composes result.json of three of these."""

    outcome: str
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    error: Optional[str] = None
    transferred: int = 0
    image_cached: bool = False
    outputs: Tuple[Output, ...] = ()
    log_truncated: bool = False
    memory_ran_out: bool = False
    disk_full: bool = False

    def write(self, path: Path) -> None:
        """Write this as a step file."""
        outputs = [output._asdict() for output in self.outputs]
        write_json(path, {**self._asdict(), "outputs": outputs})


def read_step(path: Path) -> StepResult:
    """Read a step file."""
    f = read_fields(path)
    return StepResult(
        outcome=f.text("outcome"),
        exit_code=f.whole_or_none("exit_code"),
        signal=f.whole_or_none("signal"),
        error=f.text_or_none("error"),
        transferred=f.whole("transferred"),
        image_cached=f.flag("image_cached"),
        outputs=tuple(
            Output(
                o.text("path"),
                o.whole("size"),
                o.text("etag"),
                o.text_or_none("crc64nvme"),
                o.text_or_none("crc32"),
            )
            for o in f.each("outputs")
        ),
        log_truncated=f.flag("log_truncated"),
        memory_ran_out=f.flag("memory_ran_out"),
        disk_full=f.flag("disk_full"),
    )
