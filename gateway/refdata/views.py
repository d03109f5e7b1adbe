"""From rows to the bodies of the wire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlmodel import Session

from gateway import wire
from gateway.store import refdata as store
from gateway.store.tables import Refdata, RefdataSite, RefdataTransition


def views(session: Session, rows: Sequence[Refdata]) -> list[wire.Refdata]:
    """Reference data with its state at each site that knows it."""
    ids = [row.id or 0 for row in rows]
    at: dict[int, list[RefdataSite]] = defaultdict(list)
    for each in store.sites(session, ids):
        at[each.refdata_id].append(each)
    times: dict[tuple[int, str], list[RefdataTransition]] = defaultdict(list)
    for step in store.history(session, ids):
        times[step.refdata_id, step.site].append(step)
    jobs = [
        e.job_id for some in at.values() for e in some if e.job_id and e.state in store.UNDER_WAY
    ]
    reasons = store.job_reasons(session, jobs)
    return [_view(row, at[row.id or 0], times, reasons) for row in rows]


def _view(
    row: Refdata,
    at: Sequence[RefdataSite],
    times: dict[tuple[int, str], list[RefdataTransition]],
    reasons: dict[int, str | None],
) -> wire.Refdata:
    return wire.Refdata(
        id=str(row.id),
        file=f"{row.bucket}/{row.key}",
        size=row.size,
        etag=row.etag,
        crc64nvme=row.crc64nvme,
        unpack=row.unpack,
        registered_by=row.registered_by,
        registered_on=row.registered_on,
        statuses=[
            wire.RefdataStatus(
                cluster=each.site,
                state=each.state,
                transition_times=[
                    wire.RefdataTime(state=step.state, time=step.time)
                    for step in times[each.refdata_id, each.site]
                ],
                error=each.error,
                reason=reasons.get(each.job_id or 0),
                job_id=None if each.job_id is None else str(each.job_id),
                unpacked_bytes=each.unpacked_bytes,
            )
            for each in at
        ],
    )
