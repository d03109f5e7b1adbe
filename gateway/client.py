"""The Python client of the gateway; the command line speaks through it alone.

>>> from gateway.client import Client
>>> client = Client("/run/cts/cts.sock")          # doctest: +SKIP
>>> job_id = client.submit({"cluster": "dev", ...})  # doctest: +SKIP
>>> client.wait(job_id).state                     # doctest: +SKIP
'complete'
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from gateway import wire

DEFAULT_SOCKET = "/run/cts/cts.sock"
ENDED = ("complete", "error", "canceled")
_Model = TypeVar("_Model", bound=BaseModel)


class CtsError(Exception):
    """The gateway refused a request, or failed at it.

    `status` is the HTTP status, `appcode` the protocol's code (None for 5xx), `details` the places in the request.
    """

    def __init__(
        self, status: int, message: str, appcode: int | None, details: list[wire.ValidationDetail]
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.appcode = appcode
        self.details = details


class GatewayUnreachableError(Exception):
    """Nobody answers at the socket or URL."""


class Client:
    """A connection to a gateway.

    Parameters
    ----------
    socket
        Path of the daemon's Unix socket.
    url, token
        Instead of a socket: an https URL and a bearer token.
    timeout
        Seconds for one request.
    """

    def __init__(
        self,
        socket: str = DEFAULT_SOCKET,
        *,
        url: str | None = None,
        token: str | None = None,
        timeout: float = 300,
    ) -> None:
        self._where = url or socket
        transport = httpx.HTTPTransport(uds=socket) if url is None else None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=url or "http://cts",
            transport=transport,
            headers=headers,
            timeout=timeout,
            trust_env=False,
        )

    def __enter__(self) -> Client:
        """Use it as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as exc:
            raise GatewayUnreachableError(
                f"the gateway at {self._where} does not answer ({exc or type(exc).__name__}); is ctsd running, and is "
                "the socket right (--socket, CTS_SOCKET)?"
            ) from exc
        if response.is_success or (path == "/ready" and response.status_code == 503):
            return response
        try:
            info = wire.ErrorBody.model_validate_json(response.content).error
        except ValueError as exc:
            raise CtsError(
                response.status_code, f"HTTP {response.status_code} without an error body", None, []
            ) from exc
        raise CtsError(
            response.status_code, info.message, info.appcode, info.request_validation_detail or []
        )

    def _get(self, model: type[_Model], path: str, **params: Any) -> _Model:
        given = {key: value for key, value in params.items() if value is not None}
        return model.model_validate_json(self._call("GET", path, params=given).content)

    def root(self) -> wire.Root:
        """Return what the service says of itself."""
        return self._get(wire.Root, "/")

    def whoami(self) -> wire.WhoAmI:
        """Return who the caller is to the gateway."""
        return self._get(wire.WhoAmI, "/whoami")

    def sites(self) -> list[wire.Site]:
        """Return the sites."""
        return self._get(wire.Sites, "/sites").sites

    def ready(self) -> wire.Ready:
        """Return the state of all that the gateway depends on."""
        return self._get(wire.Ready, "/ready")

    def submit(self, job: Mapping[str, Any]) -> str:
        """Submit a job (a JobInput of the protocol); returns its id."""
        return wire.JobId.model_validate_json(
            self._call("POST", "/jobs", json=dict(job)).content
        ).job_id

    def jobs(
        self,
        *,
        cluster: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        user: str | None = None,
        everyone: bool = False,
    ) -> list[wire.JobPreview]:
        """Return the caller's jobs, the last updated first; `user` and `everyone` are for admins."""
        path = "/admin/jobs" if everyone or user is not None else "/jobs"
        return self._get(wire.Jobs, path, cluster=cluster, state=state, limit=limit, user=user).jobs

    def job(self, job_id: str) -> wire.Job:
        """Return a job with its outputs."""
        return self._get(wire.Job, f"/jobs/{quote(job_id)}")

    def status(self, job_id: str) -> wire.JobStatus:
        """Return a job's state."""
        return self._get(wire.JobStatus, f"/jobs/{quote(job_id)}/status")

    def exit_codes(self, job_id: str) -> list[int | None]:
        """Return the exit codes of a job's containers."""
        return self._get(wire.ExitCodes, f"/jobs/{quote(job_id)}/exit_codes").exit_codes

    def containers(self, job_id: str) -> list[wire.Container]:
        """Return a job's containers."""
        return self._get(wire.Containers, f"/jobs/{quote(job_id)}/containers").containers

    def script(self, job_id: str) -> list[str]:
        """Return the batch scripts submitted for a job."""
        return self._get(wire.Script, f"/jobs/{quote(job_id)}/script").scripts

    def log(
        self,
        job_id: str,
        container: int,
        stream: str = "stdout",
        seek: int = 0,
        length: int | None = None,
    ) -> tuple[bytes, bool]:
        """Return a piece of a log from byte `seek` on, and whether the container has ended."""
        params = {"seek": seek} if length is None else {"seek": seek, "length": length}
        response = self._call(
            "GET", f"/jobs/{quote(job_id)}/log/{container}/{stream}", params=params
        )
        return response.content, response.headers.get("X-Log-Final") == "true"

    def follow_log(self, job_id: str, container: int, stream: str = "stdout") -> Iterator[bytes]:
        """Yield a log as it grows, until the container has ended; waits for a log that is not there yet."""
        seek, wait = 0, 0.2
        while True:
            try:
                data, final = self.log(job_id, container, stream, seek, 1 << 20)
            except CtsError as exc:
                if exc.appcode != 40070:
                    raise
                data, final = b"", self.status(job_id).state in ENDED
            if data:
                seek, wait = seek + len(data), 0.2
                yield data
                continue
            if final:
                return
            time.sleep(wait)
            wait = min(2.0, wait * 1.3)

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        self._call("PUT", f"/jobs/{quote(job_id)}/cancel")

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        on_change: Callable[[wire.JobStatus], None] | None = None,
    ) -> wire.JobStatus:
        """Wait for a job's end, asking 20 times a second at first and every 2 s later; outlives restarts of the daemon.

        Raises
        ------
        TimeoutError
            When `timeout` seconds have passed.
        GatewayUnreachableError
            When nobody has answered for a minute.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        last: tuple[str, str | None] | None = None
        silent_since: float | None = None
        while True:
            try:
                status = self.status(job_id)
                silent_since = None
            except GatewayUnreachableError:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > 60:
                    raise
            else:
                if on_change is not None and (status.phase, status.reason) != last:
                    on_change(status)
                last = (status.phase, status.reason)
                if status.state in ENDED:
                    return status
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} has not ended in {timeout:g} s")
            time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            pause = min(2.0, pause * 1.05)

    def images(self) -> list[wire.Image]:
        """Return the approved images."""
        return self._get(wire.Images, "/images").data

    def image(self, name: str) -> wire.Image:
        """Return one approved image."""
        return self._get(wire.Image, f"/images/{quote(name, safe='/:@')}")

    def approve_image(self, name: str) -> wire.Image:
        """Approve an image (admins)."""
        response = self._call("POST", f"/admin/images/{quote(name, safe='/:@')}")
        return wire.Image.model_validate_json(response.content)

    def accounting(self, **filters: Any) -> list[wire.AcctRow]:
        """Return accounting rows; filters: user, everyone, start, end, state, job, limit."""
        return self._get(wire.AcctRows, "/accounting", **filters).rows
