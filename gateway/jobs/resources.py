"""What of Slurm a job may ask for at its site: partition, QOS, account, features, reservation, licenses, GPUs, nodes.

Slurm sees one user for all jobs of the gateway, so what is somebody's and not everybody's (accounts, reservations) is
decided here, by the site's lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.config import SiteSection
from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.caller import Caller
from gateway.jobs.constraint import features
from gateway.jobs.quantities import iso_duration

if TYPE_CHECKING:
    from gateway.jobs.model import JobInput


class Choice(NamedTuple):
    """Where a job goes in Slurm; None leaves it to Slurm's own default."""

    partition: str | None
    qos: str | None
    account: str | None


def choose(job: JobInput, caller: Caller, site_name: str, site: SiteSection) -> Choice:
    """Hold what a job asks of Slurm against what its site offers the caller; fill in the site's own where it asks nothing.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER, with a detail for each field that the site does not offer, and what it offers.
    """
    choice = Choice(
        job.partition or site.partition,
        job.qos or site.qos,
        job.account or default_account(site, caller),
    )
    found = [
        *_listed("partition", job.partition, partitions(site), site_name),
        *_listed("qos", job.qos, qos(site), site_name),
        *_listed("account", job.account, accounts(site, caller), site_name, f" to {caller.user}"),
        *_listed(
            "reservation",
            job.reservation,
            yours(site.reservations, caller),
            site_name,
            f" to {caller.user}",
        ),
        *_features(job, site_name, site),
        *_licenses(job, site_name, site),
        *_sizes(job, site_name, site),
        *_longest(job, choice, site_name, site),
    ]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"{found[0][0]}: {found[0][1]}{more}",
            tuple(ErrorDetail((field,), text) for field, text in found),
        )
    if choice.account is None and site.accounts:
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"account: {site_name} has no account for {caller.user}; ask its admins for one.",
            (ErrorDetail(("account",), f"{site_name} has no account for {caller.user}"),),
        )
    return choice


def partitions(site: SiteSection) -> list[str]:
    """Return the partitions of a site that a job may name, its own first."""
    return _own_first(site.partition, site.partitions)


def qos(site: SiteSection) -> list[str]:
    """Return the QOS of a site that a job may name, its own first."""
    return _own_first(site.qos, site.qos_offered)


def accounts(site: SiteSection, caller: Caller) -> list[str]:
    """Return the accounts of a site that a caller may name, the default first."""
    return _own_first(site.account, yours(site.accounts, caller))


def default_account(site: SiteSection, caller: Caller) -> str | None:
    """Return the account of a caller who names none: the site's, else the first of the list that is the caller's."""
    return next(iter(accounts(site, caller)), None)


def yours(lists: Mapping[str, Sequence[str]], caller: Caller) -> list[str]:
    """Return the names whose list has the caller or, after a `%`, one of the caller's groups; an empty list is for all."""
    mine = {caller.user, *(f"%{group}" for group in caller.groups)}
    return [name for name, who in lists.items() if not who or caller.admin or mine & set(who)]


def license_counts(text: str) -> dict[str, int]:
    """Return how many of each license are asked for, of `cfs,scratch:2`. One that is named twice counts twice."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.partition(":")
        found[name] = found.get(name, 0) + int(count or 1)
    return found


def _own_first(own: str | None, others: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*([own] if own else []), *others]))


Refusals = list[tuple[str, str]]


def _listed(
    field: str, asked: str | None, offered: Sequence[str], site_name: str, to: str = ""
) -> Refusals:
    if asked is None or asked in offered:
        return []
    return [(field, _not_offered(asked, offered, site_name, to))]


def _not_offered(asked: str, offered: Iterable[str], site_name: str, to: str = "") -> str:
    names = ", ".join(offered)
    remedy = f"it offers {names}" if names else "it offers none; leave it out"
    return f"{site_name} does not offer {asked!r}{to}; {remedy}"


def _features(job: JobInput, site_name: str, site: SiteSection) -> Refusals:
    named = features(job.constraint) if job.constraint is not None else ()
    unknown = [name for name in named if name not in site.features]
    if not unknown:
        return []
    return [("constraint", _not_offered(unknown[0], site.features, site_name))]


def _licenses(job: JobInput, site_name: str, site: SiteSection) -> Refusals:
    if job.licenses is None:
        return []
    shown = [f"{name}:{most}" for name, most in site.licenses.items()]
    for name, count in license_counts(job.licenses).items():
        most = site.licenses.get(name)
        if most is None:
            return [("licenses", _not_offered(name, shown, site_name))]
        if count > most:
            text = f"must be at most {most} of {name} at {site_name}: {count}; ask for fewer"
            return [("licenses", text)]
    return []


def _sizes(job: JobInput, site_name: str, site: SiteSection) -> Refusals:
    found = []
    if job.gpus and not site.gpus_per_node:
        found.append(("gpus", f"{site_name} has no GPUs; leave it out, or use another site"))
    elif (job.gpus or 0) > site.gpus_per_node:
        found.append(
            (
                "gpus",
                f"must be at most {site.gpus_per_node} at {site_name}, the GPUs of one node: "
                f"{job.gpus}; ask for fewer and use more containers",
            )
        )
    most = min(site.nodes_per_container, site.nodes)
    if (job.nodes or 1) > most:
        remedy = "leave it out" if most == 1 else "ask for fewer and use more containers"
        found.append(
            (
                "nodes",
                f"must be at most {most} for a container at {site_name}: {job.nodes}; {remedy}",
            )
        )
    return found


def _longest(job: JobInput, choice: Choice, site_name: str, site: SiteSection) -> Refusals:
    found = []
    for field, name, lists in (
        ("partition", choice.partition, site.partitions),
        ("qos", choice.qos, site.qos_offered),
    ):
        minutes = lists.get(name or "")
        if minutes and job.runtime > minutes * 60:
            found.append(
                (
                    "runtime",
                    f"must be at most {iso_duration(minutes * 60)} ({minutes} minutes) with the {field} {name} "
                    f"of {site_name}: {iso_duration(job.runtime)}; ask for less, or name another {field}",
                )
            )
    return found
