"""How the client reaches a gateway: one HTTP connection over a Unix socket or TLS, and its errors."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from gateway import wire

DEFAULT_SOCKET = "/run/cts/cts.sock"
_CONNECT = 10.0  # seconds
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # token68 of RFC 9110, 11.2
_Model = TypeVar("_Model", bound=BaseModel)


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Trust the CAs of the system, or those of a file in their place; TLS 1.2 or newer.

    Raises
    ------
    ValueError
        When the file cannot be read or has no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as exc:  # ssl.SSLError is one
        why = "it has no certificate in PEM" if isinstance(exc, ssl.SSLError) else exc.strerror
        raise ValueError(f"the CA file {ca_file} cannot be used: {why}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class CtsError(Exception):
    """The gateway refused a request, or failed at it.

    `status` is the HTTP status, `appcode` the protocol's code (None for 5xx), `details` the places in the
    request, `request_id` what the gateway's admins find it by in their log.
    """

    def __init__(
        self,
        status: int,
        message: str,
        appcode: int | None = None,
        details: Sequence[wire.ValidationDetail] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.appcode = appcode
        self.details = list(details)
        self.request_id = request_id


class GatewayUnreachableError(Exception):
    """Nobody answers at the socket or URL. `sent` says whether the request may have reached the gateway."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class Connection:
    """Requests to a gateway, their answers as models, their refusals as `CtsError`."""

    def __init__(
        self,
        socket: str,
        url: str | None,
        token: str | None,
        timeout: float,
        ca_file: str | None = None,
    ) -> None:
        self._where = url or socket
        self.timeout = timeout
        self._hint = "is the URL right (--url, CTS_URL)?"
        if url is None:
            # Certificates are for TLS alone, and reading them takes longer than most requests.
            transport = httpx.HTTPTransport(uds=socket, verify=False)
            self._hint = "is the socket right (--socket, CTS_SOCKET)?"
        else:
            transport = httpx.HTTPTransport(verify=_context(ca_file))
            if not url.lower().startswith("https://"):
                raise ValueError(
                    f"{url!r} is no https:// URL; a token must not go over a line that others can read"
                )
        if token is not None and not _TOKEN.fullmatch(token):
            raise ValueError("the token is no token: it has other characters than tokens have")
        headers = {"Authorization": f"Bearer {token}"} if token and url is not None else {}
        self._http = httpx.Client(
            base_url=url or "http://cts",
            transport=transport,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT)),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; `options` are those of httpx."""
        try:
            response = self._send(method, path, options)
        except (httpx.RequestError, httpx.InvalidURL) as exc:
            raise GatewayUnreachableError(
                self._unreachable(exc),
                sent=not isinstance(
                    exc, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL
                ),
            ) from exc
        self._refuse(path, response)
        return response

    def _refuse(self, path: str, response: httpx.Response) -> None:
        """Raise what an answer that is no success says."""
        if response.is_success or (path == "/ready" and response.status_code == 503):
            return
        identifier = response.headers.get("X-Request-ID", "")
        try:
            info = wire.ErrorBody.model_validate_json(response.content).error
        except ValueError as exc:
            raise CtsError(
                response.status_code,
                f"HTTP {response.status_code} without an error body; is {self._where} a cts gateway?",
                request_id=identifier,
            ) from exc
        raise CtsError(
            response.status_code,
            info.message,
            info.appcode,
            info.request_validation_detail or [],
            info.request_id or identifier,
        )

    def _unreachable(self, exc: Exception) -> str:
        said = str(exc) or type(exc).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            why = said.partition("CERTIFICATE_VERIFY_FAILED] ")[2].partition(" (_ssl")[0]
            return (
                f"the certificate of {self._where} cannot be trusted ({why}); name the file with the certificate of its "
                "CA (--ca-file, CTS_CA_FILE)"
            )
        return f"the gateway at {self._where} does not answer ({said}); is ctsd running, and {self._hint}"

    def _send(self, method: str, path: str, options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # A kept connection that the gateway closed just then. What only reads may be asked again.
            if method != "GET":
                raise
            return self._http.request(method, path, **options)

    def get(self, model: type[_Model], path: str, **params: Any) -> _Model:
        """Get a model; parameters that are None are left out."""
        given = {key: value for key, value in params.items() if value is not None}
        return self.read(model, self.call("GET", path, params=given))

    def read(self, model: type[_Model], response: httpx.Response) -> _Model:
        """Read an answer."""
        identifier = response.headers.get("X-Request-ID", "")
        return self.parse(model, response.content, response.request.url.path, identifier)

    def parse(
        self, model: type[_Model], text: str | bytes, path: str, request_id: str = ""
    ) -> _Model:
        """Read the JSON of a model, which came from a path."""
        try:
            return model.model_validate_json(text)
        except ValueError as exc:
            raise CtsError(
                500,
                f"the answer of {self._where} to {path} is not as this client knows it; "
                "are the gateway and this client of one release?",
                request_id=request_id,
            ) from exc

    @contextmanager
    def stream(
        self, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str], quiet: float
    ) -> Iterator[Iterator[str]]:
        """Get an answer line by line, as it comes; GatewayUnreachableError when it breaks, or nothing comes for `quiet` seconds."""
        timeout = httpx.Timeout(quiet, connect=_CONNECT)
        try:
            with self._http.stream(
                "GET", path, params=list(params), headers=dict(headers), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    self._refuse(path, response)
                yield response.iter_lines()
        except (httpx.RequestError, httpx.InvalidURL, httpx.StreamError) as exc:
            raise GatewayUnreachableError(self._unreachable(exc)) from exc
