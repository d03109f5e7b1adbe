"""The parts of the site, as the inside sees them: how each is started, known to be ready, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devclusterlib.settings import ClusterError

RUN = Path("/run/devcluster")
LOGS = Path("/var/log/devcluster")


@dataclass(frozen=True)
class Part:
    """One service. `argv` runs it in the foreground; `ready` tells whether it answers; `prepare` runs before it."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    prepare: Callable[[], None] | None = None
    user: str = "root"
    seconds: float = 60
    after: Callable[[], None] | None = None
    tries: int = 1

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LOGS / f"{self.name}.log"

    def pid(self) -> int | None:
        """Return its pid in the site; None when it does not run."""
        try:
            number = int((RUN / f"{self.name}.pid").read_text())
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return None if state in "ZX" else number

    def start(self) -> float:
        """Start it and wait until it is ready; return the seconds that took (0 when it ran already).

        Raises
        ------
        ClusterError
            With the last line of its log when it ended or did not get ready in time.
        """
        begin = time.monotonic()
        if self.pid() is not None and self.ready():
            return 0.0
        self.stop()
        LOGS.mkdir(parents=True, exist_ok=True)
        if self.prepare is not None:
            self.prepare()
        for left in range(self.tries - 1, -1, -1):
            try:
                self._launch(begin)
                break
            except ClusterError:
                if left == 0:
                    raise
                time.sleep(1)
        if self.after is not None:
            self.after()
        return time.monotonic() - begin

    def _launch(self, begin: float) -> None:
        command = list(self.argv)
        if self.user != "root":
            identity = [f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
            command = ["setpriv", *identity, "--", *command]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        (RUN / f"{self.name}.pid").write_text(str(process.pid))
        while not self.ready():
            if process.poll() is not None:
                raise ClusterError(
                    f"{self.name} ended with code {process.returncode}: {self.last_words()}"
                )
            if time.monotonic() - begin > self.seconds:
                raise ClusterError(
                    f"{self.name} was not ready in {self.seconds:.0f} s: {self.last_words()}"
                )
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM, patience: float = 20) -> bool:
        """Send it a signal and wait for its end (SIGKILL after `patience` seconds); tell whether it ran."""
        number = self.pid()
        if number is None:
            return False
        os.kill(number, how)
        deadline = time.monotonic() + patience
        while self.pid() is not None:
            if time.monotonic() > deadline:
                os.kill(number, signal.SIGKILL)
            time.sleep(0.05)
        return True

    def state(self) -> str:
        """Return `up`, `not ready` or `down`."""
        if self.pid() is None:
            return "down"
        return "up" if self.ready() else "not ready"

    def last_words(self) -> str:
        """Return the last line of its log."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else f"no message in {self.log}"


def quiet(*argv: str, text: str | None = None) -> bool:
    """Run a command and tell whether it succeeded, within 20 seconds."""
    try:
        done = subprocess.run(
            argv, input=text, text=True, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def must(*argv: str, text: str | None = None) -> str:
    """Run a command and return its output.

    Raises
    ------
    ClusterError
        When it fails, with its last line.
    """
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ClusterError(
            f"{' '.join(argv[:3])} …: {said[-1] if said else f'exit code {done.returncode}'}"
        )
    return done.stdout
