"""The apptainer command line of a container: an argv list and an environment, never a shell.

What Apptainer 1.4.5 makes of its options was tried out: without `--no-eval` a shell evaluates the
values of variables; `--env` splits at commas and `--env-file` is a shell script; APPTAINERENV_NAME
with `--no-eval` hands every value on as it is, but for the names that are refused here.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Dict, List, Mapping, NamedTuple, Optional

from .files import Container, Job
from .place import Place

HOME = "/tmp"  # noqa: S108 - the container's own: private and writable
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# Read-only in apptainer's interpreter, or changed by its start script, or commands to it.
_NEVER = frozenset({"UID", "GID", "EUID", "PROMPT_COMMAND", "PREPEND_PATH", "APPEND_PATH"})
_PREFIXES = ("APPTAINER_", "APPTAINERENV_", "SINGULARITY_", "SINGULARITYENV_", "SING_USER_DEFINED_")
_NOT_EMPTY = frozenset({"PATH", "PS1"})
_NO_WORKDIR = re.compile(
    r"FATAL:\s+(?:\S+: )*failed to set working directory: chdir .*: no such file or directory"
)
_NO_IMAGE = re.compile(
    r"FATAL:\s+(?:\S.*: )?could not open image \S.*: no such file or directory", re.DOTALL
)
_HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ContainerError(Exception):
    """The container cannot be started as it was asked for; the text is for the user."""


class Command(NamedTuple):
    """What is executed: `argv`, and the whole environment of apptainer itself."""

    argv: List[str]
    env: Dict[str, str]


def host_environment(job: Job, private: Path) -> Dict[str, str]:
    """Return the environment of an apptainer process; `private` gets whatever it wants to keep."""
    return {
        "PATH": f"{Path(job.apptainer).parent}:{_HOST_PATH}",
        "HOME": str(private),
        "LANG": "C.UTF-8",
        "APPTAINER_CACHEDIR": str(private / "cache"),
        "APPTAINER_CONFIGDIR": str(private / "config"),
        "APPTAINER_TMPDIR": str(private),
        "TMPDIR": str(private),
    }


def variables(job: Job, container: Container, slurm: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables of the container: the image's, overlaid by those of Slurm that are handed on, then the job's.

    Raises
    ------
    ContainerError
        For a variable of the job that apptainer would not hand on as it is.
    """
    for name, value in container.environment.items():
        why = refusal(name, value)
        if why is not None:
            raise ContainerError(f"the environment variable {name!r} {why}")
    # HOME of an image is a directory that cannot be written.
    image = {k: v for k, v in job.image.env.items() if k != "HOME" and refusal(k, v) is None}
    return {**image, **slurm, **container.environment}


def refusal(name: str, value: str) -> Optional[str]:
    """Return why a container cannot have this variable, None where it can."""
    if not _NAME.fullmatch(name) or "\0" in value:
        return "has a name or value that no process can have"
    if name in _NEVER or name.startswith(_PREFIXES):
        return "is Apptainer's own and cannot be set in a container"
    if name in _NOT_EMPTY and not value:
        return "cannot be empty in a container"
    if name == "HOME" and not re.fullmatch(r"/[^:\n\0]*", value):
        return "must be an absolute path without a colon or line break"
    return None


def lacks_workdir(status: int, tail: str) -> bool:
    """Tell from the end whether a container did not start because the image lacks its WORKDIR."""
    return status == 255 and _NO_WORKDIR.fullmatch(tail.strip()) is not None


def lacks_image(status: int, tail: str) -> bool:
    """Tell from the end whether a container did not start because its image was not there any more."""
    return status == 255 and _NO_IMAGE.fullmatch(tail.strip()) is not None


def command(
    job: Job,
    container: Container,
    place: Place,
    sif: Path,
    *,
    make_workdir: bool = False,
    slurm: Mapping[str, str] = MappingProxyType({}),
) -> Command:
    """Return what runs a container (apptainer-exec(1)); `slurm` are the variables of the task that it gets, too.

    `--nv` brings NVIDIA's driver in; without one on the node it is without effect, and says so where nobody hears it.
    With `make_workdir` the image's WORKDIR is made: an empty directory of the container, as Docker
    does it. It would hide one that is there.

    Raises
    ------
    ContainerError
        As `variables`, and when there is nothing to run.
    """
    words = [*job.image.entrypoint, *(container.args or job.image.cmd)]
    if not words:
        raise ContainerError("the image has no entrypoint and no command, the job no arguments")
    inside = variables(job, container, slurm)
    env = host_environment(job, place.pull)
    env.update({f"APPTAINERENV_{k}": v for k, v in inside.items() if k != "HOME"})
    # Only apptainer's fatal errors get into the container's stderr (--silent). Of the host the
    # container sees /etc/hosts alone, which images lack and localhost is looked up in; not what a
    # site binds everywhere (bind-paths).
    argv = [
        job.apptainer, "--silent", "exec",
        "--containall", "--cleanenv", "--no-eval", "--no-umask",
        "--no-mount", "hostfs,bind-paths", "--bind", "/etc/hosts:/etc/hosts:ro",
        # The variable and the entry in passwd(5) alone: nothing is bound there, so what the image
        # has at a HOME that was asked for stays visible.
        "--no-home", "--home", inside.get("HOME", HOME),
        "--workdir", str(place.tmp),
        "--bind", f"{place.inputs}:{job.input_mount_point}:ro",
        "--bind", f"{place.outputs}:{job.output_mount_point}",
    ]  # fmt: skip
    for source, target in job.refdata:
        argv += ["--bind", f"{source}:{target}:ro"]
    if job.gpus:
        argv += ["--nv"]
    if make_workdir:
        argv += ["--scratch", job.image.workdir]
    argv += ["--pwd", job.image.workdir, *job.apptainer_flags, str(sif), *words]
    return Command(argv, env)
