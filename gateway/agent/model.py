"""What job.json, container.json and the grants say, as immutable values.

Parsing happens here, once; whatever is missing or of another type is a `ProtocolError` naming the
key. The rules are those of docs/node-protocol.md; unknown keys are left to newer agents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import ProtocolError


class Image(NamedTuple):
    """The image of a job; `env` is the image's own environment where the daemon gives it."""

    reference: str
    digest: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    workdir: str
    env: tuple[tuple[str, str], ...]


class S3Options(NamedTuple):
    """How S3 is spoken to; `part_size` in bytes."""

    ca_file: str | None
    insecure: bool
    part_size: int


class Job(NamedTuple):
    """job.json. Sizes in bytes but `run_memory_mb` (MiB, as Slurm counts), times in seconds."""

    job_id: int
    token: str
    mailbox: str
    job_dir: str
    agent: str
    python: str
    image: Image
    image_cache: str
    apptainer: str
    apptainer_flags: tuple[str, ...]
    no_https: bool
    input_mount_point: str
    output_mount_point: str
    refdata: tuple[tuple[str, str], ...]
    cpus: int
    memory: int
    run_memory_mb: int
    runtime_seconds: float
    grace_seconds: float
    scratch: str | None
    max_log_size: int
    s3: S3Options

    def __repr__(self) -> str:
        return f"Job({self.job_id})"


class InputFile(NamedTuple):
    """One input: `path` below the input directory, `size` in bytes, `etag` without quotes."""

    id: int
    path: str
    size: int
    etag: str
    part_sizes: tuple[int, ...] | None
    crc64nvme: str | None


class Container(NamedTuple):
    """container.json."""

    index: int
    args: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    inputs: tuple[InputFile, ...]


class Access(NamedTuple):
    """A presigned request: the URL is a secret and is never shown."""

    url: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return "Access(…)"


class Multipart(NamedTuple):
    """Leave for a multipart upload: one access for each part, counted from 1, and one to complete."""

    part_size: int
    parts: tuple[Access, ...]
    complete: Access


class OutputGrant(NamedTuple):
    """Leave to write one output, by one PUT or in parts."""

    path: str
    put: Access | None
    multipart: Multipart | None


class Grants(NamedTuple):
    """One answer of the daemon."""

    seq: int
    error: str | None
    inputs: tuple[tuple[int, Access], ...]
    outputs: tuple[OutputGrant, ...]


def parse_job(data: Any) -> Job:
    """Return the model of job.json; raises ProtocolError."""
    root = _Reader(data, "job.json")
    root.version()
    image, s3 = root.sub("image"), root.sub("s3")
    refdata = data.get("refdata") or []
    binds = [_Reader(item, "job.json: refdata") for item in refdata]
    return Job(
        job_id=root.int("job_id"),
        token=root.str("token"),
        mailbox=root.str("mailbox"),
        job_dir=root.str("job_dir"),
        agent=root.str("agent"),
        python=root.str("python"),
        image=Image(
            reference=image.str("reference"),
            digest=image.str("digest"),
            entrypoint=image.strings("entrypoint"),
            cmd=image.strings("cmd"),
            workdir=image.str("workdir") or "/",
            env=image.pairs("env"),
        ),
        image_cache=root.str("image_cache"),
        apptainer=root.str("apptainer"),
        apptainer_flags=root.strings("apptainer_flags"),
        no_https=root.bool("no_https"),
        input_mount_point=root.str("input_mount_point"),
        output_mount_point=root.str("output_mount_point"),
        refdata=tuple((bind.str("path"), bind.str("mount_point")) for bind in binds),
        cpus=root.int("cpus"),
        memory=root.int("memory"),
        run_memory_mb=root.int("run_memory_mb"),
        runtime_seconds=root.number("runtime_seconds"),
        grace_seconds=root.number("grace_seconds"),
        scratch=root.optional("scratch"),
        max_log_size=root.int("max_log_size"),
        s3=S3Options(s3.optional("ca_file"), s3.bool("insecure"), s3.int("part_size")),
    )


