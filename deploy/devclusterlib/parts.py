"""The parts of the site, as the inside sees them: how each is started, known to be ready, and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devclusterlib.settings import ClusterError

RUN = Path("/run/devcluster")
LOGS = Path("/var/log/devcluster")

# The pid file is there before the program is: a start that is broken off leaves no program that nobody knows of.
_LAUNCH = 'awk \'{ print $1, $22 }\' "/proc/$$/stat" > "$0" && exec "$@"'

_DEADLY = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)

# What is run for a moment is killed with us; the parts themselves stay.
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True)
class Part:
    """One service. `argv` runs it in the foreground; `ready` tells whether it answers; `prepare` runs before it."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    prepare: Callable[[], None] | None = None
    user: str = "root"
    seconds: float = 120
    after: Callable[[], None] | None = None
    tries: int = 1

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LOGS / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return RUN / f"{self.name}.pid"

    @property
    def _complete(self) -> Path:
        """There when `after` was done, too: a start may be broken off before it."""
        return RUN / f"{self.name}.complete"

    def pid(self) -> int | None:
        """Return its pid in the site; None when it does not run, though another may have its number now."""
        try:
            number, *started = self._pid_file.read_text().split()
            stat = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        return None if stat[0] in "ZX" or started not in ([], [stat[19]]) else int(number)

    def start(self) -> float:
        """Start it and wait until it is ready; return the seconds that took (0 when it ran already).

        Raises
        ------
        ClusterError
            With the last line of its log when it ended or did not get ready in time.
        """
        begin = time.monotonic()
        if self.pid() is not None and self._answers(10):
            if self._complete.exists():
                return 0.0
            tries = 0
        else:
            self.stop()
            self._complete.unlink(missing_ok=True)
            tries = self.tries
        LOGS.mkdir(parents=True, exist_ok=True)
        for left in range(tries - 1, -1, -1):
            try:
                if self.prepare is not None:
                    self.prepare()
                self._launch()
                break
            except ClusterError:
                if left == 0:
                    raise
                self.stop()
                time.sleep(1)
        if self.after is not None:
            self.after()
        self._complete.touch()
        return time.monotonic() - begin

    def _launch(self) -> None:
        begin = time.monotonic()
        command = list(self.argv)
        if self.user != "root":
            identity = [f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
            command = ["setpriv", *identity, "--", *command]
        self._pid_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-c", _LAUNCH, str(self._pid_file), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        while self.pid() is None or not self.ready():
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
        _send(number, how)
        _send(number, signal.SIGCONT)  # one that is halted would not hear the other
        if not self._ends(patience):
            _send(number, signal.SIGKILL)
            self._ends(patience)
        return True

    def kill(self, how: signal.Signals) -> None:
        """Send it a signal, and wait for its end when nothing outlives that signal.

        Raises
        ------
        ClusterError
            When it does not run, or did not end.
        """
        number = self.pid()
        if number is None:
            raise ClusterError(f"{self.name} does not run")
        _send(number, how)
        if how in _DEADLY and not self._ends(20):
            raise ClusterError(f"{self.name} has not ended 20 s after {how.name}")

    def _ends(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def state(self) -> str:
        """Return `up`, `not ready` or `down`."""
        if self.pid() is None:
            return "down"
        return "up" if self._answers(10) else "not ready"

    def _answers(self, seconds: float) -> bool:
        """Ask more than once: on a busy machine one question alone may come to nothing."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() > deadline or self.pid() is None:
                return False
            time.sleep(0.3)
        return True

    def last_words(self) -> str:
        """Return the last line of its log."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else f"no message in {self.log}"


def _send(number: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, how)


def quiet(*argv: str, text: str | None = None) -> bool:
    """Run a command and tell whether it succeeded, within 20 seconds."""
    try:
        done = subprocess.run(
            [*WITH_US, *argv], input=text, text=True, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def must(*argv: str, text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output; `environment` adds to the present one.

    Raises
    ------
    ClusterError
        When it cannot be run or fails, with its last line.
    """
    try:
        done = subprocess.run(
            [*WITH_US, *argv],
            input=text,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except OSError as exc:
        raise ClusterError(f"{argv[0]} cannot be run: {exc.strerror}") from exc
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ClusterError(
            f"{' '.join(argv[:3])} …: {said[-1] if said else f'exit code {done.returncode}'}"
        )
    return done.stdout
