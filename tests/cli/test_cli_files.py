"""Job files: JSON and YAML, and every kind of mistake in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.gateway_fake import JOB, FakeGateway
from tests.cli.run import Done, run

YAML = """\
cluster: dev
image: ghcr.io/kbase/checksum:1.0
input_files:
  - data/a.txt
  - data/b.txt
output_dir: results/x
num_containers: 2
"""


def _submit(fake: FakeGateway, text: str | bytes, name: str, place: Path) -> Done:
    file = place / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return run(fake, "cts", "submit", str(file))


def _sent(fake: FakeGateway) -> dict[str, Any]:
    (call,) = fake.jobs.calls
    sent: dict[str, Any] = call[1]
    return sent


@pytest.mark.parametrize("name", ["job.yaml", "job.yml", "job", "job.txt"])
def test_yaml_is_read_whatever_the_file_is_called(
    fake: FakeGateway, tmp_path: Path, name: str
) -> None:
    assert _submit(fake, YAML, name, tmp_path).out == "1\n"
    assert _sent(fake) == JOB


def test_yaml_on_standard_input_is_read_and_json_in_a_yaml_file(
    fake: FakeGateway, tmp_path: Path
) -> None:
    assert run(fake, "cts", "submit", "-", text=YAML).out == "1\n"
    assert _submit(fake, json.dumps(JOB), "job.yaml", tmp_path).out == "2\n"
    assert fake.jobs.calls == [("submit", JOB)] * 2


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("text", [json.dumps(JOB), YAML])
def test_a_byte_order_mark_of_utf_8_is_no_mistake(
    fake: FakeGateway, tmp_path: Path, mark: bytes, text: str
) -> None:
    assert _submit(fake, mark + text.encode(), "job", tmp_path).out == "1\n"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("1:30", "1:30"), ("1:30:00", "1:30:00"), ("1-12", "1-12"), ("1-0:30", "1-0:30"), ("PT5M", "PT5M"),
        ("90", 90), ("'90'", "90"), ("+90", 90), ("0", 0), ("1.5", 1.5), ("1e3", 1000.0), ("010", "010"), ("0x10", "0x10"),
        ("1_000", "1_000"), ("2026-01-31", "2026-01-31"), ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        (".5", 0.5), ("1.0.1", "1.0.1"), ("=", "="), ("2GB", "2GB"), (".inf", ".inf"), (".nan", ".nan"), ("-", [None]),
    ],
)  # fmt: skip
def test_what_is_written_in_yaml_is_what_is_meant(
    fake: FakeGateway, written: str, sent: object
) -> None:
    run(
        fake,
        "cts",
        "submit",
        "-",
        text=f"{YAML}runtime: {written}\n" if written != "-" else f"{YAML}runtime:\n-\n",
    )
    found = _sent(fake)["runtime"]
    assert (found, type(found)) == (sent, type(sent))


def test_a_run_time_with_colons_means_the_same_in_yaml_and_in_json(fake: FakeGateway) -> None:
    from gateway.jobs.quantities import parse_runtime

    run(fake, "cts", "submit", "-", text=f"{YAML}runtime: 1:30\n")
    run(fake, "cts", "submit", "-", text=json.dumps(JOB | {"runtime": "1:30"}))
    first, second = (call[1]["runtime"] for call in fake.jobs.calls)
    assert first == second
    assert parse_runtime(first) == 90


def test_anchors_and_merges_of_yaml_are_read(fake: FakeGateway) -> None:
    text = YAML.replace("cluster: dev\n", "<<: &base {cluster: dev, cpus: 2}\n") + "labels: *base\n"
    run(fake, "cts", "submit", "-", text=text)
    assert _sent(fake)["labels"] == {"cluster": "dev", "cpus": 2}
    assert (_sent(fake)["cluster"], _sent(fake)["cpus"]) == ("dev", 2)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("j.json", b"", ("is empty",)),
        ("j.yaml", b"  \n# nothing\n", ("must hold one object", "not nothing")),
        ("j.json", b"[]", ("must hold one object", "not a list")),
        ("j.json", b'"x"', ("must hold one object", "not text")),
        ("j.yaml", b"- a\n", ("must hold one object", "not a list")),
        ("j", b"just words", ("must hold one object", "not text")),
        ("j.json", b"7", ("not a number",)),
        ("j.json", b"true", ("not a truth value",)),
        ("j.json", b'{"a": 1', ("not valid JSON", "line 1")),
        ("j.json", b"{'a': 1}", ("not valid JSON",)),
        ("j", b'{"a": 1,\n "b" 2}', ("not valid JSON", "line 2")),
        ("j.json", b'{"a": 1, "a": 2}', ("'a' is there twice",)),
        ("j", b'{"a": {"b": 1, "b": 1}}', ("'b' is there twice",)),
        ("j.json", b'{"a": NaN}', ("NaN is no number",)),
        ("j.json", b'{"a": -Infinity}', ("-Infinity is no number",)),
        ("j.json", b'{"a": ' + b"[" * 100_000, ("nested too deep",)),
        ("j.json", b'{"a": ' + b"1" * 5000 + b"}", ("not valid JSON",)),
        ("j.yaml", b"a: 1\nb: 2\na: 3\n", ("'a' is there twice", "line 3")),
        ("j.yaml", b"a:\n  b: 1\n  b: 2\n", ("'b' is there twice", "line 3")),
        ("j.yaml", b"a: [1, 2\nb: 3\n", ("not valid YAML", "line 2")),
        ("j.yaml", b"a: 1\n\tb: 2\n", ("not valid YAML", "line 2")),
        ("j.yaml", b"a: b: c\n", ("not valid YAML", "line 1")),
        ("j.yaml", b"a: !!python/object/apply:os.system [id]\n", ("not valid YAML", "could not determine a constructor")),
        ("j.yaml", b"a: *b\n", ("not valid YAML", "undefined alias")),
        ("j.yaml", b"a: 1\n---\nb: 2\n", ("not valid YAML", "line 2")),
        ("j.yaml", b"1: a\n", ("the name '1' must be text", "quotes")),
        ("j.yaml", b"true: a\n", ("the name 'true' must be text",)),
        ("j.yaml", b"? [a, b]\n: c\n", ("a name must be text",)),
        ("j.yaml", b"a: &a [*a]\n", ("aliases",)),
        ("j.yaml", BOMB.encode(), ("aliases",)),
        ("j.yaml", b"[" * 100_000, ("nested too deep",)),
        ("j.yaml", b"a: !!timestamp 2026-01-31\n", ("cannot be written as JSON",)),
        ("j.yaml", b"a: \x01\n", ("not valid YAML",)),
        ("j.json", "{\"a\": \"\xe9\"}".encode("latin-1"), ("not UTF-8", "byte 7", "line 1", "save it in UTF-8")),
        ("j.yaml", "b: 1\na: \xe9\n".encode("latin-1"), ("not UTF-8", "line 2")),
        ("j.json", json.dumps(JOB).encode("utf-16"), ("is UTF-16",)),
        ("j.json", b" " * ((32 << 20) + 1), ("over 32 MiB",)),
    ],
)  # fmt: skip
def test_a_file_that_is_no_job_is_told_what_is_wrong_with_it_and_nothing_is_sent(
    fake: FakeGateway, tmp_path: Path, name: str, text: bytes, words: tuple[str, ...]
) -> None:
    done = _submit(fake, text, name, tmp_path)
    done.refused(2, *words)
    assert len(done.err.splitlines()) == 1
    assert fake.jobs.calls == []


def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    fake: FakeGateway, tmp_path: Path
) -> None:
    missing = tmp_path / "job.json"
    run(fake, "cts", "submit", str(missing)).refused(2, str(missing), "No such file")
    run(fake, "cts", "submit", str(tmp_path)).refused(2, "Is a directory")
    run(fake, "cts", "submit", "a\0b").refused(2, "null byte")
    run(fake, "cts", "submit", "-", text="").refused(2, "standard input is empty")


def test_text_of_every_script_reaches_the_gateway_unchanged(fake: FakeGateway) -> None:
    name = "\u00e9\u4e2d \U0001f600 \\ \" ' $(x)"
    run(fake, "cts", "submit", "-", text=json.dumps(JOB | {"name": name}))
    assert _sent(fake)["name"] == name
