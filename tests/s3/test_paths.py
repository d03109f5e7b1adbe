"""Names of objects and prefixes: what is taken, what is refused, and that it is said why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AppCode, GatewayError
from gateway.s3.paths import S3Path, parse_object, parse_prefix

KEYS_OF_THE_WILD = [
    "a",
    "a/b/c.txt",
    'odd/a b$(touch x)"q"*.txt',
    "with spaces at the end ",
    " leading",
    "unicode/größe/文件.txt",
    "a\u00a0b",
    "...",
    "..a/.b",
    "a\\b",
    "x:y@z,&=+?#%41",
    "k" * 1024,
    "ö" * 512,
]


@pytest.mark.parametrize("key", KEYS_OF_THE_WILD)
def test_an_odd_key_is_kept_as_it_is(key: str) -> None:
    assert parse_object(f"bucket/{key}") == S3Path("bucket", key)


@pytest.mark.parametrize("bucket", ["abc", "123", "a-b", "1--2", "a" * 63])
def test_a_bucket_of_letters_digits_and_dashes_is_taken(bucket: str) -> None:
    assert parse_object(f"{bucket}/k").bucket == bucket
    assert parse_prefix(bucket) == S3Path(bucket, "")


def test_leading_white_space_is_dropped() -> None:
    assert str(parse_object(" \t\nbucket/a b")) == "bucket/a b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty or white space"),
        ("  \t", "empty or white space"),
        ("/bucket/key", "starts with a slash"),
        ("bucket", "names a bucket alone"),
        ("bucket/", "names a bucket alone"),
        ("bucket//key", '"//"'),
        ("bucket/a//b", '"//"'),
        ("bucket/a/", "ends in a slash"),
        ("bucket/it's", "at position 2"),
        ("bucket/a;b", "at position 1"),
        ("bucket/a\nb", "U+000A at position 1"),
        ("bucket/a\x00", "U+0000"),
        ("bucket/a\x7f", "U+007F"),
        ("bucket/a\u202eb", "U+202E"),
        ("bucket/\ud800", "U+D800"),
        ("bucket/../x", '".."'),
        ("bucket/a/..", '".."'),
        ("bucket/./x", '"."'),
        ("bucket/" + "k" * 1025, "1025 bytes"),
        ("bucket/" + "ö" * 513, "1026 bytes"),
        ("ab/k", "no bucket name"),
        ("a" * 64 + "/k", "no bucket name"),
        ("-ab/k", "no bucket name"),
        ("ab-/k", "no bucket name"),
        ("Abc/k", "no bucket name"),
        ("a.b.c/k", "no bucket name"),
        ("a_b/k", "no bucket name"),
        ("bücket/k", "no bucket name"),
        ("bucket /k", "no bucket name"),
        ("s3://bucket/k", "leave out s3://"),
    ],
)
def test_a_bad_object_path_is_refused_with_the_rule(text: str, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_object(text)
    assert caught.value.code is AppCode.ILLEGAL_S3_PATH
    assert said in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1500


@pytest.mark.parametrize(
    ("text", "key"), [("bucket", ""), ("bucket/", ""), ("bucket/p", "p/"), ("bucket/p/q/", "p/q/")]
)
def test_a_prefix_ends_in_exactly_one_slash(text: str, key: str) -> None:
    assert parse_prefix(text) == S3Path("bucket", key)


@pytest.mark.parametrize(
    "text", ["bucket//", "bucket/a//", "bucket/../a", "bucket/a/.", "/", "bucket/" + "k" * 1024]
)
def test_a_bad_prefix_is_refused(text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_prefix(text)
    assert caught.value.code is AppCode.ILLEGAL_S3_PATH


def test_the_base_name_is_the_last_segment() -> None:
    assert parse_object("bucket/a/b.txt").basename == "b.txt"
    assert parse_prefix("bucket/a").basename == ""


def outcome(parse: Callable[[str], S3Path], text: str) -> S3Path | GatewayError:
    try:
        return parse(text)
    except GatewayError as exc:
        return exc


@given(st.text() | st.builds("bucket/{}".format, st.text()) | st.text("ab-./ ';1", max_size=20))
def test_any_text_is_taken_and_round_trips_or_is_refused(text: str) -> None:
    for parse in (parse_object, parse_prefix):
        result = outcome(parse, text)
        if isinstance(result, GatewayError):
            assert result.code is AppCode.ILLEGAL_S3_PATH
            assert result.message.isprintable()
            continue
        assert parse(str(result)) == result
        assert len(result.key.encode("utf-8")) <= 1024
        if result.key:
            assert not {"", ".", ".."} & set(result.key.removesuffix("/").split("/"))
