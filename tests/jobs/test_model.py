"""A job as asked for: every rule of the protocol, and an error that says what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.model import InputFile, JobInput, parse_job_input

CRC = "4ekt2WB1KO4="
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


def test_a_least_job_gets_the_protocols_defaults() -> None:
    made = job()
    assert made.output_dir == "bkt/out/"
    assert (made.num_containers, made.cpus, made.memory, made.runtime) == (1, 1, 10_000_000, 60)
    assert made.params.input_mount_point == "/input_files"
    assert made.params.output_mount_point == "/output_files"
    assert made.params.declobber is False
    assert made.allow_empty_output is False
    assert made.files == (InputFile(file="bkt/a"), InputFile(file="bkt/b"))
    assert made.files is made.files, (
        "ten thousand are not made anew each time that one is looked at"
    )


def test_the_wire_form_is_as_given_with_normalised_values() -> None:
    given = doc(
        input_files=[{"file": " bkt/a", "crc64nvme": CRC, "data_id": "GCA_1"}],
        memory="2GB",
        runtime="90:00",
        params={"args": ["x", FILES | {"flag": "-i"}], "environment": {"N": NUMBER, "A": "b c"}},
        depends_on=[{"job_id": "12"}],
        share_with={"users": ["ann"]},
        labels={"a/b": ""},
        input_roots=["bkt/x/", "", "bkt"],
    )
    made = parse_job_input(given)
    wire = made.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    assert wire == given | {
        "input_files": [{"file": "bkt/a", "crc64nvme": CRC, "data_id": "GCA_1"}],
        "output_dir": "bkt/out/",
        "memory": 2_000_000_000,
        "runtime": "PT1H30M",
        "input_roots": ["bkt/x", "", "bkt"],
    }
    assert parse_job_input(made.model_dump(mode="json")) == made


def test_files_given_as_text_stay_text_on_the_wire() -> None:
    assert job().model_dump(mode="json")["input_files"] == ["bkt/a", "bkt/b"]


@pytest.mark.parametrize("missing", ["cluster", "image", "input_files", "output_dir"])
def test_what_has_no_default_is_required(missing: str) -> None:
    given = doc()
    del given[missing]
    with pytest.raises(GatewayError, match=f"^{missing}: is required"):
        parse_job_input(given)


@pytest.mark.parametrize("given", [None, [], "x", 1, True, [doc()]])
def test_what_is_no_object_is_refused(given: object) -> None:
    with pytest.raises(GatewayError, match="must be a JSON object") as caught:
        parse_job_input(given)
    assert caught.value.code is AppCode.REQUEST_VALIDATION


@pytest.mark.parametrize(
    ("changes", "place", "near"),
    [
        ({"clustr": "dev"}, "clustr", "cluster"),
        ({"params": {"arg": []}}, "params.arg", "args"),
        (args(FILES | {"flags": "-i"}), "params.args[0].flags", "flag"),
        ({"input_files": [{"file": "bkt/a", "crc": CRC}]}, "input_files[0].crc", "crc64nvme"),
        ({"depends_on": [{"job_id": "1", "con": 1}]}, "depends_on[0].con", "condition"),
        ({"share_with": {"user": []}}, "share_with.user", "users"),
        (environment(A=FILES | {"typ": 1}), "params.environment.A.typ", "type"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known(
    changes: Doc, place: str, near: str
) -> None:
    error = refusal(changes, place, f"did you mean {near!r}?")
    assert error.details[0].type == "extra_forbidden"


def test_an_unknown_field_that_is_like_none_lists_what_is_known() -> None:
    refusal({"zzzz": 1}, "zzzz", "known here are account, ")


def test_dry_run_is_no_field_of_the_body() -> None:
    refusal({"dry_run": True}, "dry_run", "no field of the body")


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"cpus": True}, "cpus", "whole number"),
        ({"cpus": "2"}, "cpus", "whole number"),
        ({"cpus": 2.0}, "cpus", "whole number"),
        ({"cpus": None}, "cpus", "not null"),
        ({"cpus": 0}, "cpus", "at least 1"),
        ({"cpus": float("nan")}, "cpus", "whole number"),
        ({"num_containers": 0}, "num_containers", "at least 1"),
        ({"num_containers": 1001}, "num_containers", "at most 1000"),
        ({"num_containers": 3}, "num_containers", "2 input files"),
        ({"num_containers": True}, "num_containers", "whole number"),
        ({"memory": "999kB"}, "memory", "1 MB"),
        ({"memory": True}, "memory", "number or text"),
        ({"memory": float("inf")}, "memory", "finite"),
        ({"memory": None}, "memory", "number or text"),
        ({"runtime": 0}, "runtime", "one second"),
        ({"runtime": "soon"}, "runtime", "ISO 8601"),
        ({"runtime": True}, "runtime", "number or text"),
        ({"cluster": ""}, "cluster", "GET /sites"),
        ({"cluster": "Dev\n"}, "cluster", "GET /sites"),
        ({"cluster": 1}, "cluster", "must be text"),
        ({"image": ""}, "image", "at least 1 character"),
        ({"image": "a" * 1001}, "image", "at most 1000 characters"),
        ({"image": None}, "image", "must be text"),
        ({"input_files": []}, "input_files", "1 to 10000 files, not 0"),
        ({"input_files": ["bkt/a"] * 10_001}, "input_files", "not 10001"),
        ({"input_files": "bkt/a"}, "input_files", "must be a list"),
        ({"input_files": {"file": "bkt/a"}}, "input_files", "must be a list"),
        ({"input_files": None}, "input_files", "must be a list"),
        ({"input_files": [1]}, "input_files[0]", "must be text"),
        ({"input_files": ["bkt/a", {"file": "bkt/b"}]}, "input_files[1]", "first file is text"),
        ({"input_files": [{"file": "bkt/b"}, "bkt/a"]}, "input_files[1]", "first file is an obj"),
        ({"input_files": [{}]}, "input_files[0].file", "is required"),
        ({"input_files": ["bkt/a", " bkt/a"]}, "input_files[1]", "at 0 and 1"),
        ({"input_files": [{"file": "bkt/a"}] * 2}, "input_files[1]", "'bkt/a' is listed twice"),
        ({"params": None}, "params", "must be an object"),
        ({"params": []}, "params", "must be an object"),
        ({"params": {"declobber": 1}}, "params.declobber", "true or false"),
        ({"params": {"args": "x"}}, "params.args", "must be a list"),
        ({"params": {"environment": []}}, "params.environment", "must be an object"),
        ({"allow_empty_output": "yes"}, "allow_empty_output", "true or false"),
        ({"input_roots": "bkt"}, "input_roots", "must be a list"),
    ],
)
def test_a_value_of_the_wrong_kind_or_size_is_refused(changes: Doc, place: str, said: str) -> None:
    refusal(changes, place, said)


@pytest.mark.parametrize("count", [1, 10_000])
def test_one_to_ten_thousand_files_are_taken(count: int) -> None:
    made = job(input_files=[f"bkt/{number}" for number in range(count)])
    assert len(made.files) == count


def test_as_many_containers_as_files_are_taken() -> None:
    assert job(num_containers=2).num_containers == 2


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"input_files": ["bkt/a", "bkt/../b"]}, "input_files[1]"),
        ({"input_files": [{"file": "bkt/a;b"}]}, "input_files[0].file"),
        ({"output_dir": "bkt"}, "output_dir"),
        ({"output_dir": "bkt/"}, "output_dir"),
        ({"output_dir": "/bkt/x"}, "output_dir"),
        ({"output_dir": "bkt/x//"}, "output_dir"),
        ({"input_roots": ["bkt", "b"]}, "input_roots[1]"),
        ({"input_dirs": ["bkt/a//b"]}, "input_dirs[0]"),
        ({"input_files": ["no"], "output_dir": "no"}, "input_files[0]"),
    ],
)
def test_a_bad_s3_path_has_its_own_code_and_its_place(changes: Doc, place: str) -> None:
    refusal(changes, place, "", AppCode.ILLEGAL_S3_PATH)


def test_an_odd_key_is_taken() -> None:
    odd = 'odd/a b$(touch x)"q"*.txt'
    assert job(input_files=[f"bkt/{odd}"]).files[0].path.key == odd


@pytest.mark.parametrize("image", ["alpine@md5:00", "Alpine", "docker://x", "a b"])
def test_a_bad_image_name_has_its_own_code(image: str) -> None:
    refusal({"image": image}, "image", image, AppCode.IMAGE_NAME_PARSE)


def test_errors_of_several_kinds_are_all_told_in_one_validation_error() -> None:
    error = refusal({"image": "A", "output_dir": "x", "cpus": 0}, "image", "(and 2 more)")
    assert [detail.loc for detail in error.details] == [("image",), ("output_dir",), ("cpus",)]
    assert {detail.type for detail in error.details} >= {"image_name", "s3_path"}


def test_of_thousands_of_errors_a_hundred_are_told_and_the_rest_counted() -> None:
    error = refusal({"input_files": ["x"] * 5000}, "input_files[0]", "(and 4999 more)",
                    AppCode.ILLEGAL_S3_PATH)  # fmt: skip
    assert len(error.details) == 101
    assert error.details[-1].msg == "and 4900 more errors"


@pytest.mark.parametrize(
    "crc", ["", "4ekt2WB1KO4", "4ekt2WB1KO4==", "4ekt2WB1KO4-", "4ekt2WB1KO5=", "AAAA", "ä" * 12]
)
def test_a_crc64nvme_is_eight_bytes_in_base64(crc: str) -> None:
    refusal(
        {"input_files": [{"file": "bkt/a", "crc64nvme": crc}]}, "input_files[0].crc64nvme", "12 ch"
    )


@pytest.mark.parametrize("data_id", ["", "x" * 256, "a\nb", "\ud800"])
def test_a_data_id_is_printable_and_short(data_id: str) -> None:
    refusal({"input_files": [{"file": "bkt/a", "data_id": data_id}]}, "input_files[0].data_id", "")


def test_data_ids_are_for_all_files_or_none() -> None:
    given = [{"file": "bkt/a", "data_id": "x"}, {"file": "bkt/b"}]
    refusal({"input_files": given}, "input_files[1]", "every file or for none")


def test_a_checked_job_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        job().cpus = 2  # type: ignore[misc]


def test_the_model_has_a_json_schema() -> None:
    assert "input_files" in JobInput.model_json_schema()["properties"]
