"""What the batch process tells of its container: status.json, result.json, and a word to the daemon of each."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from .files import StepResult, utc, write_json
from .mailbox import Mailbox
from .place import Place, Slurm

if TYPE_CHECKING:
    from .kept import Kept


class Report:
    """status.json and result.json of a container."""

    def __init__(self, folder: Path, slurm: Slurm, submission: int) -> None:
        self._folder = folder
        self._slurm = slurm
        self._submission = submission
        self.exit_code: Optional[int] = None  # of the container, where it ran before
        self._times: Dict[str, List[Optional[str]]] = {}
        self.steps: Dict[str, StepResult] = {}
        self.mailbox: Optional[Mailbox] = None
        self.place: Optional[Place] = None

    def phase(self, name: str) -> None:
        """Note that a phase begins, here and (should the mailbox fail, nowhere else) to the daemon."""
        self.end()
        now = utc(time.time())
        if name != "end":
            self._times[name] = [now, None]
        status = {"version": 1, "phase": name, "slurm_job_id": self._slurm.job_id,
                  "host": self._slurm.host, "times": self._times, "bytes_done": 0,
                  "bytes_total": 0, "bytes_per_second": 0}  # fmt: skip
        try:
            write_json(self._folder / "status.json", status)
            if name != "end" and self.mailbox is not None:
                self.mailbox.tell("phase", phase=name, time=now, host=self._slurm.host)
        except OSError as exc:
            print(f"{name}: {exc}", file=sys.stderr, flush=True)

    def take_over(self, kept: Kept) -> None:
        """Begin with what an earlier submission has told."""
        self.exit_code = kept.result.exit_code
        self._times.update(kept.times)
        self.steps["stage-in"] = StepResult(
            "ok", transferred=kept.bytes_in, image_cached=kept.image_cached
        )

    def end(self) -> None:
        """Note that the present phase is over."""
        for times in self._times.values():
            if times[1] is None:
                times[1] = utc(time.time())

    def finish(self, result: StepResult) -> None:
        """Write result.json, then tell the daemon, then free the space. Errors are printed."""
        self.phase("end")
        none = StepResult("")
        keep = result.outcome != "ok"
        error = result.error
        if self.place is not None and self.place.scratch is not None and keep:
            why = self._free(keep_outputs=True)  # before the daemon thinks it knows all
            if why is not None:
                stay = f"its outputs stay on {self._slurm.host}, in {self.place.outputs}: {why}"
                error = stay if error is None else f"{error}; {stay}"
        document = {
            "version": 1,
            "slurm_job_id": self._slurm.job_id,
            "submission": self._submission,
            "host": self._slurm.host,
            "outcome": result.outcome,
            "exit_code": result.exit_code,
            "signal": result.signal,
            "error": error,
            "times": self._times,
            "bytes_in": self.steps.get("stage-in", none).transferred,
            "bytes_out": self.steps.get("stage-out", none).transferred,
            "image_cached": self.steps.get("stage-in", none).image_cached,
            "outputs": [output._asdict() for output in result.outputs],
            "log_truncated": result.log_truncated,
            "memory_ran_out": result.memory_ran_out,
            "disk_full": result.disk_full,
        }
        for attempt in range(5):
            try:
                write_json(self._folder / "result.json", document)
                if self.mailbox is not None:
                    self.mailbox.tell("result")
                break
            except OSError as exc:
                print(f"result.json: {exc}", file=sys.stderr, flush=True)
                self._make_room()
                time.sleep(2.0**attempt)
        self._free(keep_outputs=keep)

    def _make_room(self) -> None:
        """Free what nobody needs any more: the disk may be full. Outputs stay, until it is known how they fared."""
        if self.place is None:
            return
        self.place.make_room(self.place.ranks)
        if self.place.scratch is None:
            self._free(keep_outputs=True)

    def _free(self, *, keep_outputs: bool) -> Optional[str]:
        """Clean up; return what kept that from being done."""
        if self.place is None:
            return None
        try:
            self.place.clean_end(keep_outputs=keep_outputs)
        except OSError as exc:
            print(f"clean-up: {exc}", file=sys.stderr, flush=True)
            return exc.strerror or str(exc)
        return None
