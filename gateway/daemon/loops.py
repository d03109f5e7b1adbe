"""The daemon's loops: one thread each, woken or by the clock, an error slows it down and never ends it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from gateway.errors import GatewayError, SiteError, StoreError
from gateway.s3.client import S3UnavailableError

log = structlog.get_logger()
_LONGEST = 15.0
_LONGEST_REST = 60.0
_MOST_SAID = 300


@contextmanager
def one_job(job_id: int, doing: str, tell: Callable[[str], object] | None = None) -> Iterator[None]:
    """Keep a mistake over one job from the others: it is logged whole, and that job is tried again later.

    What is the matter with the site, the object store or the database passes: it is none of the job's. `tell` gets a
    sentence for the job's user.
    """
    try:
        yield
    except (SiteError, StoreError, S3UnavailableError):
        raise
    except Exception as exc:
        log.exception("job.bug", job=job_id, doing=doing)
        if tell is not None:
            said = " ".join(f"{type(exc).__name__}: {exc}".split())[:_MOST_SAID]
            tell(f"{doing} failed and is tried again; tell the gateway's admins: {said}")


@dataclass
class Loop:
    """Calls `tick` again and again; `tick` returns how many seconds it would like to wait.

    After each it rests `rest` times as long as that one took, a minute at most, even when it is woken: so much of the time of
    the machine, of Slurm or of the database it leaves to others, and what came meanwhile is done at once.
    """

    name: str
    tick: Callable[[], float]
    wake: threading.Event
    stop: threading.Event
    rest: float = 0
    last_success: float | None = None
    last_error: str | None = None
    on_round: Callable[[float, float], object] | None = field(default=None, repr=False)
    """Called after each round with the seconds that it took and those that the loop would like to wait."""
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, after `stop` was set."""
        self.wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                wait = self.tick()
                failures = 0
                self.last_success, self.last_error = time.time(), None
            except (SiteError, GatewayError, StoreError) as exc:
                failures += 1
                wait = self._back_off(failures)
                self.last_error = str(exc)
                log.warning("loop.trouble", loop=self.name, error=str(exc), again_in=round(wait, 1))
            except Exception as exc:
                failures += 1
                wait = self._back_off(failures)
                self.last_error = f"{type(exc).__name__}: {exc}"
                log.exception("loop.bug", loop=self.name, again_in=round(wait, 1))
            took = time.monotonic() - begun
            if self.on_round is not None:
                self.on_round(took, wait)
            rest = min(_LONGEST_REST, self.rest * took)
            if not self.stop.wait(rest):
                self.wake.wait(wait - rest)
            self.wake.clear()

    @staticmethod
    def _back_off(failures: int) -> float:
        return float(min(_LONGEST, 0.5 * 2 ** min(failures, 8)) * random.uniform(0.8, 1.2))  # noqa: S311
