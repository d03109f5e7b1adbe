"""What a job asks of Slurm is held against what its site offers the caller, before anything is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import SiteSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller
from gateway.jobs.constraint import features
from gateway.jobs.model import check_site, parse_job_input
from gateway.jobs.resources import Choice, accounts, choose, license_counts, partitions

BASE = {"cluster": "dev", "image": "alpine", "input_files": ["bkt/a"], "output_dir": "bkt/out"}
SITE = SiteSection(
    work_dir=Path("/w"),
    partition="regular",
    account="dev",
    nodes=8,
    cpus_per_node=8,
    partitions={"debug": 20},
    qos_offered={"low": 0, "short": 10},
    accounts={"open": (), "lab": ("alice", "%biology")},
    reservations={"course": ("%students",), "demo": ()},
    features=("cpu", "highmem"),
    licenses={"matlab": 2, "cfs@home": 1},
    gpus_per_node=4,
    nodes_per_container=3,
)
PLAIN = SiteSection(work_dir=Path("/w"), nodes=4)


def caller(name: str = "alice", *groups: str, admin: bool = False) -> Caller:
    return Caller(name, 1, frozenset(groups), admin, "")


def chosen(who: Caller | None = None, site: SiteSection = SITE, **fields: Any) -> Choice:
    return choose(parse_job_input(BASE | fields), who or caller(), "dev", site)


def refused(who: Caller | None = None, site: SiteSection = SITE, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        chosen(who, site, **fields)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    return caught.value


def test_a_job_that_asks_nothing_gets_what_the_site_has_of_its_own() -> None:
    assert chosen() == Choice("regular", None, "dev")
    assert chosen(site=PLAIN) == Choice(None, None, None)


def test_what_is_offered_is_taken() -> None:
    found = chosen(partition="debug", qos="low", account="lab")
    assert found == Choice("debug", "low", "lab")
    assert chosen(partition="regular", account="dev") == Choice("regular", None, "dev")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"partition": "gpu"}, "partition: dev does not offer 'gpu'; it offers regular, debug"),
        ({"qos": "high"}, "qos: dev does not offer 'high'; it offers low, short"),
        ({"account": "x"}, "account: dev does not offer 'x' to alice; it offers dev, open, lab"),
        ({"reservation": "course"}, "reservation: dev does not offer 'course' to alice; it offers demo"),
        ({"constraint": "cpu&gpu"}, "constraint: dev does not offer 'gpu'; it offers cpu, highmem"),
        ({"licenses": "idl"}, "licenses: dev does not offer 'idl'; it offers matlab:2, cfs@home:1"),
        ({"licenses": "matlab:3"}, "licenses: must be at most 2 of matlab at dev: 3; ask for fewer"),
        ({"licenses": "matlab,matlab:2"}, "must be at most 2 of matlab at dev: 3"),
        ({"gpus": 5}, "gpus: must be at most 4 at dev, the GPUs of one node: 5; ask for fewer"),
        ({"nodes": 4}, "nodes: must be at most 3 for a container at dev: 4; ask for fewer"),
        ({"partition": "debug", "runtime": "PT21M"}, "runtime: must be at most PT20M (20 minutes) with the partition debug of dev: PT21M; ask for less, or name another partition"),
        ({"qos": "short", "runtime": 601}, "with the qos short of dev: PT10M1S"),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused_with_its_place_and_what_there_is(
    fields: dict[str, Any], said: str
) -> None:
    error = refused(**fields)
    assert said in error.message
    assert error.details[0].loc == (list(fields)[-1],)


@pytest.mark.parametrize("field", ["partition", "qos", "account", "reservation", "constraint", "licenses", "gpus", "nodes"])  # fmt: skip
def test_a_site_that_offers_none_says_so_with_what_to_do(field: str) -> None:
    asked: dict[str, Any] = {field: {"gpus": 1, "nodes": 2}.get(field, "x")}
    error = refused(site=PLAIN, **asked)
    assert error.message.startswith(f"{field}: ")
    assert "leave it out" in error.message


def test_each_mistake_is_told_at_once() -> None:
    error = refused(partition="x", qos="y", gpus=9)
    assert [detail.loc for detail in error.details] == [("partition",), ("qos",), ("gpus",)]
    assert error.message.endswith("(and 2 more)")


def test_accounts_and_reservations_are_for_those_whom_the_site_names() -> None:
    assert accounts(SITE, caller("bob")) == ["dev", "open"]
    assert accounts(SITE, caller("bob", "biology")) == ["dev", "open", "lab"]
    assert accounts(SITE, caller("ada", admin=True)) == ["dev", "open", "lab"]
    assert accounts(SITE, caller("biology")) == ["dev", "open"]
    assert "to bob; it offers dev, open" in refused(caller("bob"), account="lab").message
    assert chosen(caller("eve", "students"), reservation="course").account == "dev"


def test_without_an_account_of_the_site_the_first_that_is_the_callers_is_the_default() -> None:
    site = SITE.model_copy(
        update={"account": None, "accounts": {"lab": ("alice",), "bio": ("bob",)}}
    )
    assert chosen(site=site).account == "lab"
    assert chosen(caller("bob"), site=site).account == "bio"
    error = refused(caller("eve"), site=site)
    assert error.message == "account: dev has no account for eve; ask its admins for one."
    assert partitions(site) == ["regular", "debug"]


def test_a_limit_that_is_reached_exactly_is_allowed() -> None:
    chosen(partition="debug", runtime="PT20M", gpus=4, nodes=3, licenses="matlab:2,cfs@home")


def test_cpu_hours_count_every_node() -> None:
    job = {"cpus": 8, "runtime": "PT10H", "nodes": 3}
    with pytest.raises(GatewayError) as caught:
        check_site(parse_job_input(BASE | job), "dev", SITE)
    assert caught.value.message.startswith(
        "cpus x nodes x num_containers x runtime is 240 CPU-hours, and dev allows 100 a job"
    )
    check_site(parse_job_input(BASE | job | {"nodes": 1}), "dev", SITE)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu", ("cpu",)),
        ("gpu&hbm80g", ("gpu", "hbm80g")),
        ("[rack1|rack2]", ("rack1", "rack2")),
        ("[rack1*2&rack2*4]", ("rack1", "rack2")),
        ("(a|b)&c&a", ("a", "b", "c")),
        ("[(a&b)|(c&d)]", ("a", "b", "c", "d")),
    ],
)
def test_the_features_of_an_expression_are_found(text: str, names: tuple[str, ...]) -> None:
    assert features(text) == names


@pytest.mark.parametrize(
    "text",
    ["", "&a", "a&", "a b", "a&&b", "(a", "a)", "(a]", "((a))", "a(b)", "()", "a*0", "*2", "a,b", "a;b", "a\n", "$(a)", "a" * 256],
)  # fmt: skip
def test_what_is_no_expression_of_features_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must "):
        features(text)


def test_licenses_are_counted() -> None:
    assert license_counts("cfs,scratch:2,cfs:3,m@srv:4") == {"cfs": 4, "scratch": 2, "m@srv": 4}
