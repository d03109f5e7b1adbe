"""The Python client of the gateway; the command line speaks through it alone.

>>> from gateway.client import Client
>>> client = Client("/run/cts/cts.sock")          # doctest: +SKIP
>>> job_id = client.submit({"cluster": "dev", ...})  # doctest: +SKIP
>>> client.wait(job_id).state                     # doctest: +SKIP
'complete'
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from gateway import wire
from gateway.connection import DEFAULT_SOCKET, Connection, CtsError, GatewayUnreachableError
from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_job_id

__all__ = ["DEFAULT_SOCKET", "ENDED", "Client", "CtsError", "GatewayUnreachableError"]

ENDED = ("complete", "error", "canceled")
_PATIENCE = 60  # seconds without an answer that waiting outlives: a restart of the daemon
_PIECE = 1 << 20
_IDS = 250  # of one request: an address has some 16 KiB

Stream = Literal["stdout", "stderr"]


class Client:
    """A connection to a gateway.

    Parameters
    ----------
    socket
        Path of the daemon's Unix socket.
    url, token, ca_file
        Instead of a socket: an https URL, a bearer token, and the file (PEM) of the CAs to trust in place of the system's.
    timeout
        Seconds for one request.

    Raises
    ------
    ValueError
        When the URL is not https, the token no token, or the CA file cannot be used.
    """

    def __init__(
        self,
        socket: str = DEFAULT_SOCKET,
        *,
        url: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        timeout: float = 300,
    ) -> None:
        self._http = Connection(socket, url, token, timeout, ca_file)

    def __enter__(self) -> Client:
        """Use it as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def root(self) -> wire.Root:
        """Return what the service says of itself."""
        return self._http.get(wire.Root, "/")

    def whoami(self) -> wire.WhoAmI:
        """Return who the caller is to the gateway."""
        return self._http.get(wire.WhoAmI, "/whoami")

    def sites(self) -> list[wire.Site]:
        """Return the sites."""
        return self._http.get(wire.Sites, "/sites").sites

    def ready(self) -> wire.Ready:
        """Return the state of all that the gateway depends on."""
        return self._http.get(wire.Ready, "/ready")

    def submit(self, job: Mapping[str, Any]) -> str:
        """Submit a job (a JobInput of the protocol); returns its id.

        A `GatewayUnreachableError` of this call whose `sent` is true does not say that nothing was submitted: look
        with `jobs`.
        """
        try:
            body = json.dumps(dict(job), allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as exc:
            code = AppCode.REQUEST_VALIDATION
            raise CtsError(
                code.http_status, f"the job cannot be written as JSON: {exc}", code.code
            ) from exc
        headers = {"Content-Type": "application/json"}
        try:
            response = self._http.call("POST", "/jobs", content=body, headers=headers)
        except GatewayUnreachableError as exc:
            if not exc.sent:
                raise
            raise GatewayUnreachableError(
                f"{exc} The job may have been submitted all the same: look before you submit it again.",
                sent=True,
            ) from exc
        return self._http.read(wire.JobId, response).job_id

    def jobs(
        self,
        *,
        cluster: str | None = None,
        state: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        user: str | None = None,
        everyone: bool = False,
    ) -> list[wire.JobPreview]:
        """Return the caller's jobs, the last updated first; `user` and `everyone` are for admins.

        `after` is inclusive, `before` exclusive, of the last update; both have a zone. At most 1000 are listed.
        """
        path = "/admin/jobs" if everyone or user is not None else "/jobs"
        filters = {"cluster": cluster, "state": state, "limit": limit, "user": user}
        times = {"after": after and after.isoformat(), "before": before and before.isoformat()}
        return self._http.get(wire.Jobs, path, **filters, **times).jobs

    def job(self, job_id: str) -> wire.Job:
        """Return a job with its outputs."""
        return self._http.get(wire.Job, f"{_job(job_id)}")

    def status(self, job_id: str) -> wire.JobStatus:
        """Return a job's state."""
        return self._http.get(wire.JobStatus, f"{_job(job_id)}/status")

    def exit_codes(self, job_id: str) -> list[int | None]:
        """Return the exit codes of a job's containers."""
        return self._http.get(wire.ExitCodes, f"{_job(job_id)}/exit_codes").exit_codes

    def containers(self, job_id: str) -> list[wire.Container]:
        """Return a job's containers."""
        return self._http.get(wire.Containers, f"{_job(job_id)}/containers").containers

    def script(self, job_id: str) -> list[str]:
        """Return the batch scripts submitted for a job."""
        return self._http.get(wire.Script, f"{_job(job_id)}/script").scripts

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
        response = self._http.call("GET", f"{_job(job_id)}/log/{container}/{stream}", params=params)
        return response.content, response.headers.get("X-Log-Final") == "true"

    def follow_log(self, job_id: str, container: int, stream: Stream = "stdout") -> Iterator[bytes]:
        """Yield a log as it grows, until the container has ended; waits for a log that is not there yet.

        Outlives restarts of the daemon.

        Raises
        ------
        CtsError
            40070 when the job has ended without such a log, 40040 and 40050 as `log`.
        """
        seek, pause, patience = 0, 0.2, _Patience()
        while True:
            data, final = b"", False
            try:
                found = self._log_or_none(job_id, container, stream, seek)
            except (CtsError, GatewayUnreachableError) as exc:
                patience.bear(exc)
            else:
                patience.answered()
                data, final = found or (b"", False)
            if data:
                seek, pause = seek + len(data), 0.2
                yield data
                continue
            if final:
                return
            time.sleep(pause)
            pause = min(2.0, pause * 1.3)

    def _log_or_none(
        self, job_id: str, container: int, stream: Stream, seek: int
    ) -> tuple[bytes, bool] | None:
        """Read a piece; None when there is no log yet, 40070 when there will be none."""
        try:
            return self.log(job_id, container, stream, seek, _PIECE)
        except CtsError as exc:
            if exc.appcode != AppCode.NO_LOGS.code:
                raise
        if self.status(job_id).state not in ENDED:
            return None
        return self.log(job_id, container, stream, seek, _PIECE)  # it may have come meanwhile

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        self._http.call("PUT", f"{_job(job_id)}/cancel")

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        on_answer: Callable[[wire.JobStatus], None] | None = None,
    ) -> wire.JobStatus:
        """Wait for a job's end, asking 20 times a second at first and every 2 s later; outlives restarts of the daemon.

        Parameters
        ----------
        timeout
            Seconds; None for as long as it takes.
        on_answer
            Called with each answer, the last one included.

        Raises
        ------
        TimeoutError
            When `timeout` seconds have passed.
        GatewayUnreachableError
            When nobody has answered for a minute.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, patience = 0.05, _Patience()
        while True:
            try:
                status = self.status(job_id)
            except (CtsError, GatewayUnreachableError) as exc:
                patience.bear(exc)
            else:
                patience.answered()
                if on_answer is not None:
                    on_answer(status)
                if status.state in ENDED:
                    return status
            nap = pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"job {job_id} has not ended in {timeout:g} s")
                nap = min(nap, left)
            time.sleep(nap)
            pause = min(2.0, pause * 1.05)

    def images(self) -> list[wire.Image]:
        """Return the approved images."""
        return self._http.get(wire.Images, "/images").data

    def image(self, name: str) -> wire.Image:
        """Return one approved image."""
        return self._http.get(wire.Image, f"/images/{_image(name)}")

    def approve_image(
        self,
        name: str,
        *,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
    ) -> wire.Image:
        """Approve an image (admins), with the reference data that its jobs see, and where by default."""
        params = _given(
            refdata_id=refdata_id, default_refdata_mount_point=default_refdata_mount_point
        )
        response = self._http.call("POST", f"/admin/images/{_image(name)}", params=params)
        return self._http.read(wire.Image, response)

    def refdata(self) -> list[wire.Refdata]:
        """Return all reference data, with its state at each site."""
        return self._http.get(wire.RefdataList, "/refdata").data

    def refdata_by_id(self, refdata_id: str) -> wire.Refdata:
        """Return one."""
        return self._http.get(wire.Refdata, f"/refdata/id/{_segment(refdata_id)}")

    def refdata_by_path(self, path: str) -> list[wire.Refdata]:
        """Return the registrations of an object (bucket/key), oldest first."""
        return self._http.get(wire.RefdataList, f"/refdata/path/{_object(path)}").data

    def register_refdata(
        self,
        path: str,
        *,
        crc64nvme: str | None = None,
        unpack: bool = False,
        force: bool = False,
    ) -> wire.Refdata:
        """Register an object as reference data (admins); each active site stages it."""
        params = _given(crc64nvme=crc64nvme, unpack=unpack or None, force=force or None)
        response = self._http.call("POST", f"/admin/refdata/{_object(path)}", params=params)
        return self._http.read(wire.Refdata, response)

    def recover_refdata(self, refdata_id: str, cluster: str) -> None:
        """Have a site stage reference data again, where that failed or it was cleaned (admins)."""
        where = f"/admin/refdata/{_segment(refdata_id)}/{_segment(cluster)}"
        self._http.call("PUT", f"{where}/recover")

    def clean_refdata(self, refdata_id: str, cluster: str, *, force: bool = False) -> None:
        """Have reference data removed from a site's disk (admins)."""
        where = f"/admin/refdata/{_segment(refdata_id)}/{_segment(cluster)}"
        self._http.call("DELETE", f"{where}/clean", params=_given(force=force or None))

    def create_token(
        self, *, name: str | None = None, expires_in: int | None = None, user: str | None = None
    ) -> wire.NewToken:
        """Make a token that works for `expires_in` seconds; on the Unix socket alone. `user` is for admins.

        Its `token` is told this once. Without `expires_in` it works for 30 days.
        """
        wanted = {"name": name, "expires_in": expires_in, "user": user}
        given = {key: value for key, value in wanted.items() if value is not None}
        path = "/tokens" if user is None else "/admin/tokens"
        return self._http.read(wire.NewToken, self._http.call("POST", path, json=given))

    def tokens(self, *, user: str | None = None, everyone: bool = False) -> list[wire.Token]:
        """Return the caller's tokens, the newest first; `user` and `everyone` are for admins."""
        path = "/admin/tokens" if everyone or user is not None else "/tokens"
        return self._http.get(wire.Tokens, path, user=user).tokens

    def revoke_token(self, token_id: str, *, anybodys: bool = False) -> None:
        """End a token at once; `anybodys` is for admins. Takes the id, or the whole token, of which the id alone is sent."""
        path = "/admin/tokens" if anybodys else "/tokens"
        self._http.call("DELETE", f"{path}/{_token_id(token_id)}")

    def accounting(self, **filters: Any) -> list[wire.AcctRow]:
        """Return accounting rows; filters: user, everyone, start, end, state, job, limit. A long list of jobs is asked in parts."""
        jobs = filters.pop("job", None)
        parts = [jobs] if not jobs else [jobs[n : n + _IDS] for n in range(0, len(jobs), _IDS)]
        return [
            row
            for part in parts
            for row in self._http.get(wire.AcctRows, "/accounting", job=part, **filters).rows
        ]


