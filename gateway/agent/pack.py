"""Containers side by side in one array task: a process each, and all are told what Slurm tells the task."""

from __future__ import annotations

import signal
import subprocess
from typing import List, Sequence

from .srun import HANDED_ON


def side_by_side(command: Sequence[str], numbers: Sequence[int]) -> int:
    """Run the command with each number behind it, all at once, to the end of the last; return an exit code.

    That is 0 where all are, else the first that is not. One that ends does not end the others. For the main thread.

    Raises
    ------
    OSError
        When a process cannot be started; those that were started are waited for.
    """
    children: List[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    # Blocked until all are there, and in each until it listens: no signal is lost, and none ends one that does not listen.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    for signum in HANDED_ON:
        signal.signal(signum, hand_on)
    try:
        for number in numbers:
            children.append(subprocess.Popen([*command, str(number)], stdin=subprocess.DEVNULL))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
        codes = [child.wait() for child in children]
    failed = [code for code in codes if code != 0]
    if not failed:
        return 0
    return failed[0] if failed[0] > 0 else 128 - failed[0]
