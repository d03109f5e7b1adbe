"""Where a job's containers see the reference data of their image."""

from __future__ import annotations

from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.fields import overlap
from gateway.jobs.params import Params
from gateway.store.tables import Image

_WHERE = ("params", "refdata_mount_point")


def refdata_mount_point(image: Image, params: Params) -> str | None:
    """Return where a job sees the data of its image: where it asks for it, else where the image has it by default.

    Returns
    -------
    str or None
        None where the image has no reference data.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER for a place without data or one that overlaps with another mount point, MISSING_PARAMETER for
        data without a place.
    """
    asked = params.refdata_mount_point
    if image.refdata_id is None:
        if asked is not None:
            raise _refused(
                AppCode.ILLEGAL_PARAMETER,
                f"the image {image.name} has no reference data that could be there; leave it out",
            )
        return None
    found = asked or image.default_refdata_mount_point
    if found is None:
        raise _refused(
            AppCode.MISSING_PARAMETER,
            f"the image {image.name} has reference data {image.refdata_id} and no default place for it; say where a "
            "container is to see it, such as /refdata",
        )
    for field in ("input_mount_point", "output_mount_point"):
        other = getattr(params, field)
        if overlap(found, other):
            raise _refused(
                AppCode.ILLEGAL_PARAMETER,
                f"the image has its reference data at {found}, and the {field} {other} is the same or one is inside the "
                "other; give one of them another place",
            )
    return found


def _refused(code: AppCode, text: str) -> GatewayError:
    return GatewayError(code, f"params.refdata_mount_point: {text}.", (ErrorDetail(_WHERE, text),))
