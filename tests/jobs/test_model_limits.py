"""What a site allows, and bodies that are no JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SiteSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.limits import usable_memory
from gateway.jobs.model import (
    JobInput,
    check_site,
    load_json,
    parse_job_input,
)

BASE = {
    "cluster": "dev",
    "image": "alpine",
    "input_files": ["bkt/a", "bkt/b", "bkt/c"],
    "output_dir": "bkt/out",
}
SITE = SiteSection(
    work_dir=Path("/w"),
    cpus_per_node=8,
    memory_per_node=4 * 10**9,
    overhead_memory=10**9,
    max_runtime_min=60,
    max_cpu_hours=10,
)


def job(**changes: Any) -> JobInput:
    return parse_job_input(BASE | changes)


@pytest.mark.parametrize(
    "changes", [{"cpus": 8}, {"memory": "3GB"}, {"runtime": "PT60M"}, {"runtime": 3600}]
)
def test_a_limit_of_the_site_may_be_reached(changes: dict[str, Any]) -> None:
    check_site(job(**changes), "dev", SITE)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"cpus": 9}, "cpus", "at most 8 at dev"),
        ({"memory": 3 * 10**9 + 1}, "memory", "at most 3GB at dev"),
        ({"runtime": 3601}, "runtime", "at most PT1H (60 minutes) at dev: PT1H1S"),
    ],
)
def test_more_than_the_site_has_is_refused(changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_site(job(**changes), "dev", SITE)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    assert caught.value.details[0].loc == (field,)
    assert said in caught.value.message
    assert "; ask for " in caught.value.message


def test_all_limits_that_are_passed_are_told_at_once() -> None:
    with pytest.raises(GatewayError, match="and 2 more") as caught:
        check_site(job(cpus=9, memory="9GB", runtime="P1D"), "dev", SITE)
    assert [detail.loc for detail in caught.value.details] == [("cpus",), ("memory",), ("runtime",)]


def test_the_cap_of_cpu_hours_may_be_reached_and_not_passed() -> None:
    check_site(job(cpus=5, num_containers=2, runtime=3600), "dev", SITE)
    over = job(cpus=5, num_containers=3, runtime=2401)
    with pytest.raises(GatewayError, match=r"10\.0042 CPU-hours.*allows 10 ") as caught:
        check_site(over, "dev", SITE)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER


def test_the_usable_memory_leaves_room_for_the_runtime() -> None:
    assert usable_memory(SITE) == 3 * 10**9


FILES = {"type": "input_files", "input_files_format": "comma_separated_list"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"input_files": [{"file": "bkt/a", "crc64nvme": "4ekt2WB1KO4="}]},
        {"num_containers": 3, "cpus": 2, "memory": "1GB", "runtime": "PT1H"},
        {"params": {"args": ["a", FILES], "input_mount_point": "/in", "output_mount_point": "/o"}},
        {"params": {"environment": {"A": "b", "F": FILES}}},
        {"params": {"args": [FILES | {"input_files_format": "space_separated_list"}]}},
        {"params": {"args": [FILES | {"input_files_format": "repeat_parameter", "flag": "-i"}]}},
        {"allow_empty_output": True, "name": "x"},
        {"input_roots": [], "labels": {}, "gpus": 0, "nodes": 1, "retries": 0, "share_with": {}},
        {"input_roots": ["bkt", ""], "shared_inputs": ["bkt/r"], "script": "true"},
        {"input_dirs": ["bkt"], "num_containers": 2, "split_points": [1]},
        {"per_container_args": [["a"]], "params": {"declobber": True}},
        {"input_files": [{"file": "bkt/a", "data_id": "x"}]},
        {"params": {"args": [{"type": "container_number"}]}},
        {
            "params": {
                "environment": {"A": {"type": "manifest_file", "manifest_file_format": "files"}}
            }
        },
        {"input_roots": None, "skip_existing": False, "depends_on": [], "retries": 3},
    ],
)
def test_what_is_run_today_is_let_through(changes: dict[str, Any]) -> None:
    check_site(job(**changes), "dev", SITE)


def test_json_is_read() -> None:
    text = '{"a": [1, -2.5e3, "ö\\ud83d\\ude42", null, true], "b": {"[{": "]}\\"["}}'
    assert load_json(text.encode()) == {"a": [1, -2500.0, "ö🙂", None, True], "b": {"[{": ']}"['}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "line 1, column 9"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        ('"ö"'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udc00x": 1}', "surrogate"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 10**6, "deeper than 64"),
        (b'{"a":' * 10**5, "deeper than 64"),
        (b'"' + b'\\"' * 10**5, "not JSON"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_strict_json_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        load_json(body)
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert said in caught.value.message
    assert caught.value.details
    caught.value.message.encode("utf-8")


def test_sixty_four_levels_are_read() -> None:
    assert load_json(b"[" * 64 + b"]" * 64) is not None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["type", "file"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from([*JobInput.model_fields, "params.args", "params.environment"]), values)
def test_any_value_in_any_field_is_taken_or_refused_with_a_place(field: str, value: object) -> None:
    first, _, second = field.partition(".")
    document = BASE | {first: {second: value} if second else value}
    try:
        made = parse_job_input(document)
    except GatewayError as exc:
        error = exc
    else:
        assert parse_job_input(made.model_dump(mode="json")) == made
        return
    assert error.details
    assert error.details[0].loc[0] in {first, "num_containers"}


@given(st.binary(max_size=40) | st.text('{}[]":,1e.\\un', max_size=40).map(str.encode))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        load_json(body)
    except GatewayError as exc:
        code = exc.code
    else:
        return
    assert code is AppCode.REQUEST_VALIDATION
