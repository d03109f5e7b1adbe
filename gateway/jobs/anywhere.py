"""Jobs that leave their site open: which sites are left after each rule, and which of them would start a job first.

The rules are those for a job that names its site; they are elsewhere, and decided once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from gateway.errors import AppCode, ErrorDetail, GatewayError, SiteError
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError
from gateway.store.tables import Job

T = TypeVar("T")
Start = Callable[[Job], datetime | None]

SECONDS = 15.0  # that all sites together are given for an answer
# Slurm's scheduler looks round every half minute or so, and clocks differ: what would start within this starts at once.
_AT_ONCE = timedelta(seconds=60)
_KNOWN, _NOT_KNOWN, _NOT_NOW = range(3)
_MOST_SAID = 300  # characters of a site's reason
# Of several sites that are left out, this comes first: one that fits and is away, then what the job itself can change.
_CODES = (AppCode.SITE_UNAVAILABLE, AppCode.ILLEGAL_PARAMETER, AppCode.SITE_INACTIVE)


class Fitting:
    """The sites that a job may go to: fewer after each rule; `out` says of the others why not."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self.left = list(self._names)
        self.out: dict[str, GatewayError] = {}

    def keep(self, rule: Callable[[str], T]) -> dict[str, T]:
        """Hold each site that is left to a rule, and return what the rule gave for those that keep it.

        Raises
        ------
        GatewayError
            Where none is left: the rule's own error where there was one site, else one that tells of all.
        """
        kept: dict[str, T] = {}
        for name in self.left:
            try:
                kept[name] = rule(name)
            except GatewayError as exc:
                self.out[name] = exc
        self.left = list(kept)
        if not kept:
            raise self._none()
        return kept

    def drop(self, reasons: Mapping[str, GatewayError]) -> None:
        """Leave sites out for these reasons; raises as `keep`."""
        self.out |= reasons
        self.left = [name for name in self.left if name not in reasons]
        if not self.left:
            raise self._none()

    def _none(self) -> GatewayError:
        if len(self.out) == 1:
            return next(iter(self.out.values()))
        order = sorted(
            (name for name in self._names if name in self.out),
            key=lambda name: _urgency(self.out[name]),
        )
        lines = [f"{name}: {self.out[name].message}" for name in order]
        details = tuple(ErrorDetail(("cluster",), line) for line in lines)
        more = f" (and {len(lines) - 1} more)"
        text = f"cluster: no site takes this job now; {lines[0]}{more}"
        return GatewayError(self.out[order[0]].code, text, details)


def _urgency(error: GatewayError) -> int:
    return _CODES.index(error.code) if error.code in _CODES else len(_CODES)


class Pick(NamedTuple):
    """The site that was taken, and why, in a sentence or two."""

    site: str
    why: str


class _Answer(NamedTuple):
    rank: int
    start: datetime
    said: str


def first_to_start(
    fitting: Fitting,
    jobs: Mapping[str, Job],
    start: Start,
    behind: Mapping[str, int],
    seconds: float = SECONDS,
) -> Pick:
    """Ask all sites that are left when they would start a job, at one time, and take the first.

    Parameters
    ----------
    fitting
        Those sites, in the order in which one goes before another that starts as early; sites that do not answer, or whose
        Slurm refuses the job, are left out of it.
    jobs
        The job as it would be at each.
    start
        Asks a site; see `SlurmBackend.expected_start`.
    behind
        Sites with a number above 0 come after those without, whatever they say: reference data has to get there first.
    seconds
        How long to wait for all of them.

    Raises
    ------
    GatewayError
        As `Fitting.keep` where none is left.
    """
    now = datetime.now(UTC)
    pool = ThreadPoolExecutor(len(fitting.left))
    futures = {name: pool.submit(start, jobs[name]) for name in fitting.left}
    wait(futures.values(), seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    answers: dict[str, _Answer] = {}
    out: dict[str, GatewayError] = {}
    for name, future in futures.items():
        try:
            if not future.done():
                raise SiteError(f"it gave no answer in {seconds:g} s")
            answers[name] = _answer(future.result(), now)
        except SubmitLaterError as exc:
            answers[name] = _Answer(_NOT_NOW, now, f"not as things are ({_short(exc)})")
        except SubmitRefusedError as exc:
            text = f"Slurm refuses the job: {_short(exc)}"
            out[name] = GatewayError(AppCode.ILLEGAL_PARAMETER, text)
        except SiteError as exc:
            out[name] = unavailable(name, _short(exc))
        except GatewayError as exc:
            out[name] = exc
    fitting.drop(out)
    order = sorted(
        fitting.left, key=lambda n: (behind.get(n, 0), answers[n].rank, answers[n].start)
    )
    return Pick(order[0], _why(order, answers, behind, fitting.out))


def unavailable(name: str, why: str) -> GatewayError:
    """Make the error of a site that does not answer."""
    return GatewayError(
        AppCode.SITE_UNAVAILABLE,
        f"The site {name} does not answer as it should: {why}. A job that names it would wait for it.",
    )


def _answer(start: datetime | None, now: datetime) -> _Answer:
    if start is None:
        return _Answer(_NOT_KNOWN, now, "at a time that is not known")
    if start <= now + _AT_ONCE:
        return _Answer(_KNOWN, now, "at once")
    return _Answer(_KNOWN, start, f"at {start:%Y-%m-%dT%H:%M:%SZ}")


def _why(
    order: list[str],
    answers: Mapping[str, _Answer],
    behind: Mapping[str, int],
    out: Mapping[str, GatewayError],
) -> str:
    late = {name: ", its reference data is not there" for name in order if behind.get(name)}
    said = [f"{name} {answers[name].said}{late.get(name, '')}" for name in order]
    text = f"any site: {order[0]} is taken; would start: {'; '.join(said)}"
    if out:
        left = [f"{name}: {_short(error)}" for name, error in out.items()]
        text += f"; left out: {'; '.join(left)}"
    return text


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}…"
