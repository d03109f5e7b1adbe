"""The job document of what ctsbatch was asked for. Values that the gateway checks are handed on as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.batch_options import Options
from gateway.cli.batch_sources import Script
from gateway.cli.common import UserError
from gateway.cli.filters import with_dependencies, with_labels
from gateway.errors import GatewayError
from gateway.ids import parse_ref
from gateway.wire import Site

_BINARY = re.compile(r"([0-9]+)([KMGT]?)B?", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"([0-9]+)([KMGT]?)", re.ASCII | re.IGNORECASE)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_WILD = re.compile(r"[*?\[]")
_GPUS = re.compile(r"(?:(?P<type>[A-Za-z][A-Za-z0-9_.-]*):)?(?P<count>[0-9]{1,4})", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SHIFTER = "docker:"
_LEAST_MEMORY = 1_000_000  # bytes; the protocol's
Job = dict[str, Any]


def make_job(
    options: Options,
    script: Script | None,
    rest: Sequence[str],
    cluster: str,
    sites: Sequence[Site],
) -> Job:
    """Make the document.

    Parameters
    ----------
    options
        All that was said.
    script
        The script, or that of `--wrap`.
    rest
        What followed `--` on the command line.
    cluster
        Where it shall run: the name of a site, or `any`.
    sites
        That site, or all that take jobs.

    Raises
    ------
    UserError
        For what makes no sense by itself; the gateway refuses the rest.
    """
    nodes = options.nodes or 1
    tasks = _tasks_of_a_node(options, nodes) if script is not None else 1
    cpus = options.cpus * tasks
    gpus = _gpus(options, nodes, tasks, as_sbatch=script is not None)
    job: Job = {
        "cluster": cluster,
        "image": _image(options.image),
        **_inputs(options),
        "output_dir": _results(options),
        "cpus": cpus,
        "params": _params(options, script, rest),
        **_containers(options, script),
    }
    memory = _memory(options, cpus, gpus)
    if memory is None and script is not None:
        memory = min(_share(site, cpus) for site in sites)
    wanted = {
        "memory": memory,
        "runtime": None if options.time is None else _runtime(options.time),
        "name": options.name or (None if script is None else _job_name(script.name)),
        "script": None if script is None else script.text,
        "account": options.account,
        "partition": options.partition,
        "qos": options.qos,
        "constraint": options.constraint,
        "reservation": options.reservation,
        "licenses": options.licenses,
        "gpus": gpus,
        "nodes": options.nodes,
    }
    job |= {field: value for field, value in wanted.items() if value is not None}
    _mount_volumes(job, options.volumes or ())
    _require(job)
    return with_dependencies(with_labels(job, options.labels), options.dependency)


def log_patterns(options: Options) -> tuple[str | None, str | None]:
    """Return the patterns of the files for standard output and standard error, as sbatch has them."""
    given = [text for text in options.output or () if not _is_place(text)]
    return options.stdout or (given[-1] if given else None), options.stderr


def _is_place(text: str) -> bool:
    """Tell whether a value of --output names a place in S3: sbatch's patterns have a `%`, or no slash."""
    return "/" in text and "%" not in text


def _results(options: Options) -> str | None:
    given = [text for text in options.output or () if _is_place(text)]
    if options.results is not None and given:
        raise UserError(
            f"--results and --output {given[-1]} are two places for the results; the file for the log is given with -o"
        )
    place = options.results or (given[-1] if given else None)
    return None if place is None else place.removeprefix("s3://")


def _require(job: Job) -> None:
    if job["image"] is None:
        raise UserError("--image: name the image, as in --image ghcr.io/lab/tool:1.0")
    if not {"input_files", "input_dirs", "input_globs"} & job.keys():
        raise UserError("--input: name the input objects, as in --input bucket/reads/a.fq")
    if job["output_dir"] is None:
        raise UserError("--output: say where the results go, as in --output bucket/results/a")


