"""What of an output directory is uploaded, and what fails the container (docs/node-protocol.md)."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from gateway.agent.outputs import OutputError, scan
from gateway.agent.place import remove_tree


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


def test_a_socket_is_refused_by_name(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        with pytest.raises(OutputError, match="'sock' is a socket"):
            scan(tmp_path, "/output_files")


def test_a_link_to_a_fifo_is_refused_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "pipe")
    (tmp_path / "a").symlink_to("d/pipe")
    with pytest.raises(OutputError, match="is a FIFO"):
        scan(tmp_path, "/output_files")


def test_a_name_that_is_no_utf8_in_a_folder_is_told_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / os.fsdecode(b"\xff\xfe")).touch()
    with pytest.raises(OutputError, match=r"'d/\\xff\\xfe' is not UTF-8"):
        scan(tmp_path, "/output_files")


def test_links_to_links_are_followed_to_the_file_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "real").write_text("abc")
    (tmp_path / "up").symlink_to("d/../d/e")
    (tmp_path / "one").symlink_to("/output_files/up/real")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OutputError, match="'up' is a link to a directory"):
        scan(tmp_path, "/output_files")
    (tmp_path / "up").unlink()
    (tmp_path / "one").unlink()
    (tmp_path / "one").symlink_to("/output_files//./d/e/../e/real")
    found = {f.path: f.real for f in scan(tmp_path, "/output_files")}
    real = tmp_path.resolve() / "d" / "e" / "real"
    assert found == {"d/e/real": real, "one": real, "two": real}


@pytest.mark.parametrize(
    "target", ["/output_files", "/output_files/../etc/passwd", "/output_filesx/y"]
)
def test_an_absolute_link_is_read_as_the_container_saw_it(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OutputError, match="'link' is a link"):
        scan(tmp_path, "/output_files")


def test_the_output_directory_may_be_deep_in_the_container(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("abc")
    (tmp_path / "link").symlink_to("/data/run/out/x")
    assert [f.path for f in scan(tmp_path, "/data/run/out")] == ["link", "x"]


def test_empty_folders_are_no_outputs_and_hard_links_are_files(tmp_path: Path) -> None:
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden").write_text("h")
    os.link(tmp_path / ".hidden", tmp_path / "again")
    assert [f.path for f in scan(tmp_path, "/output_files")] == [".hidden", "again"]


def test_rights_that_the_container_took_away_keep_no_output_back() -> None:
    """As a user to whom modes mean something: root reads everything."""
    folder = Path(tempfile.mkdtemp())
    try:
        root = folder / "out"
        for name in ("none", "readable"):
            (root / name / "deep").mkdir(parents=True)
            (root / name / "deep" / "file").write_text("abc")
        (root / "none" / "link").symlink_to("../readable/deep/file")
        (root / "none" / "deep" / "file").chmod(0)
        (root / "readable" / "deep" / "file").chmod(0o200)
        (root / "none" / "deep").chmod(0o300)
        (root / "readable" / "deep").chmod(0o444)
        (root / "readable").chmod(0o111)
        (root / "none").chmod(0)
        reader, writer = os.pipe()
        if os.getuid() == 0:
            folder.chmod(0o711)
            for path in [root, *root.rglob("*")]:
                os.chown(path, 12345, 12345, follow_symlinks=False)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setgid(12345)
                    os.setuid(12345)
                found = scan(root, "/output_files")
                texts = [f.real.read_text() for f in found]
                os.write(writer, repr(([f.path for f in found], texts)).encode())
                remove_tree(root / "none")
                code = 0 if not (root / "none").exists() else 2
            except BaseException as exc:  # noqa: BLE001 - told to the parent
                os.write(writer, repr(exc).encode())
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader) as answer:
            said = answer.read()
        _, status = os.waitpid(child, 0)
        names = ["none/deep/file", "none/link", "readable/deep/file"]
        assert said == repr((names, ["abc"] * 3))
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        remove_tree(folder)


def test_a_tree_is_removed_whatever_its_modes_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    (tree / "a").chmod(0)
    tree.chmod(stat.S_IRUSR)
    remove_tree(tree)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()
