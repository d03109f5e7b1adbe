"""Calls that move files between this machine and S3, without any S3 key: the gateway grants each of them."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path

from gateway import wire
from gateway.client import transfer
from gateway.client.jobs import JobCalls
from gateway.client.local import TransferError, walk
from gateway.client.transfer import OnBytes


class FileCalls(JobCalls):
    """Files in and out. `_ca_file`: that of the gateway, in place of which $AWS_CA_BUNDLE is taken for the object store."""

    _ca_file: str | None

    def upload(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        target: str,
        *,
        on_bytes: OnBytes | None = None,
    ) -> list[wire.Output]:
        """Upload files and directories to `bucket/prefix`; returns the objects, whose `file` a job takes as an input.

        A directory goes below the target under its name, as with `cp -r`. What is there already with the same bytes is
        left, so that a broken upload goes on; with other bytes it is replaced. Each object's checksum is compared afterwards.

        Parameters
        ----------
        on_bytes
            Called with the bytes that are done and those of all files, from several threads.

        Raises
        ------
        TransferError
            When a file cannot be read or sent; the others are there.
        CtsError
            20010 where the caller may not write, 30020 for a name that cannot be a key, 40020 for no such bucket.
        """
        paths = [path] if isinstance(path, str | os.PathLike) else path
        found = (one for each in paths for one in walk(Path(each), target))
        return transfer.upload(self._http, found, self._trusted(), on_bytes)

    def download(
        self,
        job_id: str,
        directory: str | os.PathLike[str],
        *,
        match: str | Sequence[str] = (),
        on_bytes: OnBytes | None = None,
    ) -> list[Path]:
        """Download a job's outputs to below a directory, by their names below its output_dir; returns their paths.

        A file has its name only when it is whole and its checksum right; one that is there with the same bytes is left.

        Parameters
        ----------
        match
            Patterns as of the shell, `*.txt`, of the outputs that are wanted; none for all.
        on_bytes
            Called with the bytes that are done and those of all files, from several threads.

        Raises
        ------
        TransferError
            When an output is not what the job wrote any more, has a name that no file can have, matches nothing, or cannot be had.
        CtsError
            40040 for no such job, 20010 where the caller may not read.
        """
        job = self.job(job_id)
        prefix = str(job.job_input["output_dir"])
        patterns = [match] if isinstance(match, str) else list(match)
        named = [(output, output.file.removeprefix(prefix)) for output in job.outputs]
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(name, pattern) for _, name in named):
                raise TransferError(f"job {job.id} has no output that matches {pattern!r}")
        wanted = [
            (output, name)
            for output, name in named
            if not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)
        ]
        return transfer.download(self._http, wanted, Path(directory), self._trusted(), on_bytes)

    def _trusted(self) -> str | None:
        return os.environ.get("AWS_CA_BUNDLE") or self._ca_file
