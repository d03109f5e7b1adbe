"""Image names are read as Docker reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AppCode, GatewayError
from gateway.images.names import ImageName, parse_image

SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        (" alpine\n", "docker.io/library/alpine:latest"),
        ("user/tool", "docker.io/user/tool:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/u/t:1", "docker.io/u/t:1"),
        ("docker.io/library/alpine", "docker.io/library/alpine:latest"),
        (f"alpine@{SHA}", f"docker.io/library/alpine@{SHA}"),
        (f"alpine:3@{SHA}", f"docker.io/library/alpine:3@{SHA}"),
        ("ghcr.io/kbase/collections:checkm2_0.1.6", "ghcr.io/kbase/collections:checkm2_0.1.6"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x/y:t", "localhost:5000/x/y:t"),
        ("host:5000/x", "host:5000/x:latest"),
        ("10.0.0.1:5000/a__b/c--d.e_f", "10.0.0.1:5000/a__b/c--d.e_f:latest"),
        ("HOST/x", "HOST/x:latest"),
        ("docker:20", "docker.io/library/docker:20"),
        ("quay.io/a/b/c/d", "quay.io/a/b/c/d:latest"),
    ],
)
def test_a_name_is_normalised(text: str, reference: str) -> None:
    image = parse_image(text)
    assert image.reference == reference == str(image)
    assert parse_image(image.reference) == image


def test_the_parts_of_a_name_are_apart() -> None:
    image = parse_image(f"ghcr.io/a/b:1@{SHA}")
    assert image == ImageName("ghcr.io", "a/b", "1", SHA)
    assert image.name == "ghcr.io/a/b"
    assert image.pinned(SHA) == f"ghcr.io/a/b@{SHA}"


def test_a_digest_alone_gets_no_tag() -> None:
    assert parse_image(f"alpine@{SHA}").tag is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 characters"),
        ("  ", "0 characters"),
        ("a" * 1001, "1001 characters"),
        ("alpine@md5:" + "0" * 32, "sha256: and 64"),
        ("alpine@sha256:" + "0" * 63, "sha256: and 64"),
        ("alpine@sha256:" + "A" * 64, "sha256: and 64"),
        ("alpine@", "sha256: and 64"),
        (f"alpine@{SHA}@{SHA}", "sha256: and 64"),
        ("al pine", "character ' '"),
        ("alpine;rm", "character ';'"),
        ("alpine$x", "character '$'"),
        ("alpïne", "character 'ï'"),
        ("alpine\nx", "character '\\n'"),
        ("Alpine", "upper-case"),
        ("ghcr.io/Kbase/x", "'kbase'"),
        ("docker://alpine", "docker://"),
        ("alpine:", "tag ''"),
        ("alpine:-x", "tag '-x'"),
        ("alpine:" + "t" * 129, "a tag is"),
        ("a:b:c", "tag 'b:c'"),
        ("ghcr.io/", "empty component"),
        ("ghcr.io//x", "empty component"),
        ("/x", "empty component"),
        ("-x/y", "component '-x'"),
        ("x_/y", "component 'x_'"),
        ("a..b", "component 'a..b'"),
        ("host:99999/x", "registry 'host:99999'"),
        ("host:/x", "registry 'host:'"),
        ("-host.io/x", "registry '-host.io'"),
        ("0" * 64, "bare digest"),
        ("ghcr.io/" + "a" * 256, "256 characters"),
        (f"@{SHA}", "empty component"),
    ],
)
def test_a_bad_name_is_refused_with_the_rule(text: str, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_image(text)
    assert caught.value.code is AppCode.IMAGE_NAME_PARSE
    assert said in caught.value.message
    assert caught.value.message.isprintable()


@given(st.text(max_size=30) | st.text("aA1.:/@-_", max_size=30))
def test_any_text_is_taken_and_round_trips_or_is_refused(text: str) -> None:
    try:
        image = parse_image(text)
    except GatewayError as exc:
        code = exc.code
    else:
        assert parse_image(image.reference) == image
        assert not image.reference.startswith("-")
        return
    assert code is AppCode.IMAGE_NAME_PARSE
