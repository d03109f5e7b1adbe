"""Printing sites, for people: what each offers, and what its Slurm says."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from gateway.cli.text import clean, fields, table
from gateway.wire import Site, SiteQueue, SlurmNow


def site_list(found: Iterable[Site]) -> None:
    """Print a line a site."""
    table(
        (
            "SITE",
            "STATE",
            "NODES",
            "IDLE",
            "CPUS/NODE",
            "GB/NODE",
            "GPUS/NODE",
            "MAX MINUTES",
            "NOTE",
        ),
        [
            (
                s.cluster,
                "up" if s.available else "down" if s.active else "off",
                s.nodes,
                _idle(s),
                s.cpus_per_node,
                s.memory_per_node_gb,
                s.gpus_per_node,
                s.max_runtime_min,
                s.unavailable_reason or "",
            )
            for s in found
        ],
    )


def one_site(site: Site) -> None:
    """Print all that a site offers."""
    state = "up" if site.available else "down" if site.active else "off"
    note = f": {site.unavailable_reason}" if site.unavailable_reason else ""
    lines = (
        ("Site", site.cluster),
        ("State", f"{state}{note}"),
        ("Slurm by", "" if site.slurm is None else site.slurm.backend),
        ("Nodes", site.nodes),
        ("CPUs/node", site.cpus_per_node),
        ("GB/node", site.memory_per_node_gb),
        ("GPUs/node", site.gpus_per_node),
        ("Minutes", site.max_runtime_min),
        ("CPU-hours", site.max_cpu_hours),
        ("Nodes/cont.", site.nodes_per_container),
        ("Partitions", _queues(site.partitions)),
        ("QOS", _queues(site.qos)),
        ("Accounts", ", ".join(site.accounts)),
        ("Features", ", ".join(site.features)),
        ("Licenses", ", ".join(f"{name}:{most}" for name, most in site.licenses.items())),
        ("Reservations", ", ".join(site.reservations)),
        ("Notes", "; ".join(site.notes)),
    )
    fields(lines, width=12)
    if site.slurm is not None:
        _slurm_now(site.slurm)


def _idle(site: Site) -> object:
    """Return the idle nodes of the first of its partitions, where jobs go that name none."""
    found = site.slurm.partitions if site.slurm is not None else []
    return found[0].nodes_idle if found else None


def _slurm_now(now: SlurmNow) -> None:
    if now.age_seconds is not None:
        typer.echo(f"\nSlurm, {now.age_seconds:.0f} s ago")
        table(
            ("PARTITION", "STATE", "DEFAULT", "MAX MINUTES", "NODES", "IN USE", "IDLE", "OTHER"),
            [
                (
                    each.name,
                    each.state,
                    "yes" if each.default else "",
                    each.max_runtime_min,
                    each.nodes,
                    each.nodes_allocated,
                    each.nodes_idle,
                    each.nodes_other,
                )
                for each in now.partitions
            ],
        )
    if now.error is not None:
        typer.echo(clean(f"\nSlurm says nothing newer: {now.error}"))


def _queues(queues: Iterable[SiteQueue]) -> str:
    shown = [
        f"{each.name} ({each.max_runtime_min} minutes)" if each.max_runtime_min else each.name
        for each in queues
    ]
    return ", ".join(shown)
