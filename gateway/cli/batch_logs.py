"""The files of -o and -e, written when a job has ended; their names as sbatch has them (sbatch(1), "filename pattern")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gateway.array import parse_array
from gateway.cli.common import JOB_FAILED, UserError
from gateway.cli.logs import log_pieces
from gateway.client import Client, CtsError
from gateway.client.jobs import Stream
from gateway.errors import AppCode
from gateway.wire import Container, Job

_FIELD = re.compile(r"%(%|[0-9]{0,2}[A-Za-z])")


def file_name(pattern: str, job: Job, container: Container) -> str:
    r"""Return the name of a file. A pattern with a `\` is taken as it is.

    Raises
    ------
    UserError
        For a field that there is not.
    """
    if "\\" in pattern:
        return pattern.replace("\\", "")
    array = job.job_input.get("array")
    number = parse_array(array).numbers[container.index] if array else container.index
    values = {
        "A": job.id,
        "j": job.id,
        "J": job.id,
        "a": number,
        "x": (job.name or job.image.name.rpartition("/")[2]).replace("/", "_"),
        "u": job.user,
        "N": container.node or "",
        "n": 0,
        "s": "batch",
        "t": 0,
    }

    def filled(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        letter, width = match[1][-1], match[1][:-1]
        if letter not in values:
            raise UserError(
                f"-o: {match[0]} stands for nothing; there are {', '.join(f'%{each}' for each in values)}"
            )
        text = str(values[letter])
        return text.zfill(min(10, int(width))) if width and text.isdigit() else text

    return _FIELD.sub(filled, pattern)


def write_logs(
    client: Client, job_id: str, stdout: str | None, stderr: str | None, directory: str | None
) -> None:
    """Write the logs of all containers of a job that has ended; without a file of its own, stderr follows stdout.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    job = client.job(job_id)
    begun: set[Path] = set()
    for container in client.containers(job_id):
        streams: tuple[tuple[Stream, str | None], ...]
        streams = (("stdout", stdout), ("stderr", stderr or stdout))
        for stream, pattern in streams:
            if pattern is None:
                continue
            path = Path(directory or ".", file_name(pattern, job, container))
            try:
                with path.open("ab" if path in begun else "wb") as file:
                    begun.add(path)
                    for piece in _pieces(client, job_id, container.index, stream):
                        file.write(piece)
            except OSError as exc:
                raise UserError(f"{path} cannot be written: {exc.strerror}", JOB_FAILED) from exc


def _pieces(client: Client, job_id: str, number: int, stream: Stream) -> Iterator[bytes]:
    """Yield a log; nothing where a container has none, as one that never ran."""
    try:
        yield from log_pieces(client, job_id, number, stream)
    except CtsError as exc:
        if exc.appcode != AppCode.NO_LOGS.code:
            raise
