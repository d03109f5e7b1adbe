"""Mount points, arguments and environment: what is taken, and why the rest is not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.model import JobInput, Parameter, parse_job_input

Doc = dict[str, Any]


def doc(**changes: Any) -> Doc:
    base: Doc = {
        "cluster": "dev",
        "image": "alpine:3",
        "input_files": ["bkt/a", "bkt/b"],
        "output_dir": "bkt/out",
    }
    return base | changes


def job(**changes: Any) -> JobInput:
    return parse_job_input(doc(**changes))


def refusal(
    changes: Doc, place: str, said: str, code: AppCode = AppCode.REQUEST_VALIDATION
) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        job(**changes)
    error = caught.value
    assert error.code is code
    assert error.message.startswith(place + ": ")
    assert said in error.message
    assert "\n" not in error.message
    assert len(error.message) < 1500
    return error


def args(*items: Any) -> Doc:
    return {"params": {"args": list(items)}}


def environment(**items: Any) -> Doc:
    return {"params": {"environment": items}}


FILES = {"type": "input_files", "input_files_format": "space_separated_list"}
MANIFEST = {"type": "manifest_file", "manifest_file_format": "files"}
NUMBER = {"type": "container_number"}


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("/data", "/data"),
        ("/data/", "/data"),
        ("/a/b/c", "/a/b/c"),
        ("/a/../b", "/b"),
        ("/./a", "/a"),
        ("/A_b-c.d", "/A_b-c.d"),
        ("/tmp/in", "/tmp/in"),
        ("/etcetera", "/etcetera"),
        ("/" + "x" * 1023, "/" + "x" * 1023),
    ],
)
def test_a_mount_point_is_resolved(given: str, resolved: str) -> None:
    assert job(params={"input_mount_point": given}).params.input_mount_point == resolved


@pytest.mark.parametrize(
    "mount",
    [
        *("", "/", "/.", "/..", "/a/..", "/a/../..", "/../a", "a", "./a", "//a", "/a//b", "/a b"),
        *("/a:b", "/a,b", "/ä", "/a\n", "/$HOME", "/" + "x" * 1024),
        *("/proc", "/proc/x", "/sys", "/dev/shm", "/etc", "/etc/x", "/x/../etc", "/usr", "/bin/"),
        *("/lib64", "/tmp", "/var/tmp", "/.singularity.d/x"),
    ],
)
@pytest.mark.parametrize(
    "field", ["input_mount_point", "output_mount_point", "refdata_mount_point"]
)
def test_a_mount_point_that_is_none_is_refused(field: str, mount: str) -> None:
    refusal({"params": {field: mount}}, f"params.{field}", "")


@pytest.mark.parametrize(
    ("one", "other"), [("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a"), ("/a/b/../c", "/a/c/")]
)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("input_mount_point", "output_mount_point"),
        ("input_mount_point", "refdata_mount_point"),
        ("output_mount_point", "refdata_mount_point"),
    ],
)
def test_mount_points_are_apart(first: str, second: str, one: str, other: str) -> None:
    refusal({"params": {first: one, second: other}}, f"params.{second}", first)


def test_mount_points_may_be_neighbours() -> None:
    assert job(params={"input_mount_point": "/a/in", "output_mount_point": "/a/in2"})


@pytest.mark.parametrize(
    "literal",
    [
        *("x", "a b", "'", '"', "$(touch x)", "; rm -rf /", "`id`", "größe 文件 🙂", "--x=y z"),
        *("-", "--", "-1", "*", "a\\nb", "x" * 1024, "\u00a0"),
    ],
)
def test_a_literal_is_any_printable_text(literal: str) -> None:
    assert job(**args(literal)).params.args == (literal,)
    assert job(**environment(A=literal)).params.environment == {"A": literal}


@pytest.mark.parametrize(
    "literal", ["", "x" * 1025, "a\nb", "a\tb", "\0", "\x1b[0m", "\u2028", "\u202e", "\ud800"]
)
def test_a_literal_that_is_empty_too_long_or_not_printable_is_refused(literal: str) -> None:
    refusal(args("ok", literal), "params.args[1]", "must")
    refusal(environment(A=literal), "params.environment.A", "must")


@pytest.mark.parametrize("item", [1, 1.5, True, None, ["x"]])
def test_an_argument_is_text_or_an_object(item: object) -> None:
    refusal(args(item), "params.args[0]", "must be text")


@pytest.mark.parametrize("name", ["A", "_", "A1_B", "PATH", "LD_PRELOAD", "A" * 256])
def test_a_name_of_the_environment_is_capitals_digits_and_underscores(name: str) -> None:
    assert job(**environment(**{name: "x"}))


@pytest.mark.parametrize(
    "name", ["", "a", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A" * 257, "APPTAINER_BIND",
             "APPTAINERENV_X", "SINGULARITY_SHELL", "SING_USER_DEFINED_X", "UID", "GID", "EUID",
             "PROMPT_COMMAND", "PREPEND_PATH", "APPEND_PATH"],
)  # fmt: skip
def test_a_bad_or_reserved_name_of_the_environment_is_refused(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        job(**environment(**{name: "x"}))
    assert caught.value.details[0].loc == ("params", "environment", name)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("home", ["tmp", "/a:/b", "~"])
def test_a_home_that_the_runtime_would_not_take_is_refused(home: str) -> None:
    refusal(environment(HOME=home), "params.environment.HOME", "absolute path without a colon")
    assert job(**environment(HOME="/work dir"))


@pytest.mark.parametrize("flag", ["-i", "--input", "--in=", "-1", "--a.b-c_d", "-" + "a" * 255])
def test_a_flag_is_dashes_and_a_word(flag: str) -> None:
    made = job(**args(FILES | {"flag": flag}))
    assert made.params.args is not None
    assert isinstance(made.params.args[0], Parameter)
    assert made.params.args[0].flag == flag


@pytest.mark.parametrize(
    "flag", ["", "-", "--", "i", "---i", "-=", "-i=x", "-i ", "-i\n", "-ä", "-" + "a" * 256]
)
def test_what_is_no_flag_is_refused(flag: str) -> None:
    refusal(args(FILES | {"flag": flag}), "params.args[0].flag", "one or two dashes")


@pytest.mark.parametrize(
    ("item", "field", "said"),
    [
        ({}, "type", "is required"),
        ({"type": "files"}, "type", "'input_files', 'manifest_file' or 'container_number'"),
        ({"type": "input_files"}, "input_files_format", "needs input_files_format"),
        ({"type": "manifest_file"}, "manifest_file_format", "one of files, data_ids"),
        ({"type": "input_files", "input_files_format": "x"}, "input_files_format", "must be"),
        (FILES | {"input_files_format": "repeat_parameter"}, "flag", "a flag to repeat"),
        (MANIFEST | {"manifest_file_header": ""}, "manifest_file_header", "1 to 1000"),
        (MANIFEST | {"manifest_file_header": "x" * 1001}, "manifest_file_header", "1 to 1000"),
        (MANIFEST | {"manifest_file_header": "a\nb"}, "manifest_file_header", "U+000A"),
        (NUMBER | {"container_num_prefix": ""}, "container_num_prefix", "1 to 1024"),
        (NUMBER | {"container_num_suffix": "\n"}, "container_num_suffix", "printable"),
    ],
)
def test_a_parameter_object_says_what_it_needs(item: Doc, field: str, said: str) -> None:
    refusal(args(item), f"params.args[0].{field}", said)


@pytest.mark.parametrize(
    "item",
    [
        FILES,
        FILES | {"input_files_format": "comma_separated_list"},
        FILES | {"input_files_format": "repeat_parameter", "flag": "-i"},
        MANIFEST | {"manifest_file_header": "a\tb", "flag": "--m="},
        NUMBER | {"container_num_prefix": "job-", "container_num_suffix": ".x", "flag": "-n"},
        FILES | {"manifest_file_format": "files", "manifest_file_header": "ignored"},
    ],
)
def test_every_kind_of_parameter_object_is_taken_in_args(item: Doc) -> None:
    assert job(**args("a", item, "b"))


@pytest.mark.parametrize("form", ["space_separated_list", "repeat_parameter"])
def test_these_formats_are_for_args_alone(form: str) -> None:
    item = {"type": "input_files", "input_files_format": form}
    if form == "repeat_parameter":
        with pytest.raises(GatewayError, match="a flag to repeat"):
            job(**environment(A=item))
    else:
        refusal(environment(A=item), "params.environment.A.input_files_format", "args alone")


def test_a_flag_has_no_place_in_the_environment() -> None:
    refusal(environment(A=NUMBER | {"flag": "-n"}), "params.environment.A.flag", "leave it out")


def test_the_environment_takes_a_comma_separated_list_a_manifest_and_numbers() -> None:
    assert job(**environment(A=FILES | {"input_files_format": "comma_separated_list"}, B=NUMBER))
    assert job(**environment(A=MANIFEST, B=NUMBER, C=NUMBER))


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"args": [FILES, FILES]}, "params.args[1]"),
        ({"args": [NUMBER, FILES, NUMBER, MANIFEST]}, "params.args[3]"),
        ({"args": [FILES], "environment": {"M": MANIFEST}}, "params.environment.M"),
    ],
)
def test_at_most_one_object_has_file_input(params: Doc, place: str) -> None:
    refusal({"params": params}, place, "at most one parameter object")


def test_data_ids_in_a_manifest_need_data_ids() -> None:
    item = MANIFEST | {"manifest_file_format": "data_ids"}
    place = "params.args[0].manifest_file_format"
    refusal(args(item), place, "data_id for every input file")
    refusal(args(item) | {"input_files": [{"file": "bkt/a"}]}, place, "data_id for every")
    assert job(**args(item), input_files=[{"file": "bkt/a", "data_id": "x"}])
