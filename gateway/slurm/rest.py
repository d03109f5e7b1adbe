"""Slurm through slurmrestd. Files still go by the site's hands.

A submission over HTTP cannot hold the work directory's lock as sbatch does: that slurmrestd has been asked and gives no
answer does not tell whether it is still trying. How long it may try is known, though; see `RestBackend.late`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway.errors import SiteError
from gateway.slurm import restread
from gateway.slurm.answers import Answer, meaning_of
from gateway.slurm.cli import CliBackend
from gateway.slurm.directives import first_environment, job_fields, number
from gateway.slurm.hands import Hands
from gateway.slurm.protocol import (
    MOST_SHOWN,
    Limits,
    Partition,
    Shown,
    SubmitLaterError,
    SubmitRefusedError,
    TaskRecord,
    TaskState,
)
from gateway.slurm.slurmrestd import Document, NotAskedError, Service, Slurmrestd

log = structlog.get_logger()
# slurmrestd gives up on slurmctld by itself (see `late`): cut short, it could not say how that ended.
_SUBMIT_SECONDS = 240.0
_GONE = {2017, 2021}  # ESLURM_INVALID_JOB_ID, ESLURM_ALREADY_DONE
_NO_LIMIT = 65534  # NO_VAL16: slurmctld's own default
_MORE_SINCE = "v0.0.45"


class RestBackend:
    """`SlurmBackend` by slurmrestd.

    Parameters
    ----------
    rest
        The slurmrestd to ask.
    hands
        Read the script, and run Slurm's commands for what older versions of slurmrestd do not show.
    bin_dir
        Where Slurm's commands are, when not on PATH.
    user
        The user that the jobs run as: only that user's jobs are looked at.
    timeout
        Seconds that an answer may take.
    """

    name = "rest"
    late = 300.0
    """slurmrestd tries for at most 1.5 SlurmctldTimeout (180 s by default; `slurm_send_recv_controller_msg`) and one
    MessageTimeout to give a submission to a slurmctld that hands over to another, whether anybody still waits or not."""

    def __init__(
        self, rest: Slurmrestd, hands: Hands, bin_dir: str | None, user: str, timeout: float
    ) -> None:
        self._rest = rest
        self._hands = hands
        self._commands = CliBackend(hands, bin_dir, user, timeout)
        self._environment = first_environment(user, bin_dir)
        self._user = user
        self._timeout = timeout

    def submit(self, script: str) -> str:
        """See `SlurmBackend.submit`."""
        try:
            data = self._hands.read_file(script)
            if data is None:
                raise SiteError(f"there is no {script}")
            body = self._job(script, data.decode("ascii"))
        except SiteError as exc:
            raise SubmitLaterError(str(exc)) from exc
        except ValueError as exc:
            raise SubmitRefusedError(str(exc)) from exc
        try:
            answer = self._rest.ask(
                "slurm",
                "job/submit",
                max(self._timeout, _SUBMIT_SECONDS),
                method="POST",
                body=body,
            )
        except NotAskedError as exc:
            raise SubmitLaterError(str(exc)) from exc
        job_id = answer.get("job_id")
        if isinstance(job_id, int) and job_id > 0:
            for warning in answer.get("warnings") or []:
                log.warning("slurmrestd", said=warning.get("description"), job=job_id)
            return str(job_id)
        said = self._rest.error(answer)
        if said is None:
            raise SiteError(f"slurmrestd gave no job id: {str(answer.get('warnings'))[:300]}")
        found = meaning_of(said)
        if found is Answer.REFUSED:
            raise SubmitRefusedError(said)
        if found is Answer.LATER:
            raise SubmitLaterError(f"slurmrestd: {said}")
        raise SiteError(f"slurmrestd: {said}")

    def _job(self, path: str, script: str) -> Document:
        """Make the request: what sbatch would make of the script, and the environment that the job begins with."""
        fields: dict[str, Any] = {
            **job_fields(script),
            "script": script,
            "argv": [path],
            "environment": [f"{name}={value}" for name, value in self._environment.items()],
            "rlimits": {"core": number(0)},
        }
        if self._rest.version() != "v0.0.41":
            fields["oom_kill_step"] = _NO_LIMIT
        return {"job": fields}

    def queue(self) -> list[TaskState]:
        """See `SlurmBackend.queue`. slurmrestd shows the jobs of all users; those of others are left out here."""
        answer = self._list("slurm", "jobs/", {"flags": "ALL"})
        return restread.read_queue(answer, self._user)

    def accounting(self, since: datetime) -> list[TaskRecord]:
        """See `SlurmBackend.accounting`."""
        begin = f"uts{int(since.astimezone(UTC).timestamp())}"  # without uts, v0.0.41 takes none
        answer = self._list("slurmdb", "jobs/", {"users": self._user, "start_time": begin})
        return restread.read_accounting(answer)

    def cancel(self, slurm_job_ids: Sequence[str]) -> None:
        """See `SlurmBackend.cancel`."""
        if not slurm_job_ids:
            return
        answer = self._rest.ask(
            "slurm", "jobs/", self._timeout, method="DELETE", body={"jobs": list(slurm_job_ids)}
        )
        self._check(answer)
        for status in answer.get("status") or []:
            error = status.get("error") or {}
            if error.get("code") and error["code"] not in _GONE:
                raise SiteError(f"slurmrestd: {status.get('step_id')}: {error.get('message')}")

    def limits(self) -> Limits:
        """See `SlurmBackend.limits`. Before Slurm 26.05 slurmrestd does not show them, and scontrol is asked."""
        if self._rest.version() >= _MORE_SINCE:
            found = restread.read_limits(self._ask("slurm", "conf"))
            if found is not None:
                return found
        self._ask("slurm", "licenses/")  # is it there, and does Slurm take the token
        return self._commands.limits()

    def partitions(self) -> list[Partition]:
        """See `SlurmBackend.partitions`. Before Slurm 26.05 slurmrestd does not tell the default, and sinfo is asked."""
        if self._rest.version() >= _MORE_SINCE:
            return restread.read_partitions(self._list("slurm", "partitions/"))
        return self._commands.partitions()

    def expected_start(self, script: str, timeout: float) -> datetime | None:
        """See `SlurmBackend.expected_start`: slurmrestd has no such question, so that it is only seen whether it answers."""
        self.partitions()
        return None

    def show(self, slurm_job_ids: Sequence[str], timeout: float) -> Shown:
        """See `SlurmBackend.show`."""
        queue, queue_error = self._document(timeout, "slurm", {"flags": "ALL"}, slurm_job_ids)
        ids = ",".join(slurm_job_ids)
        records, records_error = self._document(timeout, "slurmdb", {"step": ids})
        return Shown(queue, queue_error, records, records_error)

    def _document(
        self,
        timeout: float,
        service: Service,
        query: dict[str, str],
        only: Sequence[str] | None = None,
    ) -> tuple[object, str | None]:
        """Return a document with jobs, or why there is none."""
        try:
            answer = self._list(service, "jobs/", query, min(timeout, self._timeout))
        except SiteError as exc:
            return None, str(exc)
        if only is not None:
            answer = restread.only_jobs(answer, only)
        if len(json.dumps(answer)) > MOST_SHOWN:
            return (
                None,
                f"slurmrestd's answer is over {MOST_SHOWN >> 20} MiB; ask for one container",
            )
        return answer, None

    def _list(
        self,
        service: Service,
        path: str,
        query: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Ask for a list. One that is missing is no empty one: who is not in it may be there all the same."""
        answer = self._ask(service, path, query, timeout)
        if not isinstance(answer.get(path.rstrip("/")), list):
            raise SiteError(f"slurmrestd: its answer has no list of {path.rstrip('/')}")
        return answer

    def close(self) -> None:
        """See `SlurmBackend.close`."""
        self._rest.close()

    def _ask(
        self,
        service: Service,
        path: str,
        query: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> Document:
        answer = self._rest.ask(service, path, timeout or self._timeout, query=query)
        self._check(answer)
        return answer

    def _check(self, answer: Document) -> None:
        said = self._rest.error(answer)
        if said is not None:
            raise SiteError(f"slurmrestd: {said}")
