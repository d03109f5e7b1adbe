"""Unpacking reference data: what it should give, and every way that is known of doing harm by an archive."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.agent.mailbox import Stop, Stopped
from gateway.agent.place import remove_tree
from gateway.agent.tar import Tar
from gateway.agent.tree import Bounds, Refused, Tree
from gateway.agent.unpack import unpack, zstd_by_program
from tests.agent.archives import (
    BLOCK,
    Endless,
    entry,
    gzip_bomb,
    header,
    sparse_bomb,
    tar,
    zip_bomb,
    zipped,
)

GB = 10**9
ROOMY = Bounds(1 << 24, 1000, reserve=0)
Unpack = Callable[..., Path]


@pytest.fixture
def into(tmp_path: Path) -> Iterator[Unpack]:
    """Unpack bytes, or a file, into a directory of its own beside a file that must never change."""
    outside = tmp_path / "outside"
    outside.write_text("secret")
    made: list[Path] = []

    def run(data: bytes | Path, kind: str = "tar", bounds: Bounds = ROOMY, **more: Any) -> Path:
        archive = data if isinstance(data, Path) else tmp_path / "archive"
        if isinstance(data, bytes):
            archive.write_bytes(data)
        target = tmp_path / f"unpacked-{len(made)}"
        target.mkdir()
        made.append(target)
        unpack(archive, kind, "one", target, bounds, more.pop("stop", Stop()), **more)
        return target

    yield run
    assert outside.read_text() == "secret"
    assert {path.name for path in tmp_path.iterdir()} <= {"outside", "archive", "bomb"} | {
        path.name for path in made
    }
    for target in made:
        remove_tree(target)


def _files(target: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


# What it gives


SMALL = [
    entry("data/", kind=tarfile.DIRTYPE),
    entry("data/a.txt", b"alpha"),
    entry("data/deep/er/b.bin", bytes(100_000)),
    entry("data/ü ñ'$(x).txt", b"odd"),
]
WANTED = {
    "data/a.txt": b"alpha",
    "data/deep/er/b.bin": bytes(100_000),
    "data/ü ñ'$(x).txt": b"odd",
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_of_each_format_comes_out_as_it_went_in(into: Unpack, form: int) -> None:
    assert _files(into(tar(*SMALL, form=form))) == WANTED


def test_a_tar_gz_of_several_gzip_members_is_read_to_its_end(into: Unpack) -> None:
    data = tar(*SMALL)
    packed = gzip.compress(data[:1000]) + gzip.compress(data[1000:])
    assert _files(into(packed, "tar.gz")) == WANTED


def test_a_tar_zst_is_unpacked_by_the_program_where_python_has_no_module(into: Unpack) -> None:
    program = shutil.which("zstd")
    assert program is not None, "install zstd: these tests need it"
    packed = subprocess.run([program, "-q"], input=tar(*SMALL), capture_output=True, check=True)
    assert _files(into(packed.stdout, "tar.zst", program=lambda: program)) == WANTED


def test_without_zstd_the_refusal_says_what_to_install(tmp_path: Path) -> None:
    with (
        pytest.raises(Refused, match="install zstd, or register the data as"),
        zstd_by_program(tmp_path / "archive", None),
    ):
        pass


def test_a_zip_comes_out_as_it_went_in(into: Unpack) -> None:
    members = [(name, data, None) for name, data in WANTED.items()]
    assert _files(into(zipped(("data/", b"", None), *members), "zip")) == WANTED


def test_a_zip_behind_a_program_that_unpacks_itself_is_read(into: Unpack) -> None:
    assert _files(into(b"#!/bin/sh\n" * 50 + zipped(("a", b"x", None)), "zip")) == {"a": b"x"}


def test_a_gz_of_one_file_and_a_file_that_is_not_packed_get_the_name_given(into: Unpack) -> None:
    assert _files(into(gzip.compress(b"acgt" * 1000), "gz")) == {"one": b"acgt" * 1000}
    assert _files(into(b"acgt", "file")) == {"one": b"acgt"}


def test_long_names_of_pax_and_of_gnu_are_taken(into: Unpack) -> None:
    name = "/".join(["directory-of-some-length"] * 12) + "/file"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert _files(into(tar(entry(name, b"x"), form=form))) == {name: b"x"}


def test_links_that_stay_inside_are_kept(into: Unpack) -> None:
    target = into(
        tar(
            entry("v1/db", b"new"),
            entry("current", kind=tarfile.SYMTYPE, linkname="v1"),
            entry("v1/up", kind=tarfile.SYMTYPE, linkname="../v1/db"),
            entry("same", kind=tarfile.LNKTYPE, linkname="v1/db"),
        )
    )
    assert (target / "current" / "db").read_bytes() == b"new"
    assert (target / "v1" / "up").read_bytes() == b"new"
    assert (target / "same").stat().st_ino == (target / "v1" / "db").stat().st_ino


def test_everything_is_read_only_and_no_set_uid_bit_is_left(into: Unpack) -> None:
    target = into(
        tar(entry("d/tool", b"x", mode=0o6777), entry("d/data", b"x", mode=0o666), entry("d/shut", b"x", mode=0))
    )  # fmt: skip
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*")}
    assert modes == {"d": 0o555, "tool": 0o555, "data": 0o444, "shut": 0o444}
    assert stat.S_IMODE(target.stat().st_mode) == 0o555


def test_what_tar_of_this_machine_packs_is_unpacked(into: Unpack, tmp_path: Path) -> None:
    source = tmp_path / "archive"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "x").write_text("x")
    (source / "sub" / "l").symlink_to("x")
    packed = subprocess.run(
        ["tar", "-C", str(source), "-cf", "-", "."], capture_output=True, check=True
    )
    shutil.rmtree(source)
    target = into(packed.stdout)
    assert _files(target) == {"sub/x": b"x"}
    assert os.readlink(target / "sub" / "l") == "x"


# What is refused

LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([entry("/etc/passwd", b"x")], "'/etc/passwd' has an absolute path"),
        ([entry("../outside", b"x")], "'../outside' has '..' in its path"),
        ([entry("a/../../outside", b"x")], "has '..' in its path"),
        ([entry("a/..", kind=tarfile.DIRTYPE)], "has '..' in its path"),
        ([entry("l", kind=LINK, linkname="/etc")], "'l' is a link to '/etc', out of its directory"),
        ([entry("a/l", kind=LINK, linkname="../../outside")], "out of the directory that is unpacked into"),
        ([entry("up", kind=LINK, linkname="."), entry("l", kind=LINK, linkname="up/../outside")], "'..' after a name"),
        ([entry("h", kind=HARD, linkname="/etc/passwd")], "'h' is a hard link to '/etc/passwd' has an absolute path"),
        ([entry("h", kind=HARD, linkname="../outside")], "hard link to '../outside' has '..'"),
        ([entry("h", kind=HARD, linkname="later"), entry("later", b"x")], "no file of the archive before it"),
        ([entry("l", kind=LINK, linkname="."), entry("h", kind=HARD, linkname="l")], "which is a link"),
        ([entry("d/x"), entry("l", kind=LINK, linkname="d"), entry("h", kind=HARD, linkname="l/x")], "no file of the archive"),
        ([entry("l", kind=LINK, linkname="."), entry("l/x", b"x")], "'l/x': 'l' is a directory where the archive has a link already"),
        ([entry("d", kind=tarfile.DIRTYPE), entry("d", kind=LINK, linkname="e"), entry("d/x", b"x")], "twice, or in the place of another"),
        ([entry("l", kind=LINK, linkname="e"), entry("l", kind=tarfile.DIRTYPE)], "where the archive has a link already"),
        ([entry("f", b"x"), entry("f/x", b"x")], "where the archive has a file already"),
        ([entry("f", b"x"), entry("./f", b"y")], "'./f' is in the archive twice"),
        ([entry("f", b"x"), entry("f", kind=LINK, linkname="g")], "'f' is in the archive twice"),
        ([entry("f", b"x"), entry("f", kind=HARD, linkname="f")], "'f' is in the archive twice"),
        ([entry("n", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)], "'n' is a character device"),
        ([entry("n", kind=tarfile.BLKTYPE, devmajor=8)], "'n' is a block device"),
        ([entry("p", kind=tarfile.FIFOTYPE)], "'p' is a FIFO"),
        ([entry("d/" * 101 + "f", b"x")], "more than 100 directories deep"),
        ([entry("x" * 300, b"x")], "cannot be on the site's disk"),
        ([entry("x/" * 3000, b"x")], "has a name of"),
        ([entry(".", b"x")], "has no name of its own"),
        ([], "holds nothing"),
    ],
)  # fmt: skip
def test_a_tar_that_would_do_harm_is_refused_by_the_member_that_does(
    into: Unpack, members: list[Any], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        into(tar(*members))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("/etc/passwd", b"x", None)], "'/etc/passwd' has an absolute path"),
        ([("../outside", b"x", None)], "has '..' in its path"),
        ([("l", b"/etc", stat.S_IFLNK | 0o777)], "'l' is a link to '/etc'"),
        ([("a/l", b"../../outside", stat.S_IFLNK | 0o777)], "out of the directory"),
        ([("l", b".", stat.S_IFLNK | 0o777), ("l/x", b"x", None)], "where the archive has a link"),
        ([("n", b"", stat.S_IFCHR | 0o666)], "'n' is a character device"),
        ([("n", b"", stat.S_IFBLK | 0o666)], "'n' is a block device"),
        ([("p", b"", stat.S_IFIFO | 0o666)], "'p' is a FIFO"),
        ([("s", b"", stat.S_IFSOCK | 0o666)], "'s' is a socket"),
        ([("f", b"x", None), ("f", b"y", None)], "'f' is in the archive twice"),
        ([], "holds nothing"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_that_would_do_harm_is_refused_by_the_member_that_does(
    into: Unpack, members: list[Any], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        into(zipped(*members), "zip")
    assert says in str(refused.value)


def test_a_type_that_is_not_known_is_refused(into: Unpack) -> None:
    with pytest.raises(Refused, match="'s' is of the unknown type b's'"):
        into(header(b"s", kind=b"s") + bytes(1024))


def test_names_that_are_no_utf8_or_hold_a_zero_byte_are_refused(into: Unpack) -> None:
    with pytest.raises(Refused, match=r"'caf\\\\xe9' has a name that is not UTF-8"):
        into(header(b"caf\xe9") + bytes(1024))
    with pytest.raises(Refused, match="has a name that is not UTF-8"):
        into(header(b"l", kind=b"2", target=b"\xff") + bytes(1024))
    record = b"path=a\0b\n"
    record = b"%d %s" % (len(record) + 3, record)
    pax = header(b"pax", len(record), b"x") + record.ljust(BLOCK, b"\0")
    with pytest.raises(Refused, match="zero byte"):
        into(pax + header(b"a") + bytes(1024))


# Bombs


def test_a_sparse_bomb_of_100_gb_is_stopped_before_a_byte_of_it_is_written(
    into: Unpack, tmp_path: Path
) -> None:
    sparse_bomb(tmp_path / "bomb", 100 * GB)
    before = _written(tmp_path)
    with pytest.raises(Refused, match="unpacked, the archive has more than 16777216 bytes"):
        into(tmp_path / "bomb")
    assert _written(tmp_path) == before


def test_a_compressed_bomb_of_100_gb_is_stopped_by_what_it_says_of_itself(
    into: Unpack, tmp_path: Path
) -> None:
    gzip_bomb(tmp_path / "bomb", 100 * (1 << 30))
    with pytest.raises(Refused, match="more than 50000000000 bytes"):
        into(tmp_path / "bomb", "tar.gz", Bounds(50 * GB, 1000, reserve=0))
    assert _written(tmp_path) < 1 << 20


def test_a_bomb_that_says_nothing_of_its_size_is_stopped_at_the_bound(
    into: Unpack, tmp_path: Path
) -> None:
    gzip_bomb(tmp_path / "bomb", 100 * (1 << 30))
    with pytest.raises(Refused, match="more than 16777216 bytes"):
        into(tmp_path / "bomb", "gz")
    assert _written(tmp_path) <= 1 << 24


def test_a_zip_that_says_less_than_it_has_is_stopped_at_what_it_says(
    into: Unpack, tmp_path: Path
) -> None:
    zip_bomb(tmp_path / "bomb", 1 << 28, says=1000)
    with pytest.raises(Refused, match="'bomb' has more than the 1000 bytes that it says"):
        into(tmp_path / "bomb", "zip")
    assert _written(tmp_path) <= 1000


def _written(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.glob("unpacked-*/**/*"))


def test_a_bomb_within_the_bound_is_stopped_before_the_disk_is_full(
    into: Unpack, tmp_path: Path
) -> None:
    sparse_bomb(tmp_path / "bomb", 100 * GB)
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    leave_20_mb = Bounds(1 << 60, 1000, reserve=free - 20 * 10**6)
    with pytest.raises(Refused, match="the site's disk would be full"):
        into(tmp_path / "bomb", bounds=leave_20_mb)
    assert _written(tmp_path) == 0


def test_a_million_members_are_stopped_at_the_bound_and_not_read(tmp_path: Path) -> None:
    endless = Endless(1_000_000)
    tree = Tree(tmp_path, ROOMY, Stop())
    with pytest.raises(Refused, match="more than 1000 members"):
        _fill(tree, Tar(endless))
    tree.close()
    assert endless.read_blocks == 1001
    assert len(list(tmp_path.iterdir())) == 1000


def _fill(tree: Tree, archive: Tar) -> None:
    for member, content in archive:
        tree.add(member, content)


def test_directories_that_are_made_on_the_way_count_as_well(into: Unpack) -> None:
    many = [entry(f"{n}/a/b/c/d/e/f/g/h/i/x", b"") for n in range(100)]
    with pytest.raises(Refused, match="more than 1000 members"):
        into(tar(*many))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"V"])
def test_headers_without_end_before_a_member_are_refused(kind: bytes) -> None:
    with pytest.raises(Refused, match="too many headers"):
        list(Tar(Endless(1_000_000, kind)))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_of_gigabytes_is_not_read_into_memory(into: Unpack, kind: bytes) -> None:
    with pytest.raises(Refused, match="a header of 100000000000 bytes"):
        into(header(b"long", 100 * GB, kind))


def test_sparse_members_of_both_kinds_are_refused(into: Unpack) -> None:
    with pytest.raises(Refused, match="a sparse file"):
        into(header(b"s", kind=b"S") + bytes(1024))
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": "100000000000",
    }
    with pytest.raises(Refused, match="a sparse file"):
        into(tar(entry("s", bytes(512), pax_headers=headers)))


# Broken ones


def test_an_archive_that_is_cut_off_anywhere_is_refused_and_never_half_of_it_taken(
    into: Unpack,
) -> None:
    whole = tar(*SMALL)
    end = len(whole.rstrip(b"\0"))
    for at in (0, 1, 511, 600, 1023, 50_000, end):
        with pytest.raises(Refused, match=r"cut off|no tar archive"):
            into(whole[:at])
    packed = gzip.compress(whole)
    for at in (5, 20, len(packed) // 2):
        with pytest.raises(Refused, match=r"broken|cut off"):
            into(packed[:at], "tar.gz")
    zips = zipped(("a", b"x" * 1000, None))
    for at in (0, 30, len(zips) - 30):
        with pytest.raises(Refused, match="no zip archive, or cut off"):
            into(zips[:at], "zip")


def test_a_cut_off_zst_is_refused_in_the_words_of_zstd(into: Unpack) -> None:
    program = shutil.which("zstd")
    data = tar(entry("random", os.urandom(300_000)))
    packed = subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
    with pytest.raises(Refused, match=r"broken|premature|[Rr]ead error|unfinished"):
        into(packed[: len(packed) // 2], "tar.zst", program=lambda: program)


def test_a_flipped_bit_in_a_header_is_found(into: Unpack) -> None:
    whole = bytearray(tar(*SMALL))
    whole[512 + 10] ^= 1  # in the name of the second member
    with pytest.raises(Refused, match=r"no header at byte 512"):
        into(bytes(whole))


def test_a_flipped_bit_in_a_zip_is_found_by_its_crc(into: Unpack) -> None:
    data = bytearray(zipped(("a", os.urandom(1000), None)))
    data[500] ^= 1
    with pytest.raises(Refused, match="the archive is broken"):
        into(bytes(data), "zip")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "gz", "zip"])
def test_what_is_no_archive_is_told_so(into: Unpack, kind: str) -> None:
    with pytest.raises(Refused, match=r"no tar archive|broken|no zip archive"):
        into(b"this is a text file and nothing else\n" * 100, kind)


def test_an_encrypted_zip_is_refused(into: Unpack) -> None:
    data = bytearray(zipped(("a", b"x", None)))
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    with pytest.raises(Refused, match="'a' is encrypted"):
        into(bytes(data), "zip")


def test_unpacking_ends_when_an_end_is_asked_for(into: Unpack) -> None:
    stop = Stop()
    stop.canceled = True
    with pytest.raises(Stopped):
        into(tar(*SMALL), stop=stop)
