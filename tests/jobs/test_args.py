"""Argument lists and environments of containers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AppCode, GatewayError
from gateway.jobs.args import Rendered, render
from gateway.jobs.params import Params

FILES = ["/in/a", "/in/b c", '/in/$(x)"q"']


def params(args: list[Any] | None = None, **environment: Any) -> Params:
    return Params.model_validate(
        {"input_mount_point": "/in", "args": args, "environment": environment or None}
    )


def files(form: str, flag: str | None = None) -> dict[str, Any]:
    return {"type": "input_files", "input_files_format": form, "flag": flag}


COMMA, SPACE, REPEAT = "comma_separated_list", "space_separated_list", "repeat_parameter"
LIST = ",".join(FILES)


@pytest.mark.parametrize(
    ("item", "argv"),
    [
        (files(COMMA), [LIST]),
        (files(COMMA, "-i"), ["-i", LIST]),
        (files(COMMA, "--in="), [f"--in={LIST}"]),
        (files(SPACE), FILES),
        (files(SPACE, "--in"), ["--in", *FILES]),
        (files(SPACE, "--in="), [f"--in={FILES[0]}", *FILES[1:]]),
        (files(REPEAT, "-i"), ["-i", FILES[0], "-i", FILES[1], "-i", FILES[2]]),
        (files(REPEAT, "--in="), [f"--in={file}" for file in FILES]),
    ],
)
def test_a_flag_ending_in_an_equals_sign_is_glued_and_any_other_precedes(
    item: dict[str, Any], argv: list[str]
) -> None:
    assert render(params(["run", item, "end"]), FILES).args == ["run", *argv, "end"]


def test_literals_are_passed_as_they_are() -> None:
    literals = ["a b", "$(touch x)", "'; rm -rf /", "-n", "--x=1 2", "größe", '"']
    assert render(params(literals), FILES).args == literals


printable = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20)


@given(
    st.lists(printable, max_size=5),
    st.dictionaries(st.from_regex(r"[B-R_][A-Z0-9_]{0,5}", fullmatch=True), printable, max_size=5),
)
def test_any_literals_come_out_exactly_as_they_went_in(
    literals: list[str], environment: dict[str, str]
) -> None:
    assert render(params(literals, **environment), FILES) == Rendered(literals, environment)


@given(st.lists(printable.filter(lambda text: "," not in text), min_size=1, max_size=5))
def test_any_files_come_out_whole_and_in_order(names: list[str]) -> None:
    paths = [f"/in/{name}" for name in names]
    assert render(params([files(SPACE)]), paths).args == paths
    assert render(params([files(REPEAT, "-i")]), paths).args[1::2] == paths
    assert render(params([files(COMMA)]), paths).args[0].split(",") == paths


def test_no_args_and_no_environment_give_nothing() -> None:
    assert render(Params(), FILES) == Rendered([], {})


def test_the_environment_takes_literals_and_a_comma_separated_list() -> None:
    rendered = render(params(A="x y", B=files(COMMA)), FILES)
    assert rendered == Rendered([], {"A": "x y", "B": LIST})


@pytest.mark.parametrize(
    ("extra", "argv"),
    [
        ({}, ["7"]),
        ({"flag": "--n"}, ["--n", "7"]),
        ({"flag": "--n="}, ["--n=7"]),
        ({"container_num_prefix": "/out/job-", "container_num_suffix": "_x"}, ["/out/job-7_x"]),
        ({"flag": "-o", "container_num_prefix": "p"}, ["-o", "p7"]),
        ({"input_files_format": REPEAT, "flag": "-n"}, ["-n", "7"]),
    ],
)
def test_a_container_number_has_prefix_suffix_and_flag(
    extra: dict[str, str], argv: list[str]
) -> None:
    assert render(params([{"type": "container_number", **extra}]), FILES, number=7).args == argv


@pytest.mark.parametrize(
    ("flag", "argv"), [(None, ["/in/m"]), ("-m", ["-m", "/in/m"]), ("--m=", ["--m=/in/m"])]
)
def test_a_manifest_stands_for_its_path(flag: str | None, argv: list[str]) -> None:
    item = {"type": "manifest_file", "manifest_file_format": "files", "flag": flag}
    assert render(params([item]), FILES, manifest="/in/m").args == argv
    del item["flag"]
    assert render(params(M=item), FILES, manifest="/in/m").environment == {"M": "/in/m"}


def test_a_manifest_that_was_not_made_is_a_mistake_of_the_caller() -> None:
    item = {"type": "manifest_file", "manifest_file_format": "files"}
    with pytest.raises(ValueError, match="none was given"):
        render(params([item]), FILES)


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (params([files(COMMA)]), ("params", "args", 0)),
        (params(B=files(COMMA)), ("params", "environment", "B")),
    ],
)
def test_a_comma_in_a_name_cannot_stand_in_a_comma_separated_list(
    made: Params, place: tuple[str | int, ...]
) -> None:
    with pytest.raises(GatewayError) as caught:
        render(made, ["/in/a", "/in/b,c"])
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert "'/in/b,c'" in caught.value.message
    assert "repeat_parameter" in caught.value.message
    assert caught.value.details[0].loc == place


def test_a_comma_in_a_name_is_no_matter_elsewhere() -> None:
    assert render(params([files(SPACE)]), ["/in/b,c"]).args == ["/in/b,c"]


MANY = [f"/in/{number:05d}" + "x" * 40 for number in range(3000)]


@pytest.mark.parametrize("made", [params([files(COMMA)]), params(B=files(COMMA))])
def test_one_string_longer_than_linux_takes_is_refused_with_a_way_out(made: Params) -> None:
    with pytest.raises(GatewayError) as caught:
        render(made, MANY, number=3)
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert "container 3" in caught.value.message
    assert "num_containers" in caught.value.message


def test_the_same_files_as_arguments_of_their_own_are_taken() -> None:
    assert render(params([files(SPACE)]), MANY).args == MANY


def test_more_arguments_than_linux_takes_are_refused_with_a_way_out() -> None:
    with pytest.raises(GatewayError) as caught:
        render(params([files(REPEAT, "--input-file=")]), [f + "y" * 100 for f in MANY * 3])
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert "1000000" in caught.value.message
    assert "num_containers" in caught.value.message


def test_characters_that_json_writes_long_count_as_long_as_they_are_handed_on() -> None:
    many = ["<" * 1000] * 170
    with pytest.raises(GatewayError) as caught:
        render(params(many), ["/in/a"])
    assert "1020510 bytes" in caught.value.message
    assert render(params(["x" * 1000] * 170), ["/in/a"]).args[0] == "x" * 1000


def test_very_many_short_arguments_are_bounded_by_what_execve_takes() -> None:
    paths = [f"/in/{n:04}" for n in range(9_999)]
    assert len(render(params([files(SPACE)]), paths).args) == 9_999
    with pytest.raises(GatewayError) as caught:
        render(params([files(SPACE)]), ["/i"] * 190_000)
    assert "2090000 bytes" in caught.value.message
