"""The sizes of an object's parts are known for sure, or the object is verified otherwise, or it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.s3.client import ObjectStore
from gateway.s3.parts import part_count
from tests.s3.places import Answer, scripted, section, xml

HASH = "5d41402abc4b2a76b9719d911017c592"
CRC = "RguJ5chLHDM="


class Parts:
    """A store that holds one object of those parts and can (or cannot) tell of them."""

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        lists: bool = False,
        heads: bool = True,
        page: int = 1000,
        etag: str | None = None,
        crc: bool = False,
    ) -> None:
        self.sizes, self.lists, self.heads, self.page = list(sizes), lists, heads, page
        self.etag = etag or f"{HASH}-{len(sizes)}"
        self.crc = {"x-amz-checksum-crc64nvme": CRC} if crc else {}
        self.asked: list[str] = []

    def __call__(self, method: str, path: str) -> Answer:
        query = parse_qs(urlsplit(path).query, keep_blank_values=True)
        if "attributes" in query:
            self.asked.append("list")
            return self._list() if self.lists else (501, {}, xml("NotImplemented"))
        size = sum(self.sizes)
        if "partNumber" in query:
            number = int(query["partNumber"][0])
            self.asked.append(str(number))
            if self.heads:
                size = self.sizes[number - 1]
        headers = {"ETag": f'"{self.etag}"', "Content-Length": str(size)}
        return 200, headers | self.crc, b""

    def _list(self) -> Answer:
        # The marker is a header of its own.
        start = self.page * (self.asked.count("list") - 1)
        rows = "".join(
            f"<Part><PartNumber>{n + 1}</PartNumber><Size>{self.sizes[n]}</Size></Part>"
            for n in range(start, min(start + self.page, len(self.sizes)))
        )
        body = f"<R><ObjectParts>{rows}</ObjectParts></R>"
        return 200, {}, body.encode()


def sizes_of(parts: Parts, tmp_path: Path) -> list[int] | None:
    with scripted(parts) as endpoint:
        store = ObjectStore(section(endpoint, tmp_path), connect_timeout=2, read_timeout=5)
        return store.inspect("bucket", "key").part_sizes


def refused(parts: Parts, tmp_path: Path) -> str:
    with pytest.raises(GatewayError) as caught:
        sizes_of(parts, tmp_path)
    assert caught.value.code is AppCode.UNSUPPORTED
    return caught.value.message


@pytest.mark.parametrize("sizes", [[8, 8, 3], [8, 8, 8], [5, 9, 2, 7], [3, 8], [8, 8, 8, 0]])
def test_a_store_that_lists_them_is_believed_and_asked_no_more(
    tmp_path: Path, sizes: list[int]
) -> None:
    parts = Parts(sizes, lists=True, page=2)
    assert sizes_of(parts, tmp_path) == sizes
    assert set(parts.asked) == {"list"}


@pytest.mark.parametrize("sizes", [[8, 8, 3], [8, 8, 8], [5, 9, 2, 7], [3, 8]])
def test_a_store_that_lists_none_is_asked_for_each(tmp_path: Path, sizes: list[int]) -> None:
    parts = Parts(sizes)
    assert sizes_of(parts, tmp_path) == sizes
    assert sorted(parts.asked) == sorted(["list", *(str(n) for n in range(1, len(sizes) + 1))])


def test_the_size_of_a_lone_part_needs_no_question(tmp_path: Path) -> None:
    for size in (0, 7):
        parts = Parts([size])
        assert sizes_of(parts, tmp_path) == [size]
        assert parts.asked == []


def test_many_equal_parts_are_known_by_a_few(tmp_path: Path) -> None:
    parts = Parts([8] * 1499 + [3])
    assert sizes_of(parts, tmp_path) == [8] * 1499 + [3]
    assert len(parts.asked) < 10


def test_many_parts_that_a_few_show_to_be_unequal_are_not_guessed(tmp_path: Path) -> None:
    assert "proves nothing of its bytes" in refused(Parts([8] * 700 + [9] * 800), tmp_path)
    assert sizes_of(Parts([8] * 700 + [9] * 800, lists=True), tmp_path) == [8] * 700 + [9] * 800


def test_a_store_that_gives_the_whole_size_for_each_part_tells_nothing(tmp_path: Path) -> None:
    assert "proves nothing of its bytes" in refused(Parts([8, 8, 3], heads=False), tmp_path)


def test_an_object_whose_parts_are_not_known_is_taken_for_its_crc(tmp_path: Path) -> None:
    with scripted(Parts([8, 8, 3], heads=False, crc=True)) as endpoint:
        info = ObjectStore(section(endpoint, tmp_path)).inspect("bucket", "key")
    assert (info.part_sizes, info.crc64nvme, info.etag_is_md5) == (None, CRC, False)


@pytest.mark.parametrize(
    "etag",
    [
        "-",
        "abc",
        f"{HASH}-0",
        f"{HASH}-x",
        f"{HASH}-10001",
        f"{HASH}-99999999999",
        f"x{HASH[1:]}-2",
    ],
)
def test_an_etag_that_is_no_md5_proves_nothing(tmp_path: Path, etag: str) -> None:
    assert "proves nothing of its bytes" in refused(Parts([8, 8], etag=etag), tmp_path)
    with scripted(Parts([8, 8], etag=etag, crc=True)) as endpoint:
        info = ObjectStore(section(endpoint, tmp_path)).inspect("bucket", "key")
    assert (info.part_sizes, info.crc64nvme) == (None, CRC)


def test_a_list_that_does_not_add_up_is_not_believed(tmp_path: Path) -> None:
    parts = Parts([5, 9, 2], lists=True)
    parts._list = lambda: (  # type: ignore[method-assign]
        200,
        {},
        b"<R><ObjectParts>"
        + b"".join(b"<Part><PartNumber>%d</PartNumber><Size>5</Size></Part>" % n for n in (1, 2, 3))
        + b"</ObjectParts></R>",
    )
    assert sizes_of(parts, tmp_path) == [5, 9, 2]


@pytest.mark.parametrize("listed", [b"<R/>", b"", b"<html>", b"<R><ObjectParts/></R>"])
def test_a_list_that_is_none_is_not_needed(tmp_path: Path, listed: bytes) -> None:
    parts = Parts([5, 9], lists=True)
    parts._list = lambda: (200, {}, listed)  # type: ignore[method-assign]
    assert sizes_of(parts, tmp_path) == [5, 9]


def test_a_list_that_never_ends_is_left(tmp_path: Path) -> None:
    parts = Parts([5, 9, 4], lists=True)
    page = (
        b"<R><ObjectParts><Part><PartNumber>1</PartNumber><Size>5</Size></Part></ObjectParts></R>"
    )
    parts._list = lambda: (200, {}, page)  # type: ignore[method-assign]
    assert sizes_of(parts, tmp_path) == [5, 9, 4]
    assert parts.asked.count("list") == 2


def test_a_store_that_counts_other_parts_is_not_believed(tmp_path: Path) -> None:
    parts = Parts([5, 9])
    plain = parts.__call__

    def answer(method: str, path: str) -> Answer:
        status, headers, body = plain(method, path)
        return status, headers | {"x-amz-mp-parts-count": "3"}, body

    with scripted(answer) as endpoint, pytest.raises(GatewayError, match="proves nothing"):
        ObjectStore(section(endpoint, tmp_path)).inspect("bucket", "key")


@pytest.mark.parametrize("status", [400, 416, 501])
def test_a_store_that_knows_no_parts_is_no_trouble(tmp_path: Path, status: int) -> None:
    parts = Parts([5, 9], crc=True)

    def answer(method: str, path: str) -> Answer:
        return (status, {}, b"") if "partNumber" in path else parts(method, path)

    with scripted(answer) as endpoint:
        info = ObjectStore(section(endpoint, tmp_path)).inspect("bucket", "key")
    assert info.part_sizes is None


def test_an_object_that_is_removed_meanwhile_is_told(tmp_path: Path) -> None:
    parts = Parts([5, 9])

    def answer(method: str, path: str) -> Answer:
        return (404, {}, b"") if "partNumber" in path else parts(method, path)

    with scripted(answer) as endpoint, pytest.raises(GatewayError) as caught:
        ObjectStore(section(endpoint, tmp_path)).inspect("bucket", "key")
    assert caught.value.code is AppCode.S3_PATH_NOT_FOUND


@pytest.mark.parametrize(
    ("etag", "count"),
    [
        (HASH, None),
        (f"{HASH}-1", 1),
        (f"{HASH}-10000", 10000),
        (f"{HASH}-10001", None),
        (f"{HASH}-01", None),
        (f"{HASH}-2-3", None),
        (f"{HASH.upper()}-2", None),
        ("", None),
    ],
)
def test_the_number_of_parts_is_read_from_the_etag(etag: str, count: int | None) -> None:
    assert part_count(etag) == count
