"""The `#SBATCH` lines of a batch script as fields of a job that slurmrestd takes: slurmctld itself reads no such lines.

One table. What it does not know is refused, so that nothing of a template is dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]

_LINE = re.compile(r"#SBATCH --([a-z][a-z-]*)(?:=(\S+))?", re.ASCII)
_MEMORY = re.compile(r"([1-9][0-9]{0,14})([MGT])", re.ASCII)
_MEBIBYTES = {"M": 1, "G": 1 << 10, "T": 1 << 20}
_SIGNAL = re.compile(r"(B:)?([A-Z][A-Z0-9]{1,9}|[1-9][0-9]?)@([1-9][0-9]{0,4})", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_OPEN_MODES = {"append": "APPEND", "truncate": "TRUNCATE"}


def first_environment(user: str, bin_dir: str | None) -> dict[str, str]:
    """Return the environment of a job that no sbatch hands its own on to; its umask is part of it for Slurm."""
    slurm = f"{bin_dir}:" if bin_dir else ""
    path = f"{slurm}/usr/local/bin:/usr/bin:/bin"
    return {
        **{"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC", "SLURM_UMASK": "0077"},
        **{"USER": user, "LOGNAME": user},
    }


def number(value: int) -> Fields:
    """Return a number as slurmrestd wants those that may be left out."""
    return {"set": True, "infinite": False, "number": value}


def _whole(value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise ValueError("a whole number from 1 is known there")
    return int(value)


def _text(field: str) -> Callable[[str], Fields]:
    return lambda value: {field: value}


def _count(field: str) -> Callable[[str], Fields]:
    return lambda value: {field: _whole(value)}


def _optional(field: str) -> Callable[[str], Fields]:
    return lambda value: {field: number(_whole(value))}


def _memory(value: str) -> Fields:
    match = _MEMORY.fullmatch(value)
    if match is None:
        raise ValueError("a size such as 300M or 2G is known there")
    return {"memory_per_node": number(int(match[1]) * _MEBIBYTES[match[2]])}


def _signal(value: str) -> Fields:
    match = _SIGNAL.fullmatch(value)
    if match is None:
        raise ValueError("a signal such as B:USR1@60 is known there")
    flags = ["BATCH_JOB"] if match[1] else []
    delay = number(int(match[3]))
    return {
        "kill_warning_flags": flags,
        "kill_warning_signal": match[2],
        "kill_warning_delay": delay,
    }


def _open_mode(value: str) -> Fields:
    if value not in _OPEN_MODES:
        raise ValueError("append and truncate are known there")
    return {"open_mode": [_OPEN_MODES[value]]}


TABLE: dict[str, Callable[[str], Fields]] = {
    "job-name": _text("name"),
    "comment": _text("comment"),
    "chdir": _text("current_working_directory"),
    "output": _text("standard_output"),
    "error": _text("standard_error"),
    "open-mode": _open_mode,
    "array": _text("array"),
    "nodes": _text("nodes"),
    "ntasks": _count("tasks"),
    "ntasks-per-core": _count("tasks_per_core"),
    "ntasks-per-node": _count("tasks_per_node"),
    "cpus-per-task": _count("cpus_per_task"),
    "mem": _memory,
    "gpus-per-node": lambda value: {"tres_per_node": f"gres/gpu:{_whole(value)}"},
    "gpus-per-task": _count("gpus_per_task"),  # see `_as_sbatch`
    "time": _optional("time_limit"),
    "time-min": _optional("time_minimum"),
    "signal": _signal,
    "partition": _text("partition"),
    "account": _text("account"),
    "qos": _text("qos"),
    "constraint": _text("constraints"),
    "reservation": _text("reservation"),
    "licenses": _text("licenses"),
}
FLAGS: dict[str, Fields] = {"requeue": {"requeue": True}, "no-requeue": {"requeue": False}}


def job_fields(script: str) -> Fields:
    """Return the fields of the job that sbatch would make of this script's directives.

    Raises
    ------
    ValueError
        When a directive is not in the table, or its value is not of the form that the table reads.
    """
    fields: Fields = {}
    for name, value in read_directives(script):
        fields |= FLAGS[name] if value is None else _read(name, value)
    return _as_sbatch(fields)


def read_directives(script: str) -> list[tuple[str, str | None]]:
    """Return the directives of a script in order: names that the table knows, each with its value; None with a flag.

    Raises
    ------
    ValueError
        When one is not in the table, or not written as `--option=value`.
    """
    found: list[tuple[str, str | None]] = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break  # sbatch(1): directives come before the first command
        if not line.startswith("#SBATCH"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[1] not in (FLAGS if match[2] is None else TABLE):
            known = ", ".join(sorted([*TABLE, *FLAGS]))
            raise ValueError(
                f"{line!r} cannot be given to slurmrestd; one --option=value a line, of: {known}"
            )
        found.append((match[1], match[2]))
    return found


def _read(name: str, value: str) -> Fields:
    try:
        return TABLE[name](value)
    except ValueError as exc:
        line = f"#SBATCH --{name}={value}"
        raise ValueError(f"{line!r} cannot be given to slurmrestd: {exc}") from exc


def _as_sbatch(fields: Fields) -> Fields:
    """Add what sbatch itself makes of its options (`slurm_opt_create_job_desc`), so that the job is the same."""
    gpus = fields.pop("gpus_per_task", None)
    cpus = fields.get("cpus_per_task")
    if gpus is not None:
        of_cpus = f"cpu={cpus}," if cpus is not None else ""
        fields["tres_per_task"] = f"{of_cpus}gres/gpu={gpus}"
        fields["tres_bind"] = f"gres/gpu:per_task:{gpus}"
    elif cpus is not None:
        fields["tres_per_task"] = f"cpu={cpus}"
    return fields
