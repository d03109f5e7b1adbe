"""Room that is taken for a file before its bytes come."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from gateway.agent import room


def test_a_file_has_its_size_and_its_room_before_its_bytes_come(tmp_path: Path) -> None:
    size = room.LEAST + 5
    with (tmp_path / "x").open("wb") as file:
        room.reserve(file.fileno(), size)
        found = os.fstat(file.fileno())
    assert found.st_size == size
    assert found.st_blocks * 512 >= size
    assert (tmp_path / "x").read_bytes() == bytes(size)


@pytest.mark.parametrize("size", [0, 1, room.LEAST - 1])
def test_a_small_file_only_has_its_size(tmp_path: Path, size: int) -> None:
    with (tmp_path / "x").open("wb") as file:
        room.reserve(file.fileno(), size)
    assert (tmp_path / "x").stat().st_size == size


def test_a_file_system_that_cannot_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_fallocate", lambda: None)
    with (tmp_path / "x").open("wb") as file:
        room.reserve(file.fileno(), room.LEAST)
    assert (tmp_path / "x").stat().st_size == room.LEAST
    monkeypatch.undo()
    read, write = os.pipe()
    try:
        # A pipe has no room: fallocate says so, and only what comes after it fails.
        with pytest.raises(OSError, match="Invalid") as caught:
            room.reserve(write, room.LEAST)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(read)
        os.close(write)


def test_more_than_may_be_written_is_told_before_a_byte_comes(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "x").open("wb") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room.LEAST, before[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                room.reserve(file.fileno(), 2 * room.LEAST)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
