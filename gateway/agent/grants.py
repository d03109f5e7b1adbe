"""The URLs of inputs: asked for in batches, renewed when they run out."""

from __future__ import annotations

import math
import threading
import time
from typing import Dict, List, Set, Tuple

from .files import Fields
from .mailbox import Asker, NoAnswer, Stop

_EARLY_SECONDS = 60.0


class Grants:
    """The URLs of inputs, renewed when they run out. Thread-safe."""

    def __init__(self, mailbox: Asker, stop: Stop) -> None:
        self._mailbox = mailbox
        self._stop = stop
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._urls: Dict[int, Tuple[str, Dict[str, str], float]] = {}
        self._batch_of: Dict[int, List[int]] = {}
        self._done: Set[int] = set()

    def ask(self, ids: List[int]) -> None:
        """Ask for URLs of these inputs and keep them.

        Raises
        ------
        NoAnswer
            When there is no grant, or not for all of them.
        Stopped
            When an end was asked for.
        """
        answer = self._mailbox.ask("stage-in", self._stop, inputs=ids)
        until = usable_until(answer)
        with self._lock:
            for entry in answer.each("inputs"):
                self._urls[entry.whole("id")] = (entry.text("url"), entry.pairs("headers"), until)
            for id_ in ids:
                if id_ not in self._urls:
                    raise NoAnswer("the gateway granted not all inputs that were asked for")
                self._batch_of[id_] = ids

    def get(self, id_: int) -> Tuple[str, Dict[str, str]]:
        """Return URL and headers, renewed where they are about to expire."""
        url, headers, until = self._urls[id_]
        if time.monotonic() > until:
            return self.renew(id_, url)
        return url, headers

    def renew(self, id_: int, used: str) -> Tuple[str, Dict[str, str]]:
        """Return another URL than the one `used`, for this and what is left of its batch."""
        with self._renewing:
            url, headers, _ = self._urls[id_]
            if url == used:
                with self._lock:
                    left = [i for i in self._batch_of[id_] if i not in self._done]
                self.ask(left if id_ in left else [*left, id_])
                url, headers, _ = self._urls[id_]
            return url, headers

    def done(self, id_: int) -> None:
        """Note that an input needs no URL any more."""
        with self._lock:
            self._done.add(id_)


def usable_until(answer: Fields) -> float:
    """Return until when, on this process's monotonic clock, the URLs of an answer are begun with."""
    # A node whose clock is off must not ask without end: then only a 403 tells.
    left = answer.number("expires") - time.time()
    return time.monotonic() + left - _EARLY_SECONDS if left > 2 * _EARLY_SECONDS else math.inf
