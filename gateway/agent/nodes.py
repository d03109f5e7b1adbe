"""What a container gets of its place in Slurm, its GPUs and its nodes; and what the end of one on several nodes is."""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

from .files import Job, StepResult

# As Slurm's plugins for GPUs set them in a task (gres.conf(5)), for NVIDIA, AMD and Intel.
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")  # fmt: skip
_NODES = ("SLURM_PROCID", "SLURM_NODEID", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_NODELIST")


def handed_on(job: Job, environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables of a task that its container gets, too: where it has GPUs, or several nodes."""
    names = (*(_DEVICES if job.gpus else ()), *(_NODES if job.nodes > 1 else ()))
    return {name: environ[name] for name in names if name in environ}


def worst(results: Sequence[StepResult]) -> StepResult:
    """Return the result of a container of those on its nodes, by node: the worst, which names its node."""

    def badness(n: int) -> tuple[bool, int]:
        one = results[n]
        # What has no exit code did not get to one.
        return one.outcome != "ok", 1000 if one.exit_code is None else one.exit_code

    bad = max(range(len(results)), key=badness)
    found = results[bad]._replace(
        log_truncated=any(one.log_truncated for one in results),
        memory_ran_out=any(one.memory_ran_out for one in results),
    )
    if found.error is None or len(results) == 1:
        return found
    return found._replace(error=f"{found.error} (on node {bad} of {len(results)}, from 0)")
