"""Making and removing directories at a site, whatever modes a container left on them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def make_directories(path: Path) -> None:
    """Make a directory and the missing ones above it, each with mode 0700; OSError when that fails."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def remove_tree(path: str) -> None:
    """Remove a file, a link or a whole directory; nothing there is no error. Links are removed, never followed.

    Raises
    ------
    OSError
        When something of it stays.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        try:
            shutil.rmtree(path)
        except PermissionError:  # programs leave directories that their owner may not write to
            _open_up(path)
            shutil.rmtree(path)
    except (FileNotFoundError, NotADirectoryError):
        return


def _open_up(path: str) -> None:
    Path(path).chmod(0o700)
    with os.scandir(path) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for directory in below:
        _open_up(directory)
