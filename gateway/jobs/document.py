"""From the bytes of a request to a checked document, and from pydantic's errors to the protocol's.

Nothing here knows what a job is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from gateway.errors import AppCode, ErrorDetail, GatewayError

MAX_DEPTH = 64
MAX_DETAILS = 100
MAX_VALUES = (
    100_000  # commas outside texts; 10,000 input files, each with checksum and data id, have 30,000
)

_MARKS = re.compile(r'["\\\[\]{},]')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

Place = tuple[str | int, ...]


def load_json(text: bytes) -> object:
    """Read JSON (RFC 8259) and nothing wider.

    Refused are other encodings than UTF-8, a byte order mark, NaN and Infinity, numbers too large
    for a float, lone surrogates, a name twice in one object, nesting deeper than 64, and more than 100,000 values:
    a mistake in each would cost gigabytes.

    Raises
    ------
    GatewayError
        REQUEST_VALIDATION, with the place where it is known.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _bad(f"The body is not UTF-8 at byte {exc.start}; send JSON in UTF-8.") from exc
    _check_shape(decoded)
    try:
        value: object = json.loads(
            decoded,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except json.JSONDecodeError as exc:
        raise _bad(
            f"The body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}.",
            "json_invalid",
        ) from exc
    except ValueError as exc:  # Python's bound on the digits of a whole number
        raise _bad("The body has a whole number of too many digits; write fewer.") from exc
    if _SURROGATE.search(decoded):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as exc:
            raise _bad(
                "The body has half of a surrogate pair (\\ud800 to \\udfff), which is no "
                "character; write the whole pair, or the character itself."
            ) from exc
    return value


def place_text(loc: Iterable[str | int]) -> str:
    """Write a place for a person: `params.args[2].flag`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.isprintable() and len(part) <= 100 else repr(part[:100])
            text += f".{shown}" if text else shown
    return text or "the request"


def details_of(
    exc: ValidationError,
    explain_unknown: Callable[[Place], str],
    hidden: frozenset[str] = frozenset(),
) -> tuple[ErrorDetail, ...]:
    """Turn pydantic's errors into the protocol's; each `msg` says the rule and what would be right.

    Parameters
    ----------
    exc
        What pydantic raised.
    explain_unknown
        Makes the message for a field that is not known, from its place.
    hidden
        Parts of places that are not in the document: tags of unions.

    Returns
    -------
    tuple of ErrorDetail
        At most 100, then one that says how many there are more.
    """
    errors = exc.errors(include_url=False)
    details = [_detail(error, explain_unknown, hidden) for error in errors[:MAX_DETAILS]]
    if len(errors) > MAX_DETAILS:
        details.append(ErrorDetail((), f"and {len(errors) - MAX_DETAILS} more errors", "too_many"))
    return tuple(details)


def _detail(
    error: Any, explain_unknown: Callable[[Place], str], hidden: frozenset[str]
) -> ErrorDetail:
    kind: str = error["type"]
    ctx: dict[str, Any] = error.get("ctx", {})
    # "[key]" is pydantic's mark for the name, rather than the value, of an item of an object.
    loc: Place = tuple(part for part in error["loc"] if part != "[key]" and part not in hidden)
    loc += tuple(ctx.get("at", ()))
    if kind == "extra_forbidden":
        msg = explain_unknown(loc)
    elif kind == "value_error" and "error" in ctx:
        msg = str(ctx["error"])
    elif "text" in ctx:
        msg = ctx["text"]
    else:
        msg = _say(kind, ctx, error)
    return ErrorDetail(loc, msg, kind)


def _say(kind: str, ctx: dict[str, Any], error: Any) -> str:
    got = f", not {_show(error['input'])}"
    sayings = {
        "int_type": "must be a whole number, without quotes or a fraction" + got,
        "bool_type": "must be true or false" + got,
        "string_type": "must be text" + got,
        "tuple_type": "must be a list" + got,
        "dict_type": "must be an object {name: value}" + got,
        "model_type": "must be an object {field: value}" + got,
        "model_attributes_type": "must be an object {field: value}" + got,
        "missing": "is required; add this field",
        "greater_than_equal": f"must be at least {ctx.get('ge')}{got}",
        "less_than_equal": f"must be at most {ctx.get('le')}{got}",
        "enum": f"must be {ctx.get('expected')}{got}",
        "too_long": f"must have at most {ctx.get('max_length')} entries",
        "string_too_long": f"must have at most {ctx.get('max_length')} characters",
        "string_too_short": f"must have at least {ctx.get('min_length')} character",
    }
    return sayings.get(kind, str(error["msg"]))


def _show(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 60 else text[:60] + "…"
    return "a list" if isinstance(value, list | tuple) else "an object"


def _check_shape(text: str) -> None:
    """Bound the nesting before the parser recurses, which has no bound of its own but the stack, and the values."""
    depth = values = 0
    inside = False
    skip = -1
    for mark in _MARKS.finditer(text):
        char = mark[0]
        if mark.start() == skip:
            continue
        if char == '"':
            inside = not inside
        elif inside:
            if char == "\\":
                skip = mark.start() + 1
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _bad(f"The body is nested deeper than {MAX_DEPTH} levels; write it flatter.")
        elif char in "]}":
            depth -= 1
        else:
            values += 1
            if values > MAX_VALUES:
                raise _bad(
                    f"The body has more than {MAX_VALUES:,} values; a job has at most 10,000 input files: write several jobs."
                )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _bad(f"The name {name[:100]!r} is twice in one object; give each name once.")
        found[name] = value
    return found


def _no_constant(name: str) -> object:
    raise _bad(f"The body has {name}, which is no JSON; write a finite number.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _bad(f"The number {text[:60]} is too large; write a smaller one.")
    return number


def _bad(message: str, kind: str = "value_error") -> GatewayError:
    return GatewayError(AppCode.REQUEST_VALIDATION, message, (ErrorDetail((), message, kind),))
