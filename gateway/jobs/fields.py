"""The kinds of value that a job's fields have, each with its rule and an error that says it.

Everything that may come to stand in a batch script has a strict pattern here.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import unicodedata
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, Strict
from pydantic_core import PydanticCustomError

from gateway.array import parse_array
from gateway.errors import AppCode, GatewayError
from gateway.images.names import MAX_NAME, parse_image
from gateway.jobs.constraint import features
from gateway.jobs.globs import parse_glob
from gateway.jobs.quantities import iso_duration, parse_memory, parse_runtime
from gateway.s3.paths import parse_object, parse_prefix

MAX_LITERAL = 1024
S3_PATH_ERROR = "s3_path"
IMAGE_ERROR = "image_name"

_SYSTEM_TREES = ("/proc", "/sys", "/dev", "/etc", "/.singularity.d", "/.apptainer.d")
_SYSTEM_DIRS = frozenset(
    "/" + name
    for name in (
        *("bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "usr/bin", "usr/lib"),
        *("usr/lib64", "usr/local", "usr/local/bin", "usr/local/lib", "usr/sbin"),
        *("var", "run", "tmp", "var/tmp"),
    )
)
_MOUNT = re.compile(r"/(?:[A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]*", re.ASCII)
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]*", re.ASCII)
# Apptainer 1.4 keeps these to itself or acts on them: a container would not get them as they are.
_RUNTIME_NAMES = ("APPTAINER", "SINGULARITY", "SING_USER_DEFINED_")
_RUNTIME_OWN = frozenset({"UID", "GID", "EUID", "PROMPT_COMMAND", "PREPEND_PATH", "APPEND_PATH"})


def error_at(text: str, *where: str | int) -> PydanticCustomError:
    """Make the error of a check over several fields; `where` leads on from the model's place."""
    return PydanticCustomError("value_error", "{text}", {"text": text, "at": where})


def check_text(text: str, most: int, also: str = "", least: int = 1) -> str:
    """Take `least` to `most` characters of which none is a control character, but for `also`.

    Raises
    ------
    ValueError
        With the rule, and the position of the character.
    """
    if not least <= len(text) <= most:
        raise ValueError(f"must have {least} to {most} characters, not {len(text)}")
    for position, char in enumerate(text):
        category = unicodedata.category(char)
        if (category[0] == "C" or category in ("Zl", "Zp")) and char not in also:
            raise ValueError(
                f"must be printable text in one piece; there is U+{ord(char):04X} at position "
                f"{position}"
            )
    return text


def _text(most: int, also: str = "", least: int = 1) -> AfterValidator:
    return AfterValidator(lambda text: check_text(text, most, also, least))


