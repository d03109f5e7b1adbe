"""Each rule of the protocol on what a container is given refuses what it must, at its place, with what would be right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agent.files import read_container
from gateway.daemon.jobfiles import _container
from gateway.errors import GatewayError
from gateway.jobs.layout import landing_path
from gateway.jobs.model import JobInput, parse_job_input
from gateway.jobs.plan import make_plan
from gateway.s3.paths import parse_object
from gateway.store.tables import Container
from tests.jobs.rules import BASE, COMMA, FILES, NUMBER, REPEAT, RULES, Rule, document


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: ".".join(map(str, rule.loc))[:60])
def test_what_breaks_a_rule_is_refused_with_its_appcode_its_place_and_the_way_out(
    rule: Rule,
) -> None:
    with pytest.raises(GatewayError) as caught:
        make_plan(parse_job_input(document(rule)))
    error = caught.value
    assert error.code.code == rule.appcode
    assert [detail.loc for detail in error.details] == [rule.loc]
    assert rule.said in error.details[0].msg
    assert rule.said in error.message
    assert error.message.isprintable()
    assert len(error.message) < 1500


def test_there_is_a_rule_for_each_field_on_what_a_container_is_given() -> None:
    others = {"cluster", "image", "params", "cpus", "memory", "runtime", "name", "labels"}
    others |= {"allow_empty_output", "depends_on", "skip_existing", "gpus", "nodes", "partition"}
    others |= {"qos", "account", "constraint", "reservation", "licenses", "retries", "share_with"}
    assert {str(rule.loc[0]) for rule in RULES} >= set(JobInput.model_fields) - others | {"params"}


_name = st.text(
    st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters="/,';"),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in (".", "..") and len(text.encode()) < 200)
_flags = st.sampled_from([None, "-i", "--in", "-i=", "--in="])
_words = st.lists(_name, max_size=3)


def _parse(argv: list[str], item: dict[str, Any], count: int) -> list[str]:
    """Read files from an argument list as a program would that knows its option; must leave nothing."""
    form, flag = item["input_files_format"], item.get("flag")
    left, found = list(argv), []

    def value() -> str:
        first = left.pop(0)
        if flag is None:
            return first
        if flag.endswith("="):
            assert first.startswith(flag)
            return first[len(flag) :]
        assert first == flag
        return left.pop(0)

    found = [value()]
    if form == "comma_separated_list":
        found = found[0].split(",")
    while len(found) < count:
        found.append(value() if form == "repeat_parameter" else left.pop(0))
    assert left == []
    return found


@given(
    st.lists(_name, min_size=1, max_size=6, unique=True),
    st.sampled_from([COMMA, FILES, REPEAT]),
    _flags,
    _words,
    _words,
)
def test_what_is_rendered_is_read_as_the_same_files_by_the_program(
    names: list[str], form: dict[str, Any], flag: str | None, before: list[str], own: list[str]
) -> None:
    if form is REPEAT and flag is None:
        flag = "-i"
    item = form | ({"flag": flag} if flag else {})
    asked = {
        "input_files": [f"bkt/{name}" for name in names],
        "params": {"args": [*before, item]},
        "per_container_args": [own],
    }
    (planned,) = make_plan(parse_job_input(BASE | asked)).containers
    row = Container(job_id=1, index=0, phase="created", args=planned.args, environment={})
    argv = _as_the_agent_reads_it(row)
    assert argv[: len(before)] == before
    assert argv[len(argv) - len(own) :] == own
    middle = argv[len(before) : len(argv) - len(own)]
    assert _parse(middle, item, len(names)) == [f"/input_files/{name}" for name in names]


def _as_the_agent_reads_it(row: Container) -> list[str]:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "container.json"
        path.write_bytes(_container(row, []))
        return list(read_container(path).args)


@given(st.integers(1, 30), st.data())
def test_the_containers_of_a_job_have_all_files_once_in_order_and_their_own_numbers(
    count: int, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, 29).filter(lambda n: n < count), unique=True))
    containers = len(cuts) + 1
    points = data.draw(st.sampled_from([None, sorted(cuts)]))
    asked = {
        "input_files": [f"bkt/{n}" for n in range(count)],
        "num_containers": containers,
        "split_points": points,
        "params": {"args": [NUMBER, FILES]},
    }
    plan = make_plan(parse_job_input(BASE | asked))
    assert [arg for each in plan.containers for arg in each.args[1:]] == [
        f"/input_files/{n}" for n in range(count)
    ]
    assert [each.args[0] for each in plan.containers] == [str(n) for n in range(containers)]


@given(st.text("ab./", max_size=12), st.lists(st.text("ab./", max_size=8), max_size=4))
def test_a_file_lands_below_the_input_directory_whatever_key_and_roots(
    key: str, roots: list[str]
) -> None:
    try:
        file = str(parse_object(f"bkt/{key}"))
        known = [str(parse_object(f"bkt/{root}")) for root in roots]
    except GatewayError:
        return
    path = landing_path(file, {"", *known} if len(roots) % 2 else set(known))
    assert not {"", ".", ".."} & set(path.split("/"))
    assert f"/{file}".endswith(f"/{path}")
