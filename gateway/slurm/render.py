"""Rendering the batch script: directives that each have a strict pattern, and one `exec` line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import slurm_templates
from gateway.errors import ConfigError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9_.+%/-]{0,1023}", re.ASCII)


@dataclass(frozen=True)
class ScriptValues:
    """What a template may use. Paths are absolute; `memory_mb` in MiB; `minutes` is Slurm's time limit."""

    job_name: str
    comment: str
    job_dir: str
    tasks: int
    cpus: int
    memory_mb: int
    minutes: int
    signal_seconds: int
    partition: str | None
    account: str | None
    qos: str | None
    python: str
    agent: str
    job_file: str
    number: int
    first: int


def render(template: str, values: ScriptValues) -> str:
    """Render a template of `slurm_templates/` (or a site's own, by an absolute path ending in .j2).

    Raises
    ------
    ConfigError
        When the template is not there.
    ValueError
        When a value does not have its pattern: nothing is rendered then.
    """
    _check(values)
    folder, name = _locate(template)
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML; every value has a strict pattern
    )
    return environment.get_template(name).render(v=values)


def template_path(template: str) -> Path:
    """Return the file of a template.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    folder, name = _locate(template)
    return Path(folder) / name


def _locate(template: str) -> tuple[str, str]:
    path = (
        Path(template)
        if template.startswith("/")
        else Path(slurm_templates.__path__[0]) / f"{template}.sbatch.j2"
    )
    if not path.is_file():
        known = sorted(
            p.name.removesuffix(".sbatch.j2")
            for p in Path(slurm_templates.__path__[0]).glob("*.sbatch.j2")
        )
        raise ConfigError(
            f"template {template!r} is not there; known: {', '.join(known)}, or an absolute path"
        )
    return str(path.parent), path.name


def _check(values: ScriptValues) -> None:
    words = (values.job_name, values.comment, values.partition, values.account, values.qos)
    paths = (values.job_dir, values.python, values.agent, values.job_file)
    numbers = (values.tasks, values.cpus, values.memory_mb, values.minutes, values.signal_seconds)
    for word in words:
        if word is not None and not _WORD.fullmatch(word):
            raise ValueError(f"{word!r} may not stand in a batch script")
    for path in paths:
        if not _PATH.fullmatch(path):
            raise ValueError(f"the path {path!r} may not stand in a batch script")
    if any(type(number) is not int or number < 1 for number in numbers):
        raise ValueError(f"counts in a batch script are whole numbers from 1: {numbers}")
    if any(type(number) is not int or number < 0 for number in (values.number, values.first)):
        raise ValueError("submission and container numbers are whole numbers from 0")