def _pattern(pattern: str, rule: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {rule}, not {text[:100]!r}")
        return text

    return AfterValidator(check)


def _coded(kind: str, read: Callable[[str], object]) -> AfterValidator:
    """Keep the code of a `GatewayError` through pydantic, as the type of the error."""

    def check(text: str) -> str:
        try:
            return str(read(text))
        except GatewayError as exc:
            raise PydanticCustomError(kind, "{text}", {"text": exc.message}) from exc

    return AfterValidator(check)


def _image(text: str) -> str:
    parse_image(text)
    return text.strip()


def _output_dir(text: str) -> str:
    prefix = parse_prefix(text)
    if not prefix.key:
        raise GatewayError(
            AppCode.ILLEGAL_S3_PATH,
            f"The output directory {text[:100]!r} names a bucket alone; add a prefix: "
            f"{prefix.bucket}/results/",
        )
    return str(prefix)


def _input_root(text: str) -> str:
    return str(parse_prefix(text)).rstrip("/") if text.strip() else ""


def _crc64nvme(text: str) -> str:
    rule = "must be the 8 bytes of a CRC64NVME in base64, 12 characters ending in ="
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError(f"{rule}, not {text[:40]!r}") from exc
    if len(raw) != 8 or base64.b64encode(raw).decode("ascii") != text:
        raise ValueError(f"{rule}, not {text[:40]!r}")
    return text


def _mount_point(text: str) -> str:
    if len(text) > MAX_LITERAL:
        raise ValueError(f"must have at most {MAX_LITERAL} characters, not {len(text)}")
    if not _MOUNT.fullmatch(text):
        raise ValueError(
            "must be an absolute path of the characters A-Z a-z 0-9 _ . - and single slashes, "
            f"such as /input_files, not {text[:100]!r}"
        )
    depth = 0
    for segment in text.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(segment, 1)
        if depth < 0:
            raise ValueError(f"{text!r} leads above the root; write a path such as /input_files")
    resolved = posixpath.normpath(text)
    if resolved == "/":
        raise ValueError(f"{text!r} is the root itself; name a directory such as /input_files")
    if resolved in _SYSTEM_DIRS or any(_within(resolved, tree) for tree in _SYSTEM_TREES):
        raise ValueError(
            f"{resolved} belongs to the system of the container; name a directory of its own such "
            "as /input_files"
        )
    return resolved


def _within(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree + "/")


def overlap(one: str, other: str) -> bool:
    """Whether two resolved paths are the same, or one holds the other."""
    return _within(one, other) or _within(other, one)


def _env_name(name: str) -> str:
    if len(name) > 256 or not _ENV_NAME.fullmatch(name):
        raise ValueError(
            "the name of an environment variable is 1 to 256 capitals, digits and underscores, "
            f"not starting with a digit: {name[:100]!r} is none"
        )
    if name.startswith(_RUNTIME_NAMES) or name in _RUNTIME_OWN:
        raise ValueError(
            f"{name} is reserved: {', '.join(sorted(_RUNTIME_OWN))} and names starting with APPTAINER, "
            "SINGULARITY or SING_USER_DEFINED_ belong to the container runtime; choose another"
        )
    return name


def check_variable(name: str, value: str) -> None:
    """Refuse a value that the container runtime would not hand on as it is.

    Raises
    ------
    ValueError
        With the rule.
    """
    if name == "HOME" and (not value.startswith("/") or ":" in value):
        raise ValueError(
            f"HOME must be an absolute path without a colon, such as /tmp, not {value[:100]!r}"
        )


def _array(text: str) -> str:
    parse_array(text)
    return text


def _constraint(text: str) -> str:
    features(text)
    return text


_SLURM_RULE = "1 to 63 letters, digits and _ . + -, starting with a letter or digit"
_LICENSE = r"[A-Za-z0-9][A-Za-z0-9_.-]*(?:@[A-Za-z0-9_.-]+)?(?::[1-9][0-9]{0,5})?"
_SLURM_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}"

Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]
ImageText = Annotated[str, Field(min_length=1, max_length=MAX_NAME), _coded(IMAGE_ERROR, _image)]
ObjectPath = Annotated[str, _coded(S3_PATH_ERROR, parse_object)]
PrefixPath = Annotated[str, _coded(S3_PATH_ERROR, parse_prefix)]
GlobPath = Annotated[str, _coded(S3_PATH_ERROR, parse_glob)]
OutputDir = Annotated[str, _coded(S3_PATH_ERROR, _output_dir)]
InputRoot = Annotated[str, _coded(S3_PATH_ERROR, _input_root)]
Crc64Nvme = Annotated[str, AfterValidator(_crc64nvme)]
DataId = Annotated[str, _text(255)]
Memory = Annotated[int, BeforeValidator(parse_memory)]
Runtime = Annotated[
    int, BeforeValidator(parse_runtime), PlainSerializer(iso_duration, str, when_used="json")
]
MountPoint = Annotated[str, AfterValidator(_mount_point)]
Literal = Annotated[str, _text(MAX_LITERAL)]
ManifestHeader = Annotated[str, _text(1000, also="\t")]
EnvName = Annotated[str, AfterValidator(_env_name)]
Flag = Annotated[
    str,
    _pattern(
        r"(?=.{2,256}\Z)--?[A-Za-z0-9][A-Za-z0-9_.-]*=?",
        "one or two dashes, a letter or digit, then letters, digits, _ . - and possibly a closing "
        "=, at most 256 characters, such as -i or --input=",
    ),
]
Cluster = Annotated[
    str,
    _pattern(r"[a-z0-9][a-z0-9_-]{0,62}", "the name of a site (see GET /sites)"),
]
LabelKey = Annotated[
    str,
    _pattern(
        r"[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?",
        "a label's key: 1 to 63 letters, digits and _ . / -, with a letter or digit at both ends",
    ),
]
LabelValue = Annotated[str, _text(255, least=0)]
Script = Annotated[str, _text(65536, also="\t\n\r")]
Array = Annotated[str, AfterValidator(_array)]
SlurmName = Annotated[str, _pattern(_SLURM_NAME, _SLURM_RULE)]
Constraint = Annotated[str, AfterValidator(_constraint)]
Licenses = Annotated[
    str,
    _pattern(
        rf"(?=.{{1,255}}\Z){_LICENSE}(?:,{_LICENSE})*",
        "licenses as name, name:count or name@server:count with commas between: cfs,scratch:2",
    ),
]
JobId = Annotated[str, _pattern(r"[1-9][0-9]{0,17}", 'the id of a job as text, such as "1234"')]
Principal = Annotated[
    str,
    _pattern(
        r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}",
        "the name of a user or group: 1 to 64 letters, digits and _ . @ -",
    ),
]
