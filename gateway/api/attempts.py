"""Wrong tokens, counted by where they come from: past some in a minute nothing more is looked up for that place."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.errors import AppCode, GatewayError

MOST = 30  # wrong tokens
WINDOW = 60.0  # seconds
_TRUSTED = 3600.0  # seconds that a token which worked goes past the block
_KEPT = 10_000  # networks, and tokens


def network_of(address: str) -> str:
    """Return what one party may have many addresses of: an IPv4 address, or the /64 of an IPv6 one (RFC 4291, 2.5.4)."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class BlockedError(GatewayError):
    """A place has to wait, `seconds`. It is a 401 with Retry-After: clients take that for what it is, a token that does not work."""

    def __init__(self, address: str, seconds: int) -> None:
        super().__init__(
            AppCode.AUTHENTICATION_FAILED,
            f"There were too many wrong tokens from {address}; try again in {seconds} s.",
        )
        self.seconds = seconds


class Attempts:
    """Used on the event loop alone, so that who is blocked costs no thread and no query.

    A token that worked from the same place within the hour is let through: a script with an old token must not shut
    out all who share its address. Secrets cannot be guessed anyhow; the block keeps the load of trying away.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._good: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def wait(self, address: str, token: str) -> int:
        """Return how many seconds a place must wait before it may try a token; 0 when it may."""
        network = network_of(address)
        since, count = self._failures.get(network, (0.0, 0))
        left = since + WINDOW - self._clock()
        if count < MOST or left <= 0:
            return 0
        worked = self._good.get((network, _digest(token)))
        if worked is not None and self._clock() - worked < _TRUSTED:
            return 0
        return math.ceil(left)

    def failed(self, address: str, token: str) -> None:
        """Note a wrong token."""
        network, now = network_of(address), self._clock()
        since, count = self._failures.pop(network, (now, 0))
        self._failures[network] = (since, count + 1) if now - since < WINDOW else (now, 1)
        self._good.pop((network, _digest(token)), None)
        if len(self._failures) > _KEPT:
            self._failures.popitem(last=False)

    def worked(self, address: str, token: str) -> None:
        """Note a token that worked."""
        key = (network_of(address), _digest(token))
        self._good.pop(key, None)
        self._good[key] = self._clock()
        if len(self._good) > _KEPT:
            self._good.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
