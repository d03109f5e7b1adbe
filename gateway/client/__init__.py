"""The Python client of the gateway; the command line speaks through it alone.

>>> from gateway.client import Client
>>> client = Client("/run/cts/cts.sock")          # doctest: +SKIP
>>> job_id = client.submit({"cluster": "dev", ...})  # doctest: +SKIP
>>> client.wait(job_id).state                     # doctest: +SKIP
'complete'
"""

from __future__ import annotations

from gateway.client.admin_jobs import AdminJobCalls
from gateway.client.cache import CacheCalls
from gateway.client.events import EventCalls
from gateway.client.files import FileCalls
from gateway.client.images import ImageCalls
from gateway.client.jobs import Stream
from gateway.client.local import TransferError
from gateway.client.refdata import RefdataCalls
from gateway.client.requests import RequestCalls
from gateway.client.service import ServiceCalls
from gateway.client.tokens import TokenCalls
from gateway.client.waiting import ENDED, WaitingCalls
from gateway.connection import DEFAULT_SOCKET, Connection, CtsError, GatewayUnreachableError

__all__ = [
    "DEFAULT_SOCKET",
    "ENDED",
    "Client",
    "CtsError",
    "GatewayUnreachableError",
    "Stream",
    "TransferError",
]


class Client(
    WaitingCalls,
    FileCalls,
    ServiceCalls,
    ImageCalls,
    CacheCalls,
    RefdataCalls,
    RequestCalls,
    TokenCalls,
    AdminJobCalls,
    EventCalls,
):
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
        self._ca_file = ca_file
        self._http = Connection(socket, url, token, timeout, ca_file)

    def __enter__(self) -> Client:
        """Use it as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
