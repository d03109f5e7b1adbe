"""Platforms as OCI names them: `linux/amd64`, `linux/arm64/v8`."""

from __future__ import annotations

from collections.abc import Iterable


def platform_name(system: str, architecture: str, variant: str = "") -> str:
    """Return the name of a platform (OCI image index, `platform`); the variant that every arm64 has is left out."""
    if (architecture, variant) == ("arm64", "v8"):
        variant = ""
    return "/".join(word for word in (system, architecture, variant) if word)


def best(there: Iterable[str], wanted: str) -> str | None:
    """Return which of the platforms that are there is the wanted one: the same, or, where no variant is wanted, any of it."""
    wanted = platform_name(*wanted.split("/"))
    found = list(there)
    if wanted in found:
        return wanted
    if wanted.count("/") > 1:
        return None
    return next((each for each in found if each.startswith(f"{wanted}/")), None)
