"""Calls that wait: for a job's end, for a log that grows. They outlive restarts of the daemon and lost connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from gateway import wire
from gateway.client.jobs import JobCalls, Stream
from gateway.client.patience import Patience, jitter
from gateway.connection import CtsError, GatewayUnreachableError
from gateway.errors import AppCode

ENDED = ("complete", "error", "canceled")
_PIECE = 1 << 20


class WaitingCalls(JobCalls):
    """Waiting for what a job does."""

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        on_answer: Callable[[wire.JobStatus], None] | None = None,
    ) -> wire.JobStatus:
        """Wait for a job's end, asking 20 times a second at first and every 2 s later; outlives restarts of the daemon.

        Parameters
        ----------
        timeout
            Seconds; None for as long as it takes.
        on_answer
            Called with each answer, the last one included.

        Raises
        ------
        TimeoutError
            When `timeout` seconds have passed.
        GatewayUnreachableError
            When nobody has answered for a minute.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, patience = 0.05, Patience()
        while True:
            try:
                status = self.status(job_id)
            except (CtsError, GatewayUnreachableError) as exc:
                patience.bear(exc)
            else:
                patience.answered()
                if on_answer is not None:
                    on_answer(status)
                if status.state in ENDED:
                    return status
            nap = pause * jitter()
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"job {job_id} has not ended in {timeout:g} s")
                nap = min(nap, left)
            time.sleep(nap)
            pause = min(2.0, pause * 1.05)

    def follow_log(self, job_id: str, container: int, stream: Stream = "stdout") -> Iterator[bytes]:
        """Yield a log as it grows, until the container has ended; waits for a log that is not there yet.

        Outlives restarts of the daemon.

        Raises
        ------
        CtsError
            40070 when the job has ended without such a log, 40040 and 40050 as `log`.
        """
        seek, pause, patience = 0, 0.2, Patience()
        while True:
            data, final = b"", False
            try:
                found = self._log_or_none(job_id, container, stream, seek)
            except (CtsError, GatewayUnreachableError) as exc:
                patience.bear(exc)
            else:
                patience.answered()
                data, final = found or (b"", False)
            if data:
                seek, pause = seek + len(data), 0.2
                yield data
                continue
            if final:
                return
            time.sleep(pause * jitter())
            pause = min(2.0, pause * 1.3)

    def _log_or_none(
        self, job_id: str, container: int, stream: Stream, seek: int
    ) -> tuple[bytes, bool] | None:
        """Read a piece; None when there is no log yet, 40070 when there will be none."""
        try:
            return self.log(job_id, container, stream, seek, _PIECE)
        except CtsError as exc:
            if exc.appcode != AppCode.NO_LOGS.code:
                raise
        if self.status(job_id).state not in ENDED:
            return None
        return self.log(job_id, container, stream, seek, _PIECE)  # it may have come meanwhile
