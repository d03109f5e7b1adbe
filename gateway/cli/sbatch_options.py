"""sbatch's options that ctsbatch does not have: what to do in their place."""

from __future__ import annotations

_PLACE = "name features of nodes with -C"
_SHAPE = "ask for CPUs with -n and -c, and for nodes with -N"
_WHEN = (
    "the gateway starts jobs as soon as Slurm can; have ctsbatch itself run later, by cron or at"
)
_NONE = "the gateway has nothing like it; leave it out"
_EXPORT = "a container gets no variables but those that are named: --export=NAME=value"

REMEDIES = {
    **dict.fromkeys(("-w", "--nodelist", "-x", "--exclude", "-F", "--nodefile"), _PLACE),
    **dict.fromkeys(("--batch", "--prefer", "--cluster-constraint", "--switches"), _PLACE),
    **dict.fromkeys(("-b", "--begin", "--deadline", "-H", "--hold", "--delay-boot"), _WHEN),
    **dict.fromkeys(
        (
            *("--ntasks-per-core", "--ntasks-per-gpu", "--ntasks-per-socket", "--cpus-per-gpu", "--mincpus"),
            *("-B", "--extra-node-info", "--sockets-per-node", "--cores-per-socket", "--threads-per-core"),
            *("--hint", "-m", "--distribution", "-O", "--overcommit", "-s", "--oversubscribe", "--contiguous"),
            *("-S", "--core-spec", "--thread-spec", "--spread-job", "--use-min-nodes", "--gpus-per-socket"),
        ),
        _SHAPE,
    ),
    **dict.fromkeys(("--get-user-env", "--export-file", "--propagate"), _EXPORT),
    "--exclusive": "ask for all CPUs of a node with -c, as cts sites shows them",
    "-i": "a script has no standard input here; input objects are named with --input",
    "--time-min": "give the time that it needs with -t",
    "--no-requeue": "a container that Slurm ends is run again by the gateway; one that fails by itself is not, unless asked (retries)",
    "--signal": "a container gets SIGTERM at the end of its time",
    "--kill-on-invalid-dep": "a job whose dependency can be met no more ends in error by itself",
    "--uid": "a job is whose it is; sign in as that user",
    "--gid": "a job is whose it is; sign in as that user",
    "--tmp": "the container's /tmp is the node's own; ask the admins how large it is",
    "--module": "what an image needs must be in it; NVIDIA's driver comes by itself with GPUs",
    "--container": "the image is named with --image",
    **dict.fromkeys(
        (
            *("--acctg-freq", "--bb", "--bbf", "--consolidate-segments", "--container-id", "--container-type"),
            *("--cpu-freq", "--extra", "--gpu-freq", "--gres-flags", "--ignore-pbs", "--mcs-label", "--mem-bind"),
            *("--mem-update", "--network", "--nice", "-k", "--no-kill", "--oom-kill-step", "--power", "--priority"),
            *("--profile", "--reboot", "--resources", "--resv-ports", "--segment", "--spread-segments", "--stepmgr"),
            *("--tres-bind", "--tres-per-task", "--wait-all-nodes", "--wckey"),
        ),
        _NONE,
    ),
}  # fmt: skip


def remedy(option: str) -> str | None:
    """Say what to do in place of an option of sbatch; None for one that sbatch has not either."""
    text = REMEDIES.get(option)
    return None if text is None else f"{option} is sbatch's, and not ctsbatch's: {text}"
