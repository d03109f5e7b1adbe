"""Asking the daemon: a request is a file in the mailbox, its answer a file in the grants directory.

Where the site has it, the same request first goes over TLS; the mailbox is what always works.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Protocol, Tuple

from .direct import Direct
from .files import Clock, Fields, Job, read_fields, write_json
from .place import FULL, Place, Slurm

SEQ_OF_RESTART = 1_000_000
SEQ_OFFSETS = {"batch": 0, "stage-in": 100_000, "run": 200_000, "stage-out": 300_000}
ASK_AGAIN_SECONDS = 120.0
PATIENCE_SECONDS = 6 * 3600.0
FULL_SECONDS = 300.0
_FULL_PAUSE = 5.0
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.5


class Stopped(Exception):
    """This process was asked to end; `reason` is `timeout` or `canceled`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoAnswer(Exception):
    """The daemon refused the request, or did not answer in any reasonable time."""


class Stop:
    """Whether this process was asked to end.

    Plain attributes, set by signal handlers: a lock could be held by the very thread that is
    interrupted.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self.timeout = False
        self.canceled = False
        self._sleep = sleep

    @property
    def reason(self) -> Optional[str]:
        """What this process was asked first: `timeout` is followed by a SIGTERM of Slurm."""
        if self.timeout:
            return "timeout"
        return "canceled" if self.canceled else None

    def check(self) -> None:
        """Raise Stopped when an end was asked for."""
        if self.reason is not None:
            raise Stopped(self.reason)

    def pause(self, seconds: float) -> None:
        """Sleep, in slices so that an end comes through.

        Raises
        ------
        Stopped
            When an end was asked for.
        """
        left = seconds
        while left > 0:
            self.check()
            self._sleep(min(0.1, left))
            left -= 0.1
        self.check()


class Asker(Protocol):
    """Whoever can be asked for grants."""

    def ask(self, kind: str, stop: Stop, **more: object) -> Fields:
        """Return the grant that answers a request; NoAnswer where there is none."""


class Mailbox:
    """Requests of one process (`role`: batch or a phase) for one container. Thread-safe."""

    def __init__(
        self, job: Job, n: int, slurm: Slurm, place: Place, role: str, clock: Clock = time.monotonic
    ) -> None:
        self._job = job
        self._n = n
        self._slurm = slurm
        self._grants = place.grants
        self._clock = clock
        self._direct = Direct(job.grants, job.job_id, job.token, clock) if job.grants else None
        self._lock = threading.Lock()
        self._seq = slurm.restarts * SEQ_OF_RESTART + SEQ_OFFSETS[role]

    def tell(self, kind: str, **more: object) -> int:
        """Send a request, wait for nothing; return its seq."""
        seq, document = self._document(kind, more)
        write_json(self._request(seq), document)
        return seq

    def _document(self, kind: str, more: Mapping[str, object]) -> Tuple[int, Dict[str, object]]:
        with self._lock:
            self._seq += 1
            seq = self._seq
        return seq, {
            "version": 1,
            "kind": kind,
            "job_id": self._job.job_id,
            "container": self._n,
            "token": self._job.token,
            "slurm_job_id": self._slurm.job_id,
            "submission": self._job.submission,
            "seq": seq,
            **more,
        }

    def ask(self, kind: str, stop: Stop, **more: object) -> Fields:
        """Send a request and return the grant that answers it.

        Raises
        ------
        NoAnswer
            With the daemon's text for the user, or when no answer came for PATIENCE_SECONDS.
        Stopped
            When an end was asked for.
        """
        stop.check()
        if self._direct is not None:
            answer = self._direct.ask(self._document(kind, more)[1])
            if answer is not None:
                return _granted(answer)
        asked: List[int] = [self._post(kind, stop, more)]
        begin = last = self._clock()
        pause = _FIRST_PAUSE
        while True:
            answer = self._answer(asked)
            if answer is not None:
                return answer
            stop.pause(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)
            now = self._clock()
            if now - begin > PATIENCE_SECONDS:
                raise NoAnswer("the gateway did not answer the compute node")
            if now - last > ASK_AGAIN_SECONDS:
                self._request(asked[-1]).unlink(missing_ok=True)
                asked.append(self._post(kind, stop, more))
                last, pause = now, _FIRST_PAUSE

    def _post(self, kind: str, stop: Stop, more: Mapping[str, object]) -> int:
        """Send a request, as `tell`; that the disk is full is borne for some minutes."""
        begin = self._clock()
        while True:
            try:
                return self.tell(kind, **more)
            except OSError as exc:
                if exc.errno not in FULL:
                    raise
                if self._clock() - begin > FULL_SECONDS:
                    raise NoAnswer(
                        f"the gateway cannot be asked: {exc.strerror} ({self._job.mailbox})"
                    ) from exc
                print(f"{kind}: {exc.strerror}, again in 5 s", file=sys.stderr, flush=True)
            stop.pause(_FULL_PAUSE)

    def _request(self, seq: int) -> Path:
        name = f"{self._job.job_id}.{self._n}.{self._slurm.job_id}.{seq}.json"
        return self._job.mailbox / name

    def _answer(self, asked: List[int]) -> Optional[Fields]:
        # A listing asks the server of a network file system anew; a look-up of a name that was
        # missing a moment ago may be answered from the client's cache.
        wanted = {f"{self._slurm.job_id}.{seq}.json" for seq in asked}
        for path in self._grants.iterdir():
            if path.name in wanted:
                fields = read_fields(path)
                path.unlink(missing_ok=True)
                return _granted(fields)
        return None


def _granted(answer: Fields) -> Fields:
    error = answer.text_or_none("error")
    if error is not None:
        raise NoAnswer(error)
    return answer
