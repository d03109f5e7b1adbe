"""What all calls stand on: the connection, and how parameters are written."""

from __future__ import annotations

from gateway.connection import Connection


class Calls:
    """Calls over one connection; each topic is a class of its own."""

    _http: Connection


def given(**parameters: str | bool | None) -> dict[str, str]:
    """Return the query parameters that were given, as they are written."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }
