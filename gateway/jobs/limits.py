"""What a site allows a job.

A request that gets here is well-formed; `gateway.jobs.model` has seen to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway import wire
from gateway.config import SiteSection
from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.quantities import format_bytes, iso_duration, slurm_minutes
from gateway.slurm.submit_limits import SubmitLimits

if TYPE_CHECKING:
    from gateway.jobs.model import JobInput
    from gateway.jobs.resources import Choice


def usable_memory(site: SiteSection) -> int:
    """Bytes that one container may ask for: a node's memory less what the gateway adds itself."""
    return site.memory_per_node - site.overhead_memory


class Seen(NamedTuple):
    """What Slurm was last seen to have at a site; where it has not been seen, nothing is refused."""

    partitions: Sequence[wire.SlurmPartition] = ()
    limits: SubmitLimits = SubmitLimits()


def check_time(
    job: JobInput, choice: Choice, site_name: str, site: SiteSection, seen: Seen
) -> None:
    """Hold a job to the time that Slurm gives in its partition, or the default one, by its QOS and account.

    Slurm would let a longer one wait for ever, or refuse it.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER.
    """
    here = [
        (f"partition {each.name}", each.max_runtime_min)
        for each in seen.partitions
        if (each.default if choice.partition is None else each.name == choice.partition)
        and each.max_runtime_min is not None
    ]
    if (by := seen.limits.minutes(choice.account, choice.qos)) is not None:
        here.append(by)
    for what, most in here:
        if slurm_minutes(job.runtime) + site.staging_minutes > most:
            left = max(0, most - site.staging_minutes)
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"runtime: must be at most {iso_duration(left * 60)} ({left} minutes) with Slurm's {what} at {site_name}, "
                f"which gives a job {most} minutes, {site.staging_minutes} of them for staging: "
                f"{iso_duration(job.runtime)}; ask for less, or name another {what.split()[0]}",
            )


def check_site(job: JobInput, site_name: str, site: SiteSection) -> None:
    """Hold a job against the limits of its site; reaching a limit exactly is allowed.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER for what one container asks for, with a detail for each field, or for
        the CPU-hours of the whole job.
    """
    found = []
    if job.cpus > site.cpus_per_node:
        found.append(
            (
                "cpus",
                f"must be at most {site.cpus_per_node} at {site_name}, the cores of one node: "
                f"{job.cpus}; ask for fewer and use more containers",
            )
        )
    most = usable_memory(site)
    if job.memory > most:
        found.append(
            (
                "memory",
                f"must be at most {format_bytes(most)} at {site_name}, whose nodes have "
                f"{format_bytes(site.memory_per_node)} of which "
                f"{format_bytes(site.overhead_memory)} are kept for the container runtime: "
                f"{format_bytes(job.memory)}; ask for less",
            )
        )
    if job.runtime > site.max_runtime_min * 60:
        longest = iso_duration(site.max_runtime_min * 60)
        found.append(
            (
                "runtime",
                f"must be at most {longest} ({site.max_runtime_min} minutes) at {site_name}: "
                f"{iso_duration(job.runtime)}; ask for less, or use more containers with fewer files",
            )
        )
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"{found[0][0]}: {found[0][1]}{more}",
            tuple(ErrorDetail((field,), text) for field, text in found),
        )
    if job.cpu_seconds > site.max_cpu_hours * 3600:
        nodes = "nodes x " if job.nodes and job.nodes > 1 else ""
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"cpus x {nodes}num_containers x runtime is {job.cpu_seconds / 3600:.6g} CPU-hours, and "
            f"{site_name} allows {site.max_cpu_hours:.6g} a job; ask for less of one of them, or "
            "submit several jobs.",
        )
