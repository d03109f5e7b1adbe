"""What runs the script of a job: the interpreter that its first line names, else the image's /bin/sh.

The kernel's rule for `#!` (execve(2)), done here: what is run is an argument list like any other, known before it runs, and
the input directory may be on a file system that executes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SCRIPT_NAME = "cts-script"  # in the input directory
SHELL = "/bin/sh"
_MOST = 255  # bytes of a line that Linux reads (BINPRM_BUF_SIZE)
_FIRST_LINE = re.compile(r"#![ \t]*(/[^ \t]+)(?:[ \t]+(.*?))?[ \t]*")


def interpreter(script: str) -> list[str]:
    """Return the words that go before the path of a script.

    Returns
    -------
    list of str
        A path in the image and, where the first line has more, one argument, blanks in it included.

    Raises
    ------
    ValueError
        When the first line begins with `#!` and names no absolute path, or is too long.
    """
    first = script.split("\n", 1)[0]
    if not first.startswith("#!"):
        return [SHELL]
    if first.endswith("\r"):
        raise ValueError("the line of its interpreter ends in \\r; write it with Unix line ends")
    match = _FIRST_LINE.fullmatch(first)
    if match is None or len(first.encode()) > _MOST:
        raise ValueError(
            f"a first line of #! names an interpreter by its absolute path, such as #!/bin/bash -e, in at most {_MOST} "
            "bytes; without such a line /bin/sh runs it"
        )
    return [match[1], match[2]] if match[2] else [match[1]]


def program(image: Mapping[str, Any], script: str | None, mount: str) -> dict[str, list[str]]:
    """Return what is run: `entrypoint`, before the arguments, and `cmd`, in place of arguments where there are none.

    Those of the image; with a script, its interpreter and its path below the input mount point, and nothing.
    """
    if script is None:
        return {"entrypoint": list(image["entrypoint"]), "cmd": list(image["cmd"])}
    return {"entrypoint": [*interpreter(script), f"{mount}/{SCRIPT_NAME}"], "cmd": []}
