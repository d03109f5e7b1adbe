"""Rendering the batch script: directives that each have a strict pattern, and one `exec` line."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
)

import slurm_templates
from gateway.errors import ConfigError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9_.+/-]{0,1023}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FEATURES = re.compile(r"[A-Za-z0-9(\[][A-Za-z0-9_.:&|*()\[\]-]{0,254}", re.ASCII)
_LICENSE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}(?:@[A-Za-z0-9_.-]{1,63})?(?::[1-9][0-9]{0,8})?"
_LICENSES = re.compile(rf"(?=.{{1,255}}\Z){_LICENSE}(?:,{_LICENSE})*", re.ASCII)
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+/-]{0,127}", re.ASCII)
ENDING = ".sbatch.j2"


@dataclass(frozen=True)
class ScriptValues:
    """What a template may use. Paths are absolute; `memory_mb` in MiB a node; `minutes` is Slurm's time limit.

    `tasks` are those of the array. Each has either `per_task` containers side by side on one node, or one container with
    `nodes` nodes; `cpus` and `gpus` are those of one container on one node, `memory_mb` is that of all on a node.
    `at_once` tasks may run at one time, 0 is no bound. `modules` are the site's, to be loaded before the agent is started.
    """

    job_name: str
    comment: str
    job_dir: str
    tasks: int
    per_task: int
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
    nodes: int = 1
    gpus: int = 0
    constraint: str | None = None
    reservation: str | None = None
    licenses: str | None = None
    at_once: int = 0
    modules: tuple[str, ...] = ()


def render(template: str, values: ScriptValues) -> str:
    """Render a template of `slurm_templates/` (or a site's own, by an absolute path).

    Raises
    ------
    ConfigError
        When the template is not there, cannot be read, or renders to something that is no batch script; it names
        the file and, where there is one, the line.
    ValueError
        When a value does not have its pattern: nothing is rendered then.
    """
    _check(values)
    path = template_path(template)
    try:
        script = _environment(path.parent).get_template(path.name).render(v=values)
    except TemplateSyntaxError as exc:
        raise ConfigError(
            f"template {exc.filename or path}, line {exc.lineno}: {exc.message}"
        ) from exc
    except TemplateNotFound as exc:
        raise ConfigError(f"template {path} wants {exc.name}, which is not beside it") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"template {path} is not UTF-8: {exc}") from exc
    except OSError as exc:
        raise ConfigError(f"template {path} cannot be read: {exc.strerror}") from exc
    except Exception as exc:
        # A template is a site's own program: what it may raise has no list.
        line = _line_of(exc, path)
        raise ConfigError(f"template {path}, line {line}: {exc}") from exc
    _check_script(path, script)
    return script


@lru_cache(maxsize=64)
def _environment(folder: Path) -> Environment:
    """Return what reads the templates of a directory; it keeps them, and reads one again that has changed."""
    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML; every value has a strict pattern
    )


def _line_of(exc: BaseException, path: Path) -> int | str:
    """Find the line of the template where an error came up: Jinja puts it into the traceback."""
    frames = traceback.extract_tb(exc.__traceback__)
    return next((f.lineno or "?" for f in reversed(frames) if f.filename == str(path)), "?")


def _check_script(path: Path, script: str) -> None:
    """See that sbatch will take it: ASCII (it is written so), an interpreter, lines that end."""
    if not script.startswith("#!/"):
        raise ConfigError(
            f"template {path}, line 1: a batch script begins with #! and an interpreter"
        )
    for number, line in enumerate(script.split("\n"), 1):
        if not line.isascii() or not line.replace("\t", "").isprintable():
            raise ConfigError(
                f"template {path}: line {number} of its script is not plain ASCII: {line!r}"
            )
    if not script.endswith("\n"):
        raise ConfigError(f"template {path}: its script does not end with a line's end")


def template_path(template: str) -> Path:
    """Return the file of a template.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    folder = Path(slurm_templates.__path__[0])
    if template.startswith("/"):
        path = Path(template)
    elif _NAME.fullmatch(template):
        path = folder / f"{template}{ENDING}"
    else:
        raise ConfigError(
            f"template {template!r} is neither a name (letters, digits, - and _) nor an absolute path"
        )
    if not path.is_file():
        known = sorted(found.name.removesuffix(ENDING) for found in folder.glob(f"*{ENDING}"))
        raise ConfigError(
            f"template {template!r} is not there; known: {', '.join(known)}, or an absolute path"
        )
    return path


def _check(values: ScriptValues) -> None:
    words = (
        *(values.job_name, values.comment, values.partition, values.account, values.qos),
        values.reservation,
    )
    paths = (values.job_dir, values.python, values.agent, values.job_file)
    numbers = (
        *(values.tasks, values.per_task, values.cpus, values.memory_mb),
        *(values.minutes, values.signal_seconds, values.nodes),
    )
    patterns = ((values.constraint, _FEATURES), (values.licenses, _LICENSES))
    for word in words:
        if word is not None and not _WORD.fullmatch(word):
            raise ValueError(f"{word!r} may not stand in a batch script")
    for text, pattern in patterns:
        if text is not None and not pattern.fullmatch(text):
            raise ValueError(f"{text!r} may not stand in a batch script")
    for module in values.modules:
        if not _MODULE.fullmatch(module):
            raise ValueError(f"the module {module!r} may not stand in a batch script")
    for path in paths:
        if not _PATH.fullmatch(path):
            raise ValueError(f"the path {path!r} may not stand in a batch script")
    if any(type(number) is not int or number < 1 for number in numbers):
        raise ValueError(f"counts in a batch script are whole numbers from 1: {numbers}")
    from_zero = (values.number, values.gpus, values.at_once)
    if any(type(number) is not int or number < 0 for number in from_zero):
        raise ValueError("numbers of submissions, GPUs and tasks at once are whole numbers from 0")
