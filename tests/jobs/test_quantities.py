"""Sizes and run times in all the forms that users write."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.quantities import (
    MAX_RUNTIME,
    format_bytes,
    iso_duration,
    parse_memory,
    parse_runtime,
    slurm_minutes,
)


def short(value: object) -> str:
    return ascii(value)[:20]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (10**6, 10**6),
        ("1000000", 10**6),
        (2e9, 2 * 10**9),
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        ("2G", 2 * 10**9),
        (" 2GB ", 2 * 10**9),
        ("1500kB", 1_500_000),
        ("1.5GiB", 3 * 2**29),
        ("4MiB", 4 * 2**20),
        ("2048KiB", 2**21),
        ("1TB", 10**12),
        ("1TiB", 2**40),
        ("1PB", 10**15),
        ("1.0000001MB", 1_000_001),
        ("1000000B", 10**6),
    ],
)
def test_a_size_is_bytes_or_a_number_with_a_unit(value: object, size: int) -> None:
    assert parse_memory(value) == size


@pytest.mark.parametrize(
    "value",
    [
        *(999_999, "999kB", 0, -1, "-2GB", "", "GB", "2XB", "8Gbit", "1e9", "2 G B", "2Mi", "٣GB"),
        *(True, None, [], {}, 1_000_000.5, float("nan"), float("inf"), 10**4000, -(10**4000)),
        *("9" * 31 + "GB", "9" * 10**6, "1EB", "9999999PB", "1_000_000"),
    ],
    ids=short,
)
def test_what_is_no_size_or_less_than_a_megabyte_is_refused_with_the_forms(value: object) -> None:
    with pytest.raises(ValueError, match="2GB") as caught:
        parse_memory(value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (60, 60),
        (60.0, 60),
        (0.2, 1),
        ("60", 60),
        (" 60 ", 60),
        ("60.5", 61),
        ("PT60S", 60),
        ("PT1H30M", 5400),
        ("PT0.5H", 1800),
        ("PT1,5M", 90),
        ("P1D", 86400),
        ("P1DT1S", 86401),
        ("P2W", 1_209_600),
        ("90:00", 5400),
        ("1:30", 90),
        ("1:30 ", 90),
        ("0:01", 1),
        ("01:30:00", 5400),
        ("48:00:00", 172_800),
        ("1-0", 86400),
        ("1-12", 129_600),
        ("0-36", 129_600),
        ("1-2:03", 93_780),
        ("1-02:03:04", 93_784),
        (MAX_RUNTIME, MAX_RUNTIME),
        ("P366D", MAX_RUNTIME),
    ],
)
def test_a_run_time_is_seconds_iso_8601_or_one_of_slurms_forms(value: object, seconds: int) -> None:
    assert parse_runtime(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(0, -5, "-5", "PT0S", "0:00", "", "P", "PT", "P1DT", "1H", "PT1H1H", "pt1h", "P-1D"),
        *("-PT1H", "PT1M1H", "PT1.5H2M", "1:2:3:4", "1-2-3", "1-", "-1", "1:60", "1:60:00"),
        *("1:00:60", "1-1:60", "1 day", "٣", True, None, [], float("nan"), float("inf")),
        *(MAX_RUNTIME + 1, "P367D", "9" * 10**6, "1:" + "0" * 10**6, "P" + "1" * 10**6 + "D"),
        10**4000,
    ],
    ids=short,
)
def test_what_is_no_run_time_is_refused_with_the_forms(value: object) -> None:
    with pytest.raises(ValueError, match="PT1H30M") as caught:
        parse_runtime(value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["P1Y", "P1M", "P1Y2M3D"])
def test_years_and_months_are_refused_because_their_length_varies(value: str) -> None:
    with pytest.raises(ValueError, match="PT30M"):
        parse_runtime(value)


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (59, 1), (60, 1), (61, 2), (86400, 1440)])
def test_slurm_gets_whole_minutes_rounded_up(seconds: int, minutes: int) -> None:
    assert slurm_minutes(seconds) == minutes


@given(st.integers(1, MAX_RUNTIME))
def test_a_duration_that_is_written_is_read_back(seconds: int) -> None:
    assert parse_runtime(iso_duration(seconds)) == seconds
    assert 0 <= slurm_minutes(seconds) * 60 - seconds < 60


@given(st.integers(10**6, 10**16))
def test_a_size_that_is_written_is_read_back(size: int) -> None:
    assert parse_memory(format_bytes(size)) == size == parse_memory(str(size))


@given(st.text(max_size=30) | st.text("PTDHMSW0123456789:-., kKMGiBb", max_size=15))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse, least in ((parse_memory, 10**6), (parse_runtime, 1)):
        with contextlib.suppress(ValueError):
            assert parse(text) >= least


def test_nothing_written_is_zero_seconds() -> None:
    assert iso_duration(0) == "PT0S"
