"""Where a job sees the data of its image: the job says it, or the image has it by default."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.mounts import refdata_mount_point
from gateway.jobs.params import Params
from gateway.store.tables import Image


def _image(refdata_id: int | None = 3, default: str | None = None) -> Image:
    return Image(
        name="ghcr.io/kbase/sum",
        digest="sha256:1",
        entrypoint=["/sum"],
        cmd=[],
        registered_by="ada",
        registered_on=datetime.now(UTC),
        refdata_id=refdata_id,
        default_refdata_mount_point=default,
    )


@pytest.mark.parametrize(
    ("default", "asked", "found"),
    [("/db", None, "/db"), ("/db", "/mine", "/mine"), (None, "/mine", "/mine")],
)
def test_the_jobs_place_goes_before_that_of_the_image(
    default: str | None, asked: str | None, found: str
) -> None:
    params = Params(refdata_mount_point=asked)
    assert refdata_mount_point(_image(default=default), params) == found


def test_an_image_without_data_has_no_place_for_it() -> None:
    assert refdata_mount_point(_image(None), Params()) is None


@pytest.mark.parametrize(
    ("image", "params", "code", "says"),
    [
        (_image(None), Params(refdata_mount_point="/db"), AppCode.ILLEGAL_PARAMETER, "no reference data that could be there"),
        (_image(), Params(), AppCode.MISSING_PARAMETER, "no default place for it; say where"),
        (_image(default="/input_files/db"), Params(), AppCode.ILLEGAL_PARAMETER, "input_mount_point /input_files"),
        (_image(default="/db"), Params(output_mount_point="/db/out"), AppCode.ILLEGAL_PARAMETER, "output_mount_point /db/out"),
        (_image(default="/db"), Params(input_mount_point="/db"), AppCode.ILLEGAL_PARAMETER, "input_mount_point /db"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_is_refused_where_it_stands_in_the_document(
    image: Image, params: Params, code: AppCode, says: str
) -> None:
    with pytest.raises(GatewayError) as refused:
        refdata_mount_point(image, params)
    assert refused.value.code is code
    assert says in refused.value.message
    assert refused.value.details[0].loc == ("params", "refdata_mount_point")
