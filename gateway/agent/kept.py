"""What an earlier run of a container has told: result.json, read again to upload the outputs that it left."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from .files import ContractError, Fields, StepResult, read_fields


class Kept(NamedTuple):
    """How the container ran, as an ok to be completed by an upload, and when."""

    result: StepResult
    times: Dict[str, List[Optional[str]]]
    bytes_in: int
    image_cached: bool


def read_kept(path: Path) -> Kept:
    """Read the result of a container that exited 0 and whose outputs were not all uploaded.

    Raises
    ------
    ContractError
        When there is no such result.
    """
    try:
        f = read_fields(path)
    except FileNotFoundError as exc:
        raise ContractError("nothing is kept of its run; run it again") from exc
    if f.whole_or_none("exit_code") != 0:
        raise ContractError("it did not exit 0, so its outputs are not uploaded; run it again")
    return Kept(
        StepResult("ok", exit_code=0, log_truncated=f.flag("log_truncated")),
        _times(f),
        f.whole("bytes_in"),
        f.flag("image_cached"),
    )


def _times(fields: Fields) -> Dict[str, List[Optional[str]]]:
    times = fields.inner("times")
    found = {phase: times.texts(phase) for phase in ("stage-in", "run")}
    return {phase: [begin, end] for phase, (begin, end) in _whole(found)}


def _whole(found: Dict[str, Tuple[str, ...]]) -> List[Tuple[str, Tuple[str, str]]]:
    return [(phase, (pair[0], pair[1])) for phase, pair in found.items() if len(pair) == 2]
