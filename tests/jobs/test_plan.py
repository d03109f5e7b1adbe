"""What each container of a job is given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AppCode, GatewayError
from gateway.jobs.model import parse_job_input
from gateway.jobs.parts import InputFile
from gateway.jobs.plan import Plan, make_plan

Doc = dict[str, Any]
FILES = ["bkt/x/a", "bkt/y/b", "bkt/z/c"]
MANIFEST = {"type": "manifest_file", "manifest_file_format": "files"}
IDS = {"type": "manifest_file", "manifest_file_format": "data_ids"}
NUMBER = {"type": "container_number"}
WITH_IDS = [{"file": file, "data_id": f"id {n}"} for n, file in enumerate(FILES)]


def plan(*listed: list[str], **fields: Any) -> Plan:
    """The plan of a job; `listed` is what S3 has in its input_dirs."""
    doc: Doc = {"cluster": "dev", "image": "alpine", "output_dir": "bkt/out"}
    if "input_dirs" not in fields:
        doc["input_files"] = FILES
    asked = parse_job_input(doc | fields)
    return make_plan(asked, [[InputFile(file=file) for file in each] for each in listed])


def refusal(*listed: list[str], **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        plan(*listed, **fields)
    return caught.value


def args(*items: Any, **fields: Any) -> list[list[str]]:
    """The arguments of each container."""
    return [each.args for each in plan(params={"args": list(items)}, **fields).containers]


def test_each_container_gets_its_share_at_its_paths() -> None:
    found = plan(num_containers=2, input_roots=["bkt/y"])
    assert found.paths == ("a", "b", "c")
    assert [list(each.files) for each in found.containers] == [[0, 1], [2]]
    assert [each.number for each in found.containers] == [0, 1]


def test_points_say_where_the_list_is_cut() -> None:
    found = plan(num_containers=2, split_points=[1])
    assert [list(each.files) for each in found.containers] == [[0], [1, 2]]


def test_what_dirs_hold_comes_after_the_files_that_are_named_dir_by_dir() -> None:
    found = plan(["bkt/d/2"], ["bkt/e/1", "bkt/e/3"], input_files=["bkt/z"], input_dirs=["bkt/d", "bkt/e"])  # fmt: skip
    assert [item.file for item in found.files] == ["bkt/z", "bkt/d/2", "bkt/e/1", "bkt/e/3"]
    assert found.everything == found.files


def test_shared_files_are_placed_by_the_same_rules_and_belong_to_no_container() -> None:
    found = plan(shared_inputs=["ref/x/db", "bkt/y/e"], input_roots=["ref"])
    assert found.shared_paths == ("x/db", "e")
    assert [item.file for item in found.everything] == [*FILES, "ref/x/db", "bkt/y/e"]
    assert list(found.containers[0].files) == [0, 1, 2]
    assert args({"type": "input_files", "input_files_format": "space_separated_list"}, shared_inputs=["r-r/z"]) == [
        ["/input_files/a", "/input_files/b", "/input_files/c"]
    ]  # fmt: skip


def test_numbers_count_from_0_and_manifests_from_1() -> None:
    assert args(NUMBER, num_containers=3) == [["0"], ["1"], ["2"]]
    whole = NUMBER | {"container_num_prefix": "p-", "container_num_suffix": ".x", "flag": "--n="}
    assert args(whole, num_containers=2) == [["--n=p-0.x"], ["--n=p-1.x"]]
    assert args(MANIFEST, num_containers=2) == [
        ["/input_files/manifest-1"],
        ["/input_files/manifest-2"],
    ]


@pytest.mark.parametrize(
    ("parameter", "texts"),
    [
        (MANIFEST, ["/in/x/a\n/in/y/b\n", "/in/z/c\n"]),
        (MANIFEST | {"manifest_file_header": "a\tb"}, ["a\tb\n/in/x/a\n/in/y/b\n", "a\tb\n/in/z/c\n"]),
        (IDS, ["id 0\nid 1\n", "id 2\n"]),
        (IDS | {"manifest_file_header": "h"}, ["h\nid 0\nid 1\n", "h\nid 2\n"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["args", "environment"])
def test_a_manifest_has_a_line_for_each_file_each_ended_after_the_header(
    parameter: Doc, texts: list[str], where: str
) -> None:
    given = {"args": [parameter]} if where == "args" else {"environment": {"M": parameter}}
    found = plan(
        input_files=WITH_IDS,
        input_roots=["bkt"],
        num_containers=2,
        params={"input_mount_point": "/in", **given},
    )
    for number, (each, text) in enumerate(zip(found.containers, texts, strict=True), 1):
        assert each.generated == {f"manifest-{number}": text}
        name = f"/in/manifest-{number}"
        assert (each.args or [each.environment["M"]]) == [name]


def test_without_a_parameter_that_asks_for_one_there_is_no_manifest() -> None:
    assert plan(script="true").containers[0].generated == {}


def test_arguments_of_one_container_follow_those_of_all() -> None:
    own = [["a", "b c"], [], ["$x"]]
    assert args("all", NUMBER, num_containers=3, per_container_args=own) == [
        ["all", "0", "a", "b c"], ["all", "1"], ["all", "2", "$x"],
    ]  # fmt: skip


def test_arguments_of_one_container_count_in_what_it_can_be_given() -> None:
    own = [[], ["x" * 1000] * 1000]
    error = refusal(num_containers=2, per_container_args=own)
    assert error.code is AppCode.REQUEST_VALIDATION
    assert "container 1 come to" in error.message


@pytest.mark.parametrize(
    ("fields", "loc", "names"),
    [
        ({"shared_inputs": ["bkt/w/a"]}, ("shared_inputs", 0), ("bkt/w/a", "bkt/x/a", "input_files[0]")),
        ({"shared_inputs": ["bkt/y/b"]}, ("shared_inputs", 0), ("bkt/y/b", "there twice")),
        ({"input_files": ["bkt/manifest-2", "bkt/b"], "num_containers": 2, "params": {"args": [MANIFEST]}}, ("input_files", 0), ("bkt/manifest-2", "params.args[0]")),
        ({"shared_inputs": ["bkt/cts-script"], "script": "true"}, ("shared_inputs", 0), ("bkt/cts-script", "the script of the job")),
    ],
)  # fmt: skip
def test_what_would_land_at_one_place_is_refused_with_both(
    fields: Doc, loc: tuple[str, int], names: tuple[str, ...]
) -> None:
    error = refusal(**fields)
    assert error.code is AppCode.ILLEGAL_PARAMETER
    assert error.details[0].loc == loc
    for name in names:
        assert name in error.message


def test_the_name_of_a_manifest_that_no_container_has_is_free() -> None:
    plan(input_files=["bkt/manifest-2", "bkt/cts-script"], params={"args": [MANIFEST]})


def test_a_file_in_two_dirs_or_named_besides_is_refused_with_its_dir() -> None:
    error = refusal(["bkt/d/1"], ["bkt/d/1"], input_dirs=["bkt", "bkt/d"])
    assert error.details[0].loc == ("input_dirs", 1)
    assert "there twice, the other time at input_dirs[0]" in error.message


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"num_containers": 4}, "num_containers"),
        ({"num_containers": 2, "split_points": [3]}, "split_points"),
        ({"num_containers": 2, "split_points": []}, "split_points"),
    ],
)
def test_what_does_not_fit_the_files_of_dirs_is_refused_once_they_are_known(
    fields: Doc, loc: str
) -> None:
    error = refusal(FILES, input_dirs=["bkt"], **fields)
    assert error.code is AppCode.REQUEST_VALIDATION
    assert error.details[0].loc == (loc,)


def test_shared_files_for_too_many_containers_are_refused() -> None:
    many = [f"bkt/s/{n}" for n in range(101)]
    files = [f"bkt/i/f{n}" for n in range(1000)]
    error = refusal(input_files=files, num_containers=1000, shared_inputs=many)
    assert error.details[0].loc == ("shared_inputs",)
    plan(input_files=files, num_containers=990, shared_inputs=many)


_names = st.lists(st.sampled_from(["a", "b", "manifest-1", "cts-script"]), min_size=1, max_size=3)
_objects = st.lists(_names.map(lambda parts: "bkt/" + "/".join(parts)), min_size=1, max_size=8, unique=True)  # fmt: skip


@given(_objects, _objects, st.lists(st.sampled_from(["", "bkt", "bkt/a", "bkt/b/a"]), max_size=3))
def test_no_two_things_that_a_container_finds_are_ever_at_one_path(
    files: list[str], shared: list[str], roots: list[str]
) -> None:
    try:
        found = plan(
            input_files=files,
            shared_inputs=shared,
            input_roots=roots,
            script="true",
            params={"args": [MANIFEST]},
        )
    except GatewayError:
        return
    names = [*found.paths, *found.shared_paths, *found.containers[0].generated, "cts-script"]
    assert len(set(names)) == len(names)
    for name in names:
        assert not any(other.startswith(name + "/") for other in names)
