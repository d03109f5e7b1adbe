"""Why a job waits for its reference data, in words."""

from __future__ import annotations

from gateway.store.refdata import Held


def why(held: Held, site: str) -> str:
    """Return the reason: a sentence that says what an admin can do, where somebody must."""
    begin = f"waits for reference data {held.refdata_id}"
    if held.at is None:
        return f"{begin}, which is not at the site {site} yet"
    if held.at.state != "error":
        return f"{begin}, which is being staged at the site {site} ({held.at.state})"
    return (
        f"{begin}, which is not at the site {site}: {held.at.error}. An admin can stage it again with: "
        f"cts admin refdata recover {held.refdata_id} {site}"
    )