def _image(text: str | None) -> str | None:
    """Read an image as Docker names it, or as Shifter does, with `docker:` before."""
    return None if text is None else text.removeprefix(_SHIFTER)


def _inputs(options: Options) -> Job:
    given = [text.removeprefix("s3://") for text in options.inputs or ()]
    found = {
        "input_files": [text for text in given if not _WILD.search(text)],
        "input_globs": [text for text in given if _WILD.search(text)],
        "input_dirs": [text.removeprefix("s3://") for text in options.input_dirs or ()],
        "shared_inputs": [text.removeprefix("s3://") for text in options.shared_inputs or ()],
    }
    return {field: files for field, files in found.items() if files}


def _containers(options: Options, script: Script | None) -> Job:
    count = options.split
    if script is None and options.tasks is not None:
        if count is not None:
            raise UserError("--split and -n are the same without a script; give one of them")
        count = options.tasks
    if options.array is None:
        return {"num_containers": 1 if count is None else count}
    if count is not None:
        raise UserError(
            "-a has a container for each task, and each gets all inputs; leave --split and -n out"
        )
    return {"array": options.array}


def _tasks_of_a_node(options: Options, nodes: int) -> int:
    """Return for how many tasks a script wants room on each of its nodes."""
    for name, count in (("-n", options.tasks), ("--ntasks-per-node", options.tasks_per_node)):
        if count is not None and count < 1:
            raise UserError(f"{name}: must be at least 1, not {count}")
    if options.tasks_per_node is not None:
        return options.tasks_per_node
    return -(-(options.tasks or 1) // max(1, nodes))


def _gpus(options: Options, nodes: int, tasks: int, *, as_sbatch: bool) -> int | None:
    """Return GPUs of a container on each of its nodes.

    Without a script each option says just that; with one, `--gpus` are those of all its nodes and `--gpus-per-task` of a task.
    """
    given = {
        "--gpus": options.gpus,
        "--gpus-per-node": options.gpus_per_node,
        "--gpus-per-task": options.gpus_per_task,
        "--gres": options.gres,
    }
    said = {name: text for name, text in given.items() if text is not None}
    if not said:
        return None
    if len(said) > 1:
        raise UserError(f"{' and '.join(said)} say the same; give one of them")
    ((name, text),) = said.items()
    if name == "--gres":
        if not text.startswith("gpu:") and text != "gpu":
            raise UserError(f"--gres: {text[:100]!r} is not known here; write gpu:N")
        text = text.removeprefix("gpu").removeprefix(":") or "1"
    match = _GPUS.fullmatch(text)
    if match is None:
        raise UserError(f"{name}: {text[:100]!r} is no number of GPUs; write 4")
    if match["type"] is not None:
        raise UserError(
            f"{name}: a type of GPU, {match['type']}, is a feature of nodes here; write {name} {match['count']} and -C with "
            "the feature (cts sites SITE)"
        )
    count = int(match["count"])
    if not as_sbatch or name in ("--gpus-per-node", "--gres"):
        return count
    if name == "--gpus-per-task":
        return count * tasks
    if count % nodes:
        raise UserError(f"--gpus: {count} GPUs cannot be shared out evenly over {nodes} nodes")
    return count // nodes


def _memory(options: Options, cpus: int, gpus: int | None) -> str | int | None:
    given = {
        "--mem": (options.memory, 1),
        "--mem-per-cpu": (options.memory_per_cpu, cpus),
        "--mem-per-gpu": (options.memory_per_gpu, gpus or 0),
    }
    said = [(name, text, count) for name, (text, count) in given.items() if text is not None]
    if not said:
        return None
    if len(said) > 1:
        raise UserError(f"{said[0][0]} and {said[1][0]} say the same; give one of them")
    name, text, count = said[0]
    if name == "--mem":
        return _binary(text)
    match = _BINARY.fullmatch(text)
    if match is None or not count:
        why = "there are no GPUs" if match else f"{text[:100]!r} is no size; write 2G"
        raise UserError(f"{name}: {why}")
    return int(match[1]) * _UNITS[(match[2] or "M").upper()] * count


def _binary(text: str) -> str:
    """Mean what sbatch means: a plain number is MiB, and K, M, G, T are powers of 1024."""
    match = _SIZE.fullmatch(text)
    return f"{match[1]}{(match[2] or 'M').upper()}iB" if match else text


def _share(site: Site, cpus: int) -> int:
    """Return the memory that goes with so many CPUs of a node, in bytes, in whole MB."""
    whole = int(site.memory_per_node_gb * 1000)
    return max(_LEAST_MEMORY, whole * min(cpus, site.cpus_per_node) // site.cpus_per_node * 10**6)


def _runtime(text: str) -> str | int:
    """Mean what sbatch means: a plain number is minutes."""
    return int(text) * 60 if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else text


def _job_name(name: str) -> str | None:
    """Return the name of a script's file as that of its job, where it can be one."""
    try:
        parse_ref(name)
    except GatewayError:
        text = "".join(letter for letter in name if letter.isprintable()).strip()
        return text[:128].strip() or None
    return None


def _params(options: Options, script: Script | None, rest: Sequence[str]) -> Job:
    params: Job = {"args": [*(options.arguments or ()), *rest]}
    variables = dict(_exported(options.export, os.environ))
    if script is not None and options.tasks_per_node is not None:
        total = options.tasks or options.tasks_per_node * (options.nodes or 1)
    else:
        total = options.tasks or 1
    if script is not None and total > 1:
        # The gateway sets those of what it gives; the script shall see what it asked for.
        variables |= {"SLURM_NTASKS": str(total), "SLURM_CPUS_PER_TASK": str(options.cpus)}
    if variables:
        params["environment"] = variables
    if options.refdata is not None:
        params["refdata_mount_point"] = options.refdata
    return params


def _exported(text: str | None, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if text is None or text.upper() in ("NONE", "NIL"):
        return
    for part in text.split(","):
        name, sign, value = part.partition("=")
        if name.upper() == "ALL" and not sign:
            raise UserError(
                "--export: a container gets no variables but those that are named; write --export=NAME,OTHER=value"
            )
        if not _NAME.fullmatch(name):
            raise UserError(f"--export: {part[:100]!r} is no variable; write NAME=value or NAME")
        if not sign:
            if name not in environ:
                raise UserError(f"--export: there is no variable {name} here; write {name}=value")
            value = environ[name]
        yield name, value


def _mount_volumes(job: Job, volumes: Sequence[str]) -> None:
    """Put volumes, as Shifter writes them, into a job: bucket/prefix:/path[:ro] has inputs, bucket/prefix:/path:rw results."""
    params = job["params"]
    for text in (part for each in volumes for part in each.split(";") if part):
        source, path, flag = (
            (*text.split(":"), "ro")[:3] if text.count(":") in (1, 2) else ("",) * 3
        )
        if not source or not path or flag not in ("ro", "rw"):
            raise UserError(
                f"--volume: {text[:200]!r} is no volume; write bucket/prefix:/path for inputs, bucket/prefix:/path:rw for results"
            )
        if source.startswith(("/", "~", "$", ".")):
            raise UserError(
                f"--volume: {source[:200]} is a directory of a site, and containers see none; put it into S3 with cts put, and "
                f"write bucket/prefix:{path}"
            )
        field = "output_mount_point" if flag == "rw" else "input_mount_point"
        if params.setdefault(field, path) != path:
            what = "results" if flag == "rw" else "inputs"
            raise UserError(
                f"--volume: {params[field]} and {path}: a container sees its {what} at one place"
            )
        if flag == "ro":
            job.setdefault("input_dirs", []).append(source)
            job.setdefault("input_roots", []).append(source)
        elif job["output_dir"] not in (None, source):
            raise UserError(
                f"--volume: {source} and {job['output_dir']} are two places for the results; give one"
            )
        else:
            job["output_dir"] = source