class _Patience:
    """How long nobody has answered."""

    def __init__(self) -> None:
        self._since: float | None = None

    def answered(self) -> None:
        self._since = None

    def bear(self, error: CtsError | GatewayUnreachableError) -> None:
        """Bear it, or raise the error when it has lasted too long or will not pass by itself."""
        if isinstance(error, CtsError) and error.status != 503:
            raise error
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > _PATIENCE:
            raise error


def _job(text: str) -> str:
    """Return the path of a job; what is no id is not sent, for it might be another path."""
    try:
        return f"/jobs/{parse_job_id(text)}"
    except GatewayError as exc:
        raise CtsError(exc.code.http_status, exc.message, exc.code.code) from exc


def _given(**parameters: str | bool | None) -> dict[str, str]:
    """Return the query parameters that were given, as they are written."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }


def _segment(text: str) -> str:
    """Return one segment of a path; what could become another path is not sent."""
    if text in ("", ".", "..") or "/" in text:
        code = AppCode.NOT_FOUND
        raise CtsError(code.http_status, f"{text[:100]!r} is no name of anything there", code.code)
    return quote(text, safe="")


def _object(path: str) -> str:
    """Return the path of an S3 object; what could become another path is not sent."""
    if set(path.split("/")) & {"", ".", ".."}:
        code = AppCode.ILLEGAL_S3_PATH
        raise CtsError(
            code.http_status, f"{path[:100]!r} is no object; write bucket/key", code.code
        )
    return quote(path, safe="/")


def _image(name: str) -> str:
    """Return the path of an image's name, which may hold slashes; what could become another path is not sent."""
    if not name.isprintable() or set(name.split("/")) & {"", ".", ".."}:
        code = AppCode.IMAGE_NAME_PARSE
        raise CtsError(
            code.http_status,
            f"{name[:100]!r} is no image's name; write it as Docker does: ghcr.io/kbase/checkm2:1.0.1",
            code.code,
        )
    return quote(name, safe="/:@")


def _token_id(text: str) -> str:
    """Return the public id; what is none is not sent, for it might be another path."""
    match = re.fullmatch(r"(?:cts_)?([0-9a-f]{12})(?:_[0-9a-f]{64})?", text, re.ASCII)
    if match is None:
        code = AppCode.NOT_FOUND
        raise CtsError(
            code.http_status,
            "that is no id of a token; ids are 12 digits such as 1f00a4c79be2: cts token list",
            code.code,
        )
    return match[1]
