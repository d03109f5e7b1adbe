"""Calls about jobs: submit, look, cancel, read logs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls
from gateway.client.patience import until_answered
from gateway.connection import CtsError, GatewayUnreachableError
from gateway.errors import AppCode

Stream = Literal["stdout", "stderr"]
_JSON = {"Content-Type": "application/json"}


def _body(job: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(job), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        code = AppCode.REQUEST_VALIDATION
        raise CtsError(
            code.http_status, f"the job cannot be written as JSON: {exc}", code.code
        ) from exc


class JobCalls(Calls):
    """One job or many."""

    def submit(self, job: Mapping[str, Any], *, idempotency_key: str | None = None) -> str:
        """Submit a job (a JobInput of the protocol); returns its id.

        A lost answer is asked for again, for a minute (or for the time of one request, where that is less), with the
        same key: it makes one job. So does the same call again with the same `idempotency_key`, within a day; a random
        one is sent where none is given.

        Raises
        ------
        GatewayUnreachableError
            When nobody answers; where its `sent` is true, the job may have been submitted all the same.
        """
        try:
            body = _body(job)
            key = secrets.token_hex(16) if idempotency_key is None else _printable(idempotency_key)
            headers = _JSON | {"Idempotency-Key": key}
            response = until_answered(
                lambda: self._http.call("POST", "/jobs", content=body, headers=headers),
                self._http.timeout,
            )
        except GatewayUnreachableError as exc:
            if not exc.sent:
                raise
            raise GatewayUnreachableError(
                f"{exc} The job may have been submitted all the same: look before you submit it again, or submit it "
                f"again with the same idempotency key: {key}",
                sent=True,
            ) from exc
        return self._http.read(wire.JobId, response).job_id

    def dry_run(self, job: Mapping[str, Any]) -> wire.DryRun:
        """Have a job checked whole, as `submit` does, and return what it would be; nothing is submitted."""
        params = {"dry_run": "true"}
        response = self._http.call(
            "POST", "/jobs", content=_body(job), headers=_JSON, params=params
        )
        return self._http.read(wire.DryRun, response)

    def jobs(
        self,
        *,
        cluster: str | None = None,
        state: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
        image: str | None = None,
        shared: bool = False,
        user: str | None = None,
        everyone: bool = False,
    ) -> list[wire.JobPreview]:
        """Return the caller's jobs, the last updated first; `user` and `everyone` are for admins.

        `after` is inclusive, `before` exclusive, of the last update; both have a zone. Of `labels`, each `key` or
        `key=value`, all must hold; `image` is a name, with a tag or digest or without; `shared` is for jobs that others
        share with the caller. At most 1000 are listed; `iter_jobs` has no bound.
        """
        narrow = _narrow(name, labels, image, shared)
        times = _times(after, before)
        return self._listed(
            user, everyone, cluster=cluster, state=state, limit=limit, **narrow, **times
        ).jobs

    def iter_jobs(
        self,
        *,
        cluster: str | None = None,
        state: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
        image: str | None = None,
        shared: bool = False,
        page: int = 100,
        user: str | None = None,
        everyone: bool = False,
    ) -> Iterator[wire.JobPreview]:
        """Yield all jobs that `jobs` would list without its bound, the last submitted first, asked for by pages.

        Jobs that are submitted or move on meanwhile make none be missed or come twice.
        """
        narrow = _narrow(name, labels, image, shared)
        times = _times(after, before)
        cursor: str | None = "start"
        while cursor is not None:
            found = self._listed(
                user,
                everyone,
                cluster=cluster,
                state=state,
                limit=page,
                cursor=cursor,
                **narrow,
                **times,
            )
            yield from found.jobs
            cursor = found.next

    def _listed(self, user: str | None, everyone: bool, **filters: Any) -> wire.Jobs:
        path = "/admin/jobs" if everyone or user is not None else "/jobs"
        return self._http.get(wire.Jobs, path, user=user, **filters)

    def job(self, job_id: str) -> wire.Job:
        """Return a job with its outputs."""
        return self._http.get(wire.Job, paths.job(job_id))

    def status(self, job_id: str) -> wire.JobStatus:
        """Return a job's state."""
        return self._http.get(wire.JobStatus, f"{paths.job(job_id)}/status")

    def exit_codes(self, job_id: str) -> list[int | None]:
        """Return the exit codes of a job's containers."""
        return self._http.get(wire.ExitCodes, f"{paths.job(job_id)}/exit_codes").exit_codes

    def containers(self, job_id: str) -> list[wire.Container]:
        """Return a job's containers."""
        return self._http.get(wire.Containers, f"{paths.job(job_id)}/containers").containers

    def script(self, job_id: str) -> list[str]:
        """Return the batch scripts submitted for a job."""
        return self._http.get(wire.Script, f"{paths.job(job_id)}/script").scripts

    def log(
        self,
        job_id: str,
        container: int,
        stream: Stream = "stdout",
        seek: int = 0,
        length: int | None = None,
    ) -> tuple[bytes, bool]:
        """Return a piece of a log from byte `seek` on, and whether the container has ended."""
        params = {"seek": seek} if length is None else {"seek": seek, "length": length}
        response = self._http.call(
            "GET", f"{paths.job(job_id)}/log/{container}/{stream}", params=params
        )
        return response.content, response.headers.get("X-Log-Final") == "true"

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        self._http.call("PUT", f"{paths.job(job_id)}/cancel")

    def share(self, job_id: str, *, users: Sequence[str] = (), groups: Sequence[str] = ()) -> None:
        """Let these users and groups read a job, and nobody else but its owner and admins."""
        body = {"users": list(users), "groups": list(groups)}
        self._http.call("PUT", f"{paths.job(job_id)}/share", json=body)


def _narrow(
    name: str | None, labels: Sequence[str], image: str | None, shared: bool
) -> dict[str, Any]:
    return {"name": name, "label": list(labels) or None, "image": image, "shared": shared or None}


def _times(after: datetime | None, before: datetime | None) -> dict[str, str | None]:
    given = {"after": after, "before": before}
    return {name: None if time is None else time.isoformat() for name, time in given.items()}


def _printable(key: str) -> str:
    """Return a key that a header can have; the gateway has the rest of the rule."""
    if not (key.isascii() and key.isprintable()):
        code = AppCode.ILLEGAL_PARAMETER
        raise CtsError(
            code.http_status, "an idempotency key is 1 to 255 printable ASCII characters", code.code
        )
    return key
