"""Files that the daemon writes beside a container's inputs: manifests, the script."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable

from .files import ContractError, Generated


def write_generated(folder: Path, files: Iterable[Generated]) -> None:
    """Write each into the input directory, read-only, synced.

    Raises
    ------
    ContractError
        For a name that is no plain name.
    OSError
        When the disk does not take it.
    """
    for file in files:
        if "/" in file.path or file.path in ("", ".", ".."):
            raise ContractError(f"the file {file.path!r} does not lie in the input directory")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(folder / file.path, flags, 0o444)
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(handle, 0o444)  # whatever the umask
            stream.write(file.text.encode())
            stream.flush()
            os.fsync(handle)
