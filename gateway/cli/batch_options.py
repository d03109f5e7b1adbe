"""The options of ctsbatch: sbatch's where it has one of that name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from gateway.cli.filters import Dependencies, IdempotencyKey, NewLabels


def _env(name: str) -> str:
    return f"CTSBATCH_{name}"


@dataclass(frozen=True)
class Options:
    """What was said on the command line, in CTSBATCH_… variables, in the script's #CTS lines and in the user's file."""

    script: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCRIPT",
            help="A batch script with #CTS lines, or - for standard input; it is run inside the image.",
        ),
    ] = None
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENT]...]", help="The script's own.")
    ] = None
    image: Annotated[
        str | None,
        typer.Option("--image", envvar=_env("IMAGE"), help="An approved image; docker:NAME, too."),
    ] = None
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="bucket/key, or a pattern such as 'bucket/*.fq'; as often as needed."
        ),
    ] = None
    input_dirs: Annotated[
        list[str] | None,
        typer.Option("--input-dir", help="All below bucket/prefix; as often as needed."),
    ] = None
    shared_inputs: Annotated[
        list[str] | None,
        typer.Option("--shared-input", help="bucket/key that every container gets."),
    ] = None
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "-V",
            "--volume",
            help="bucket/prefix:/path for inputs, bucket/prefix:/path:rw for results.",
        ),
    ] = None
    refdata: Annotated[
        str | None,
        typer.Option("--refdata", help="Where the image's reference data is seen: /path."),
    ] = None
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            help="bucket/prefix for the results; or, with a % or without a /, the file for -o.",
        ),
    ] = None
    results: Annotated[
        str | None,
        typer.Option(
            "--results", envvar=_env("RESULTS"), help="bucket/prefix for the results, as --output."
        ),
    ] = None
    stdout: Annotated[
        str | None, typer.Option("-o", help="With -W: the file for standard output, as %x-%j.out.")
    ] = None
    stderr: Annotated[
        str | None, typer.Option("-e", "--error", help="With -W: the file for standard error.")
    ] = None
    directory: Annotated[
        str | None, typer.Option("-D", "--chdir", help="Where the files of -o and -e are written.")
    ] = None
    site: Annotated[
        str | None,
        typer.Option(
            "-M",
            "--site",
            "--clusters",
            envvar="CTS_SITE",
            help="The site, or any for the one that starts it first; needed where there are several.",
        ),
    ] = None
    array: Annotated[
        str | None,
        typer.Option(
            "-a",
            "--array",
            envvar=_env("ARRAY_INX"),
            help="A container for each task, 1-10, 1,3,5 or 0-9:3, with %2 for two at once.",
        ),
    ] = None
    split: Annotated[
        int | None, typer.Option("--split", help="Containers that share the inputs.")
    ] = None
    tasks: Annotated[
        int | None,
        typer.Option("-n", "--ntasks", help="With a script: room for N tasks. Else as --split."),
    ] = None
    tasks_per_node: Annotated[
        int | None, typer.Option("--ntasks-per-node", help="Room for N tasks on each node.")
    ] = None
    cpus: Annotated[int, typer.Option("-c", "--cpus-per-task", help="CPUs of each.")] = 1
    memory: Annotated[
        str | None,
        typer.Option(
            "--mem",
            envvar=_env("MEM_PER_NODE"),
            help="Memory of each on a node: 500M, 2G as sbatch (binary), or 2GB, 2GiB.",
        ),
    ] = None
    memory_per_cpu: Annotated[
        str | None, typer.Option("--mem-per-cpu", help="Memory for each CPU.")
    ] = None
    memory_per_gpu: Annotated[
        str | None, typer.Option("--mem-per-gpu", help="Memory for each GPU.")
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--time",
            envvar=_env("TIMELIMIT"),
            help="Run time of each, in Slurm's forms: 30 (minutes), 1:30:00, 1-12",
        ),
    ] = None
    account: Annotated[
        str | None,
        typer.Option("-A", "--account", envvar=_env("ACCOUNT"), help="Slurm's account."),
    ] = None
    partition: Annotated[
        str | None,
        typer.Option("-p", "--partition", envvar=_env("PARTITION"), help="Slurm's partition."),
    ] = None
    qos: Annotated[
        str | None, typer.Option("-q", "--qos", envvar=_env("QOS"), help="Slurm's QOS.")
    ] = None
    constraint: Annotated[
        str | None,
        typer.Option(
            "-C",
            "--constraint",
            envvar=_env("CONSTRAINT"),
            help="Features of nodes, with & and | between.",
        ),
    ] = None
    reservation: Annotated[
        str | None,
        typer.Option("--reservation", envvar=_env("RESERVATION"), help="Slurm's reservation."),
    ] = None
    licenses: Annotated[
        str | None,
        typer.Option("-L", "--licenses", "--license", help="Licenses of each: cfs,scratch:2"),
    ] = None
    gpus: Annotated[
        str | None,
        typer.Option(
            "-G", "--gpus", envvar=_env("GPUS"), help="GPUs of each container; see the manual page."
        ),
    ] = None
    gpus_per_node: Annotated[
        str | None, typer.Option("--gpus-per-node", help="GPUs on each node.")
    ] = None
    gpus_per_task: Annotated[
        str | None, typer.Option("--gpus-per-task", help="GPUs of each task.")
    ] = None
    gres: Annotated[
        str | None, typer.Option("--gres", help="gpu:N, as --gpus-per-node; nothing else.")
    ] = None
    nodes: Annotated[
        int | None, typer.Option("-N", "--nodes", help="Nodes of each; the program runs on all.")
    ] = None
    name: Annotated[
        str | None,
        typer.Option("-J", "--job-name", envvar=_env("JOB_NAME"), help="The job's name."),
    ] = None
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            envvar=_env("EXPORT"),
            help="Variables for the container: NAME=value,NAME, or NONE, which is the default.",
        ),
    ] = None
    labels: NewLabels = None
    dependency: Dependencies = None
    idempotency_key: IdempotencyKey = None
    wait: Annotated[
        bool, typer.Option("-W", "--wait", help="Wait for the end; exit code 1 when the job fails.")
    ] = False
    wrap: Annotated[
        str | None, typer.Option("--wrap", help="A command of the image's /bin/sh, for a script.")
    ] = None
    test_only: Annotated[
        bool,
        typer.Option(
            "--test-only",
            help="Have the job checked whole and show what it would be; submit nothing.",
        ),
    ] = False
    parsable: Annotated[bool, typer.Option("--parsable", help="Print the id alone.")] = False
    quiet: Annotated[bool, typer.Option("-Q", "--quiet", help="No notes.")] = False
    unheeded: Annotated[
        list[str] | None,
        typer.Option(
            "--mail-type",
            "--mail-user",
            "--comment",
            "--gpu-bind",
            "--open-mode",
            help="Taken as sbatch's, and not heeded; a note says so.",
        ),
    ] = None
    unheeded_flags: Annotated[
        bool,
        typer.Option("-v", "--verbose", "--requeue", help="Taken as sbatch's, and not needed."),
    ] = False
