"""Ids as users write them on the command line: 1234, 1234_0, 1234_0.run; several with commas between."""

from __future__ import annotations

from gateway.cli.common import NO_SUCH, UserError
from gateway.errors import GatewayError
from gateway.ids import JobRef, parse_ref


def ref_of(text: str) -> JobRef:
    """Read an id of any form.

    Raises
    ------
    UserError
        When it is none.
    """
    try:
        return parse_ref(text)
    except GatewayError as exc:
        raise UserError(f"{exc.message} (appcode {exc.code.code})", NO_SUCH) from exc


def job_of(text: str, remedy: str) -> str:
    """Read the id of a job, where a container cannot be meant.

    Parameters
    ----------
    text
        What the user wrote.
    remedy
        The command that the user could give; `{job}` in it stands for the job.

    Raises
    ------
    UserError
        For a container or a phase, naming its job; for what is no id.
    """
    ref = ref_of(text)
    if ref.container is not None:
        what = "a container" if ref.phase is None else "a phase of a container"
        raise UserError(
            f"{text} is {what}, and this is done to whole jobs only: "
            + remedy.format(job=ref.job_id)
        )
    return str(ref.job_id)


def listed(text: str) -> list[str]:
    """Split `12,13_0, 14` at its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