def parse_container(data: Any) -> Container:
    """Return the model of container.json; raises ProtocolError."""
    root = _Reader(data, "container.json")
    root.version()
    inputs = [_input(_Reader(item, "container.json: inputs")) for item in root.list("inputs")]
    return Container(
        index=root.int("index"),
        args=root.strings("args"),
        environment=root.pairs("environment"),
        inputs=tuple(inputs),
    )


def _input(item: _Reader) -> InputFile:
    path = item.str("path")
    if not path or path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ProtocolError(f"container.json: the input path {path!r} leads out of its directory")
    sizes = item.data.get("part_sizes")
    return InputFile(
        id=item.int("id"),
        path=path,
        size=item.int("size"),
        etag=item.str("etag").strip('"'),
        part_sizes=None if sizes is None else tuple(int(size) for size in sizes),
        crc64nvme=item.optional("crc64nvme"),
    )


def parse_grants(data: Any) -> Grants:
    """Return the model of one file of grants/; raises ProtocolError."""
    root = _Reader(data, "grants")
    root.version()
    inputs = [_Reader(item, "grants: inputs") for item in data.get("inputs") or []]
    outputs = [_Reader(item, "grants: outputs") for item in data.get("outputs") or []]
    return Grants(
        seq=root.int("seq"),
        error=root.optional("error"),
        inputs=tuple((item.int("id"), _access(item)) for item in inputs),
        outputs=tuple(_output(item) for item in outputs),
    )


def _access(item: _Reader) -> Access:
    return Access(item.str("url"), item.pairs("headers"))


def _output(item: _Reader) -> OutputGrant:
    put = item.data.get("put")
    multipart = item.data.get("multipart")
    if (put is None) == (multipart is None):
        raise ProtocolError("grants: an output needs either put or multipart")
    if put is not None:
        return OutputGrant(item.str("path"), _access(_Reader(put, "grants: put")), None)
    plan = _Reader(multipart, "grants: multipart")
    parts = [_Reader(part, "grants: parts") for part in plan.list("parts")]
    if [part.int("number") for part in parts] != list(range(1, len(parts) + 1)):
        raise ProtocolError("grants: the parts are not numbered from 1 without a gap")
    accesses = tuple(_access(part) for part in parts)
    grant = Multipart(plan.int("part_size"), accesses, _access(plan.sub("complete")))
    return OutputGrant(item.str("path"), None, grant)


class _Reader:
    """A JSON object whose values are asked for by type."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ProtocolError(f"{where}: this is no JSON object")
        self.data: dict[str, Any] = data
        self._where = where

    def version(self) -> None:
        if self.data.get("version") != 1:
            raise ProtocolError(f"{self._where}: version {self.data.get('version')!r}, not 1")

    def _get(self, key: str, *types: type) -> Any:
        value = self.data.get(key)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ProtocolError(f"{self._where}: {key} is missing or of a wrong type")
        return value

    def str(self, key: str) -> str:
        return str(self._get(key, str))

    def optional(self, key: str) -> str | None:
        return None if self.data.get(key) is None else str(self._get(key, str))

    def int(self, key: str) -> int:
        return int(self._get(key, int))

    def number(self, key: str) -> float:
        return float(self._get(key, int, float))

    def bool(self, key: str) -> bool:
        return bool(self._get(key, bool))

    def list(self, key: str) -> list[Any]:
        return list(self._get(key, list))

    def sub(self, key: str) -> _Reader:
        return _Reader(self.data.get(key), f"{self._where}: {key}")

    def strings(self, key: str) -> tuple[str, ...]:
        return tuple(str(value) for value in self.data.get(key) or ())

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        value = self.data.get(key) or {}
        if not isinstance(value, dict):
            raise ProtocolError(f"{self._where}: {key} is no object of names and values")
        return tuple((str(name), str(text)) for name, text in value.items())
