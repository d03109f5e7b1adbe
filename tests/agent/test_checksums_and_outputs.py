"""The agent's checksums against known values, and what of an output directory may be uploaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateway.agent import crc64
from gateway.agent.complete import part_list
from gateway.agent.hashing import Digest
from gateway.agent.outputs import OutputError, scan


def test_the_portable_crc_has_the_check_value_of_the_catalogue() -> None:
    assert crc64.portable(b"123456789") == 0xAE8B14860A799888
    assert crc64.encode(0xAE8B14860A799888) == "rosUhgp5mIg="


@pytest.mark.parametrize("size", [0, 1, 7, 65535, 65536, 65543, 200_003])
def test_the_portable_crc_equals_that_of_awscrt(size: int) -> None:
    native = crc64.native()
    assert native is not None
    data = os.urandom(size)
    assert crc64.portable(data) == native(data, 0)
    assert crc64.portable(data[size // 3 :], crc64.portable(data[: size // 3])) == native(data, 0)


@pytest.mark.parametrize("chunk", [1, 3, 4, 5, 100])
def test_the_etag_of_unequal_parts_does_not_depend_on_how_the_bytes_come(chunk: int) -> None:
    data, sizes = b"0123456789abc", [4, 7, 2]
    digest = Digest(whole=True, part_sizes=sizes, crc=False)
    for at in range(0, len(data), chunk):
        digest.update(data[at : at + chunk])
    joined = b"".join(hashlib.md5(p).digest() for p in (data[:4], data[4:11], data[11:]))
    assert digest.etag == f"{hashlib.md5(joined).hexdigest()}-3"
    assert digest.md5 == hashlib.md5(data).digest()


def test_the_part_list_numbers_parts_from_one() -> None:
    assert b"<PartNumber>1</PartNumber><ETag>&quot;" not in part_list([b"\0"])
    assert b'<Part><PartNumber>1</PartNumber><ETag>"00"</ETag></Part>' in part_list([b"\0"])


def test_files_in_folders_and_links_inside_are_outputs(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a b.txt").write_text("abc")
    (tmp_path / "relative").symlink_to("d/a b.txt")
    (tmp_path / "absolute").symlink_to("/output_files/d/a b.txt")
    found = scan(tmp_path, "/output_files")
    assert [(f.path, f.size) for f in found] == [("absolute", 3), ("d/a b.txt", 3), ("relative", 3)]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "nowhere", "self", "d"])
def test_a_link_out_or_nowhere_or_in_a_circle_or_to_a_folder_is_refused(
    tmp_path: Path, target: str
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "self").symlink_to(target)
    with pytest.raises(OutputError, match="'self'"):
        scan(tmp_path, "/output_files")


def test_a_link_out_through_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("/etc")
    (tmp_path / "x").symlink_to("up/passwd")
    with pytest.raises(OutputError, match="out of the output directory"):
        scan(tmp_path, "/output_files")


def test_a_fifo_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="'pipe' is a FIFO"):
        scan(tmp_path, "/output_files")


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).touch()
    with pytest.raises(OutputError, match="not UTF-8"):
        scan(tmp_path, "/output_files")
