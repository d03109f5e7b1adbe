"""What a site allows a job.

A request that gets here is well-formed; `gateway.jobs.model` has seen to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import SiteSection
from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.quantities import format_bytes, iso_duration

if TYPE_CHECKING:
    from gateway.jobs.model import JobInput


def usable_memory(site: SiteSection) -> int:
    """Bytes that one container may ask for: a node's memory less what the gateway adds itself."""
    return site.memory_per_node - site.overhead_memory


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
