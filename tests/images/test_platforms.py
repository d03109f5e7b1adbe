"""Which of an image's platforms is a site's."""

from __future__ import annotations

import pytest

from gateway.config import SiteSection
from gateway.images.platforms import best


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64/v3"], "linux/amd64", "linux/amd64/v3"),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64"], "linux/amd64/v3", None),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        (["windows/amd64"], "linux/amd64", None),
        (["linux/amd64x"], "linux/amd64", None),
        ([], "linux/amd64", None),
    ],
)
def test_the_same_is_taken_or_any_variant_where_none_is_wanted(
    there: list[str], wanted: str, found: str | None
) -> None:
    assert best(there, wanted) == found


@pytest.mark.parametrize("name", ["amd64", "linux/AMD64", "windows/amd64", "linux/amd64/", "x y"])
def test_a_site_runs_linux_on_one_architecture(name: str) -> None:
    with pytest.raises(ValueError, match="platform"):
        SiteSection.model_validate({"work_dir": "/x", "platform": name})
