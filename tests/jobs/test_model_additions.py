"""The optional fields that the original has not; those that reach a batch script are strict."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.model import JobInput, parse_job_input

BASE = {
    "cluster": "dev",
    "image": "alpine",
    "input_files": ["bkt/a", "bkt/b", "bkt/c"],
    "output_dir": "bkt/out",
}


def job(**changes: Any) -> JobInput:
    return parse_job_input(BASE | changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "My run #3, größe"),
        ("name", "x" * 128),
        ("labels", {"project": "x y", "a.b/c-d": ""}),
        ("allow_empty_output", True),
        ("shared_inputs", ["bkt/ref"]),
        ("shared_inputs", [{"file": "bkt/ref"}]),
        ("script", '#!/bin/sh\necho "$1"\n\ttrue\n'),
        ("input_dirs", ["bkt", "bkt/x"]),
        ("depends_on", [{"job_id": "1", "condition": "afterany"}]),
        ("skip_existing", True),
        ("gpus", 4),
        ("nodes", 2),
        ("partition", "gpu-a100"),
        ("qos", "debug_1"),
        ("account", "m1234"),
        ("reservation", "maint.2026"),
        ("constraint", "cpu"),
        ("constraint", "gpu&hbm80g"),
        ("constraint", "[rack1*2&rack2*4]"),
        ("constraint", "(a|b)&c"),
        ("licenses", "cfs"),
        ("licenses", "cfs,scratch:2,matlab@server.x:10"),
        ("retries", 3),
        ("share_with", {"users": ["ann"], "groups": ["lab-1"]}),
    ],
)
def test_an_addition_is_taken(field: str, value: object) -> None:
    assert getattr(job(**{field: value}), field) is not None


INJECTIONS = ["", " ", "a b", "a\nb", "a\n#SBATCH --uid=0", "$(id)", "`id`", "a;b", "a'b", 'a"b',
              "-x", "--wrap=x", "a\\b", "ä", "a\0", "a=b", "a>b", "%j", "a" * 256]  # fmt: skip


@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize(
    "field", ["partition", "qos", "account", "reservation", "constraint", "licenses"]
)
def test_nothing_but_a_name_gets_near_a_batch_script(field: str, value: str) -> None:
    with pytest.raises(GatewayError) as caught:
        job(**{field: value})
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert caught.value.details[0].loc == (field,)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "1 to 128"),
        ("name", "x" * 129, "1 to 128"),
        ("name", " x", "white space"),
        ("name", "a\x1b[31m", "U+001B"),
        ("name", "1234", "id of a job"),
        ("name", "1234_0.run", "id of a job"),
        ("labels", {"": "x"}, "label's key"),
        ("labels", {"a b": "x"}, "label's key"),
        ("labels", {"a": "x\n"}, "printable"),
        ("labels", {"a": 1}, "must be text"),
        ("labels", {f"k{n}": "x" for n in range(65)}, "at most 64 entries"),
        ("shared_inputs", [], "1 to 10000"),
        ("shared_inputs", ["bkt/a", "bkt/a"], "listed twice"),
        ("script", "", "1 to 65536"),
        ("script", "a\0", "U+0000"),
        ("script", "a\ud800", "U+D800"),
        ("depends_on", [{}], "is required"),
        ("depends_on", [{"job_id": 1}], "must be text"),
        ("depends_on", [{"job_id": "x"}], "id of a job"),
        ("depends_on", [{"job_id": "1", "condition": "after"}], "'afterok' or 'afterany'"),
        ("skip_existing", 1, "true or false"),
        ("gpus", -1, "at least 0"),
        ("gpus", True, "whole number"),
        ("nodes", 0, "at least 1"),
        ("retries", 11, "at most 10"),
        ("share_with", {"users": ["a b"]}, "name of a user or group"),
        ("share_with", ["ann"], "must be an object"),
        ("per_container_args", [["a"], ["b"]], "one list for each of the 1 containers"),
        ("per_container_args", [["a\n"]], "printable"),
    ],
)
def test_a_bad_addition_is_refused_with_the_rule(field: str, value: object, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        job(**{field: value})
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert caught.value.details[0].loc[0] == field
    assert said in caught.value.message


def test_split_points_are_as_many_as_containers_less_one() -> None:
    assert job(num_containers=3, split_points=[1, 2]).split_points == (1, 2)
    assert job(split_points=[]).split_points == ()


@pytest.mark.parametrize(
    ("containers", "points"),
    [(2, [0]), (2, [3]), (3, [2, 1]), (3, [1, 1]), (3, [1]), (1, [1]), (2, [-1]), (2, [True])],
)
def test_split_points_that_leave_a_container_empty_are_refused(
    containers: int, points: list[int]
) -> None:
    with pytest.raises(GatewayError) as caught:
        job(num_containers=containers, split_points=points)
    assert caught.value.details[0].loc[0] == "split_points"


def test_per_container_args_are_one_list_for_each_container() -> None:
    assert job(num_containers=2, per_container_args=[["a"], []]).per_container_args == (("a",), ())
