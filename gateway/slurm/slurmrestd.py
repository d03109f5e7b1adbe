"""The talk with slurmrestd: where it is, who asks, which version of its documents is spoken; one question, one answer.

What slurmrestd says is turned into errors here, and its documents are read elsewhere (`restread`).
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Literal

import httpx

from gateway.errors import SiteError
from gateway.slurm.tokens import Token

# Versions of slurmrestd's documents (its data_parser plugins) whose fields the gateway knows; the newest first.
KNOWN = ("v0.0.45", "v0.0.44", "v0.0.43", "v0.0.42", "v0.0.41")
UNIX = "unix:"

_OFFERED = re.compile(r"/slurm/(v[0-9.]{1,20})/job/submit")
_CONNECT_SECONDS = 10.0
# What is on its way to a slurmrestd that cannot be reached is given up after that, also when the gateway has ended.
_ON_ITS_WAY_SECONDS = 20
_AUTHENTICATION = 1007  # SLURM_PROTOCOL_AUTHENTICATION_ERROR
_AWAY = "Unable to contact slurm controller"

Document = dict[str, Any]
Service = Literal["slurm", "slurmdb"]


class NotAskedError(SiteError):
    """The question did not reach Slurm: nothing came of it and nothing will."""


class Slurmrestd:
    """One slurmrestd.

    Parameters
    ----------
    url
        `unix:/path/of/its/socket`, or `http://host:port` or `https://host:port`.
    token
        Where tokens come from; None where the socket itself tells who asks (rest_auth/local).
    user
        The user to act as; the token must be that user's, or one of Slurm's own administrators.
    ca_file
        PEM file of the CAs for https; None: the system's.
    known
        The versions to choose among, the best first.
    """

    def __init__(
        self,
        url: str,
        token: Token | None,
        user: str,
        ca_file: str | None,
        known: Sequence[str] = KNOWN,
    ) -> None:
        self._url = url
        self._known = known
        self._token = token
        self._user = user
        self._version: str | None = None
        unix = url.startswith(UNIX)
        options = [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _ON_ITS_WAY_SECONDS * 1000)]
        https = url.startswith("https:")
        transport = httpx.HTTPTransport(
            verify=ssl.create_default_context(cafile=ca_file) if https else False,
            uds=url.removeprefix(UNIX) if unix else None,
            socket_options=None if unix else options,
            # A connection that slurmrestd closes while it is idle could take a question into nowhere.
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._client = httpx.Client(
            base_url="http://slurmrestd" if unix else url, transport=transport, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def version(self) -> str:
        """Return the version of documents to speak: the newest that both sides know, asked for once.

        Raises
        ------
        SiteError
            When slurmrestd does not say, or there is none.
        """
        if self._version is None:
            answer = self._send("GET", "/openapi/v3", 30.0)
            document = self._document(answer) if answer.status_code == 200 else {}
            paths = document.get("paths") or {}
            offered = {match[1] for path in paths if (match := _OFFERED.fullmatch(str(path)))}
            self._version = next((known for known in self._known if known in offered), None)
            if self._version is None:
                has = ", ".join(sorted(offered)) or f"nothing (HTTP {answer.status_code})"
                raise SiteError(
                    f"slurmrestd at {self._url} offers {has}; the gateway speaks {self._known[-1]} to {self._known[0]}"
                )
        return self._version

    def ask(
        self,
        service: Service,
        path: str,
        timeout: float,
        *,
        method: str = "GET",
        query: dict[str, str] | None = None,
        body: Document | None = None,
    ) -> Document:
        """Ask one question; return the answer's document, whose errors are the caller's to read.

        Raises
        ------
        NotAskedError
            When it surely did not reach Slurm.
        SiteError
            When there is no answer, or none that is a document.
        """
        try:
            version = self.version()
        except SiteError as exc:
            raise NotAskedError(str(exc)) from exc
        answer = self._send(method, f"/{service}/{version}/{path}", timeout, query, body)
        if answer.status_code == 404 and not answer.text.lstrip().startswith("{"):
            self._version = None  # another slurmrestd than before
            raise NotAskedError(f"slurmrestd at {self._url} does not know {answer.url.path}")
        return self._document(answer)

    def error(self, document: Document) -> str | None:
        """Return what went wrong by slurmrestd's word, in a line; None where nothing did."""
        errors = document.get("errors") or []
        if not errors:
            return None
        first = errors[0]
        if first.get("error_number") == 1 and first.get("source") == "slurm_kill_jobs()":
            return _AWAY  # its return code, which is shown as EPERM
        said = str(first.get("error") or first.get("description") or "it does not say what")
        if first.get("error_number") == _AUTHENTICATION and self._token is not None:
            self._token.refused()
            return (
                f"{said} (Slurm does not accept the token for {self._user} of {self._token.origin})"
            )
        return said

    def _send(
        self,
        method: str,
        path: str,
        timeout: float,
        query: dict[str, str] | None = None,
        body: Document | None = None,
    ) -> httpx.Response:
        headers = {}
        if self._token is not None:
            try:
                token = self._token.get()
            except SiteError as exc:
                raise NotAskedError(str(exc)) from exc
            headers = {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": token}
        times = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
        try:
            answer = self._client.request(
                method, path, params=query, json=body, headers=headers, timeout=times
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as exc:
            raise NotAskedError(f"slurmrestd at {self._url} cannot be reached: {exc}") from exc
        except httpx.TimeoutException as exc:
            raise SiteError(f"slurmrestd at {self._url} gave no answer in {timeout:g} s") from exc
        except httpx.HTTPError as exc:
            raise SiteError(f"slurmrestd at {self._url} broke off: {exc}") from exc
        if answer.status_code == 401:
            whose = "no token is configured" if self._token is None else self._token.origin
            raise NotAskedError(f"slurmrestd at {self._url} does not let the gateway in ({whose})")
        return answer

    def _document(self, answer: httpx.Response) -> Document:
        try:
            document = answer.json()
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            said = " ".join(answer.text.split())[:200]
            raise SiteError(
                f"slurmrestd at {self._url} answered HTTP {answer.status_code}: {said or 'nothing'}"
            )
        if answer.status_code >= 400 and not document.get("errors"):
            # GET partitions/ of 26.05 has no error in it while slurmctld is away; an empty list would be a lie.
            why = _AWAY if answer.status_code == 502 else "no reason"
            raise SiteError(f"slurmrestd: {why} (HTTP {answer.status_code})")
        return document
