"""Where input files land, and which of them cannot stand side by side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AppCode, GatewayError
from gateway.jobs.layout import lay_out


def refusal(files: list[str], roots: tuple[str, ...] = ()) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        lay_out(files, roots)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    return caught.value


def test_files_land_flat_by_base_name_in_their_order() -> None:
    assert lay_out(["bkt/x/b", "bkt/a", "other/y/z/c"]) == ("b", "a", "c")


@pytest.mark.parametrize(
    ("file", "roots", "path"),
    [
        ("bkt/foo/bar/baz", ("bkt/foo",), "bar/baz"),
        ("bkt/foo/bar/baz", ("bkt/foo/",), "bar/baz"),
        ("bkt/foo/bar/baz", ("bkt/foo", "bkt/foo/bar"), "baz"),
        ("bkt/foo/bar/baz", ("bkt/fo",), "baz"),
        ("bkt/foo/bar/baz", ("bkt",), "foo/bar/baz"),
        ("bkt/foo/bar/baz", ("bkt/",), "foo/bar/baz"),
        ("bkt/foo/bar/baz", ("",), "bkt/foo/bar/baz"),
        ("bkt/foo/bar/baz", ("", "bkt/foo"), "bar/baz"),
        ("bkt/foo/bar/baz", ("bkt/foo/bar/baz",), "baz"),
        ("bkt/foo/bar/baz", ("bkt/foo/bar/baz", "bkt"), "foo/bar/baz"),
        ("bkt/foo/bar/baz", ("bkt/foo/bar/baz", ""), "bkt/foo/bar/baz"),
        ("bkt/foo/bar/baz", ("other",), "baz"),
        ("bkt/foo/bar/baz", ("foo",), "baz"),
        ("bkt2/foo", ("bkt",), "foo"),
    ],
)
def test_the_longest_root_that_is_not_the_file_itself_wins(
    file: str, roots: tuple[str, ...], path: str
) -> None:
    assert lay_out([file], roots) == (path,)


def test_two_files_at_one_place_are_both_named_with_their_positions() -> None:
    error = refusal(["bkt/a/x", "bkt/y", "bkt/b/x"])
    for said in ("'bkt/a/x'", "(at input_files[0])", "'bkt/b/x'", "input_files[2]", "'x'"):
        assert said in error.message
    assert [detail.loc for detail in error.details] == [("input_files", 2)]


@pytest.mark.parametrize("files", [["bkt/a", "bkt/a/b"], ["bkt/a/b", "bkt/a"]])
def test_a_file_where_another_needs_a_directory_is_refused_and_both_are_named(
    files: list[str],
) -> None:
    error = refusal(files, ("bkt",))
    assert "'bkt/a'" in error.message
    assert "'bkt/a/b'" in error.message
    assert "needs a directory" in error.message


def test_a_file_and_a_deep_file_below_its_name_are_refused() -> None:
    assert "needs a directory" in refusal(["bkt/a/b/c/d", "bkt/a/b"], ("bkt",)).message


def test_a_name_that_only_begins_like_another_is_no_conflict() -> None:
    assert lay_out(["bkt/a", "bkt/ab/c", "bkt/a.b"], ("bkt",)) == ("a", "ab/c", "a.b")


def test_a_flat_name_and_a_rooted_directory_may_conflict_too() -> None:
    assert "needs a directory" in refusal(["other/a", "bkt/a/b"], ("bkt",)).message


@pytest.mark.parametrize("name", ["n" * 256, "ö" * 128])
def test_a_name_that_no_file_system_takes_is_refused(name: str) -> None:
    assert "256 bytes" in refusal(["bkt/" + name]).message


def test_a_long_directory_counts_only_where_it_is_kept() -> None:
    file = f"bkt/{'d' * 256}/x"
    assert lay_out([file]) == ("x",)
    assert "256 bytes" in refusal([file], ("",)).message


def test_a_name_of_255_bytes_is_taken() -> None:
    assert lay_out(["bkt/" + "n" * 255]) == ("n" * 255,)


def test_all_conflicts_are_listed_up_to_a_hundred() -> None:
    error = refusal([f"bkt/{number}/x" for number in range(500)])
    assert len(error.details) == 100
    assert "(and 498 more)" in error.message


def test_ten_thousand_files_below_deep_roots_are_placed_quickly() -> None:
    files = [f"bkt/{'d/' * 50}{number}" for number in range(10_000)]
    roots = [f"bkt/{'d/' * depth}".rstrip("/") for depth in range(50)]
    assert lay_out(files, roots)[0] == "d/0"


def test_a_file_that_is_there_twice_is_told_so_with_both_places() -> None:
    places: list[tuple[str | int, ...]] = [("input_files", 0), ("shared_inputs", 4)]
    with pytest.raises(GatewayError) as caught:
        lay_out(["bkt/a", "bkt/a"], places=places)
    assert caught.value.message.startswith(
        "shared_inputs[4]: 'bkt/a' is there twice, the other time at input_files[0];"
    )


@pytest.mark.parametrize("file", ["bkt/x/manifest-2", "bkt/manifest-2/y"])
def test_an_input_where_the_gateway_writes_is_refused_with_both_names(file: str) -> None:
    written = {"manifest-1": "the manifest", "manifest-2": "the manifest of params.args[0]"}
    with pytest.raises(GatewayError) as caught:
        lay_out([file], ["bkt", "bkt/x"], generated=written)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    assert caught.value.details[0].loc == ("input_files", 0)
    for said in (
        repr(file),
        "manifest-2",
        "where the gateway writes the manifest of params.args[0]",
    ):
        assert said in caught.value.message
    lay_out([file], [""], generated=written)  # it keeps its whole path


segments = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join)


@given(
    st.lists(st.builds("bkt/{}".format, segments), min_size=1, max_size=8, unique=True),
    st.lists(st.just("") | st.just("bkt") | st.builds("bkt/{}".format, segments), max_size=4),
)
def test_no_two_files_ever_share_a_place_or_stand_on_each_others_way(
    files: list[str], roots: list[str]
) -> None:
    try:
        paths = lay_out(files, roots)
    except GatewayError:
        return
    assert len(set(paths)) == len(files)
    for path, file in zip(paths, files, strict=True):
        assert f"/{file}".endswith(f"/{path}")
        assert not any(other.startswith(path + "/") for other in paths)
