"""Each trouble with a registry has its own sentence; crane itself is a script of the test's, saying what crane says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ImagesSection
from gateway.errors import AppCode, GatewayError
from gateway.images.crane import Crane, ImageConfig

NAME = "reg.example.org:5000/bio/tool:1.0"
DIGEST = "sha256:" + "ab" * 32
GET = "Error: GET https://reg.example.org:5000/v2/bio/tool/manifests/1.0: "

Make = Callable[..., Crane]


@pytest.fixture
def crane(tmp_path: Path) -> Make:
    """Make a crane that runs the given shell script; settings are those of [images]."""

    def make(body: str, **settings: Any) -> Crane:
        path = tmp_path / "crane"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return Crane(ImagesSection(crane=str(path), **settings))

    return make


def says(text: str) -> str:
    return f"cat >&2 <<'END'\n{text}\nEND\nexit 1"


def prints(config: Any) -> str:
    text = config if isinstance(config, str) else json.dumps(config)
    return f"cat <<'END'\n{text}\nEND"


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(GatewayError) as caught:
        act()
    assert caught.value.code is AppCode.IMAGE_FETCH
    return caught.value.message


def test_a_digest_is_asked_for_with_an_argument_list(crane: Make, tmp_path: Path) -> None:
    asks = crane(f'printf "%s\\n" "$@" > {tmp_path}/asked; echo {DIGEST}')
    assert asks.digest("docker.io/library/a:$(id)") == DIGEST
    assert (tmp_path / "asked").read_text().split("\n")[:-1] == [
        "digest",
        "--",
        "docker.io/library/a:$(id)",
    ]


def test_only_a_registry_without_tls_is_asked_insecurely(crane: Make, tmp_path: Path) -> None:
    asks = crane(
        f'echo "$@" >> {tmp_path}/asked; echo {DIGEST}', insecure_registries=("127.0.0.1:5000",)
    )
    asks.digest("127.0.0.1:5000/a:1")
    asks.digest("127.0.0.1:50001/a:1")
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert "--insecure" in first
    assert "--insecure" not in second


def test_crane_gets_the_roads_of_the_installation_and_nothing_else(
    crane: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("https_proxy", "http://p:1"), ("NO_PROXY", "x"), ("AWS_SECRET", "s")):
        monkeypatch.setenv(name, value)
    asks = crane(f"env > {tmp_path}/env; echo {DIGEST}", docker_config_dir="/etc/cts/docker")
    asks.digest(NAME)
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert found["https_proxy"] == "http://p:1"
    assert found["NO_PROXY"] == "x"
    assert found["DOCKER_CONFIG"] == "/etc/cts/docker"
    assert "AWS_SECRET" not in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{GET}MANIFEST_UNKNOWN: manifest unknown; map[Tag:1.0]",
            f"There is no image {NAME} in its registry (manifest unknown)",
        ),
        (f"{GET}NAME_UNKNOWN: repository name not known", f"There is no image {NAME} in its"),
        (f"{GET}unexpected status code 404 Not Found", f"There is no image {NAME} in its"),
        (f"{GET}UNAUTHORIZED: authentication required", f"refuses access to {NAME} (unauthorized)"),
        (f"{GET}DENIED: requested access is denied", f"refuses access to {NAME} (unauthorized)"),
        (
            "Error: GET https://auth.example.org/token: unexpected status code 401 Unauthorized",
            f"refuses access to {NAME} (unauthorized)",
        ),
        (f"{GET}unexpected status code 403 Forbidden", f"refuses access to {NAME}"),
        (f"{GET}TOOMANYREQUESTS: You have reached your pull rate limit", "asked too often"),
        (f"{GET}unexpected status code 503 Service Unavailable", "cannot be reached; try again"),
        (
            'Error: Get "https://reg.example.org:5000/v2/": dial tcp 127.0.0.1:5000: connect: '
            "connection refused",
            "cannot be reached; try again later",
        ),
        (
            'Error: Get "https://reg.example.org:5000/v2/": dial tcp: lookup reg.example.org on '
            "10.0.0.1:53: no such host",
            f"There is no host of that name for the registry of {NAME}",
        ),
        (
            'Error: Get "https://reg.example.org:5000/v2/": dial tcp 10.0.0.1:5000: i/o timeout',
            "cannot be reached; try again later",
        ),
        (
            'Error: Get "https://reg.example.org:5000/v2/": net/http: TLS handshake timeout',
            "cannot be reached; try again later",
        ),
        ('Error: Get "https://reg.example.org:5000/v2/": EOF', "cannot be reached; try again"),
        (
            'Error: Get "https://reg.example.org:5000/v2/": x509: certificate signed by unknown '
            "authority",
            "no certificate that the gateway trusts",
        ),
        (
            'Error: Get "https://reg.example.org:5000/v2/": http: server gave HTTP response to '
            "HTTPS client",
            "images.insecure_registries",
        ),
        (
            'Error: Get "https://reg.example.org:5000/v2/": http: server gave HTTP response to HTTPS '
            "client; GET http://reg.example.org:5000/v2/: unexpected status code 404 Not Found: <?xml",
            "is no image registry; check host and port",
        ),
        (
            'Error: Get "http://h:22/v2/": net/http: HTTP/1.x transport connection broken: malformed '
            'HTTP status code "Debian-1"',
            "is no image registry; check host and port",
        ),
        (
            f"{GET}unsupported MediaType: application/vnd.docker.distribution.manifest.v1+json",
            "in a form that crane cannot read (unsupported media type); push it again",
        ),
        ("Error: something new", f"crane could not look up {NAME}: something new"),
        ("", f"crane could not look up {NAME}: no message"),
    ],
)
def test_each_trouble_has_its_own_sentence(crane: Make, text: str, said: str) -> None:
    before = "2026/11/24 06:04:40 HEAD request failed, falling back on GET: status code 404\n"
    message = failure(lambda: crane(says(before + text if text else "")).digest(NAME))
    assert said in message


@pytest.mark.parametrize(
    "name", ["reg:40401/a/b:1", "reg/EOF/denied:404", f"reg/a@sha256:{'401403' * 10}4040"]
)
def test_a_number_in_a_name_is_not_taken_for_an_answer(crane: Make, name: str) -> None:
    refused = crane(says(f"Error: GET https://{name}: something new"))
    assert "crane could not look up" in failure(lambda: refused.digest(name))


def test_a_long_word_of_a_registry_is_cut(crane: Make) -> None:
    assert len(failure(lambda: crane(says("Error: " + "x" * 100_000)).digest(NAME))) < 500


@pytest.mark.parametrize("digest", ["", "sha256:12", f"{DIGEST}0", f"{DIGEST}\n{DIGEST}", "md5:1"])
def test_what_is_no_digest_is_not_taken_for_one(crane: Make, digest: str) -> None:
    assert "as the digest of" in failure(lambda: crane(prints(digest)).digest(NAME))


def test_a_crane_that_is_missing_is_told(tmp_path: Path) -> None:
    lost = Crane(ImagesSection(crane=f"{tmp_path}/crane"))
    assert "crane cannot be run" in failure(lambda: lost.digest(NAME))
    assert "No such file" in failure(lost.version)


def test_a_crane_that_may_not_be_run_is_told(crane: Make, tmp_path: Path) -> None:
    asks = crane("true")
    (tmp_path / "crane").chmod(0o644)
    assert "Permission denied" in failure(lambda: asks.digest(NAME))


def test_a_crane_that_hangs_is_given_up(crane: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = crane("exec sleep 60")
    monkeypatch.setattr(
        hangs,
        "_config",
        ImagesSection.model_construct(
            crane=hangs._config.crane,
            timeout_seconds=0.3,  # type: ignore[arg-type]
            insecure_registries=(),
            docker_config_dir=None,
        ),
    )
    message = failure(lambda: hangs.digest(NAME))
    assert message == f"The registry of {NAME} gave no answer in 0.3 s; try again later."


class TestConfigurations:
    def test_what_the_runtime_needs_is_read(self, crane: Make, tmp_path: Path) -> None:
        config: dict[str, Any] = {"Entrypoint": ["/bin/tool"], "Cmd": ["-h"], "WorkingDir": "/data"}
        config["Env"] = ["PATH=/bin", "A=b=c"]
        whole = {"architecture": "amd64", "os": "linux", "config": config}
        asks = crane(f'echo "$@" > {tmp_path}/asked; {prints(whole)}')
        assert asks.config(NAME) == ImageConfig(
            ["/bin/tool"], ["-h"], "/data", {"PATH": "/bin", "A": "b=c"}
        )
        assert (tmp_path / "asked").read_text() == f"config -- {NAME}\n"

    @pytest.mark.parametrize(
        "config",
        [{}, {"config": None}, {"config": {}}, {"config": {"Entrypoint": None, "WorkingDir": ""}}],
    )
    def test_what_is_not_said_is_nothing(self, crane: Make, config: Any) -> None:
        assert crane(prints(config)).config(NAME) == ImageConfig([], [], "/", {})

    @pytest.mark.parametrize(
        "config",
        [
            "",
            "<html>",
            "[]",
            "7",
            "null",
            "[" * 20_000,
            {"config": [1]},
            {"config": 7},
            {"config": {"Entrypoint": "/bin/tool -x"}},
            {"config": {"Entrypoint": [1]}},
            {"config": {"Cmd": {"a": 1}}},
            {"config": {"WorkingDir": ["/"]}},
            {"config": {"Env": {"A": "b"}}},
        ],
    )
    def test_what_is_no_configuration_is_told(self, crane: Make, config: Any) -> None:
        message = failure(lambda: crane(prints(config)).config(NAME))
        assert message == f"The configuration of {NAME} is not an image's JSON."

    @pytest.mark.parametrize(
        ("said", "platform"),
        [
            ({"os": "linux", "architecture": "arm64"}, "linux/arm64"),
            ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64"),
            ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
            ({}, "linux/amd64"),
        ],
    )
    def test_its_platform_is_read(self, crane: Make, said: Any, platform: str) -> None:
        assert crane(prints({**said, "config": {}})).config(NAME).platform == platform


KIND = "application/vnd.oci.image.index.v1+json"


def child(number: int, **platform: str) -> dict[str, Any]:
    return {"digest": f"sha256:{str(number) * 64}", "platform": platform}


class TestManifests:
    def test_an_index_has_its_platforms_and_what_is_built_beside_them_is_none(
        self, crane: Make, tmp_path: Path
    ) -> None:
        children = [
            child(1, os="linux", architecture="arm64", variant="v8"),
            child(2, os="linux", architecture="amd64"),
            child(3, os="unknown", architecture="unknown"),
            child(4, os="linux", architecture="amd64"),
            {"digest": f"sha256:{'5' * 64}"},
            {"digest": "sha256:6", "platform": {"os": "linux", "architecture": "s390x"}},
        ]
        index = {"schemaVersion": 2, "mediaType": KIND, "manifests": children}
        asks = crane(f'echo "$@" > {tmp_path}/asked; {prints(index)}')
        assert asks.platforms(NAME) == {
            "linux/arm64": f"sha256:{'1' * 64}",
            "linux/amd64": f"sha256:{'2' * 64}",
        }
        assert (tmp_path / "asked").read_text() == f"manifest -- {NAME}\n"

    @pytest.mark.parametrize(
        "kind",
        ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"],
    )  # fmt: skip
    def test_an_image_of_one_platform_has_no_index(self, crane: Make, kind: str) -> None:
        manifest = {"schemaVersion": 2, "config": {"mediaType": kind}, "layers": []}
        assert crane(prints(manifest)).platforms(NAME) is None

    @pytest.mark.parametrize(
        ("manifest", "said"),
        [
            ({"schemaVersion": 1, "fsLayers": []}, "a manifest of Docker's schema 1"),
            ({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}, "is no container image: its registry has it as 'application/vnd.cncf.helm"),
            ({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}, "(unsupported media type)"),
            ({}, "is no container image"),
            ({"manifests": []}, "is an index that names no platform"),
            ({"manifests": [{"digest": 1, "platform": {"os": "linux", "architecture": "a"}}]}, "is not an image's JSON"),
            ({"manifests": 7}, "is not an image's JSON"),
            ("<html>", "is not an image's JSON"),
            ([], "is not an image's JSON"),
            ({"config": 7}, "is not an image's JSON"),
        ],
    )  # fmt: skip
    def test_what_is_no_image_is_told(self, crane: Make, manifest: Any, said: str) -> None:
        assert said in failure(lambda: crane(prints(manifest)).platforms(NAME))


class TestLogins:
    def docker(self, tmp_path: Path, **auths: str) -> Path:
        folder = tmp_path / "docker"
        folder.mkdir()
        entries = {host: {"auth": word} for host, word in auths.items()}
        (folder / "config.json").write_text(json.dumps({"auths": entries}))
        return folder

    def test_a_registry_that_refuses_the_gateways_login_is_another_trouble_than_no_login(
        self, crane: Make, tmp_path: Path
    ) -> None:
        refuses = says(f"{GET}UNAUTHORIZED: authentication required")
        without = failure(lambda: crane(refuses).digest(NAME))
        assert "and the gateway has no login for it" in without
        assert "docker login" in without
        folder = self.docker(tmp_path, **{"reg.example.org:5000": "dTpw"})
        wrong = failure(lambda: crane(refuses, docker_config_dir=folder).digest(NAME))
        assert "with the login that the gateway has for it: that is wrong" in wrong
        assert "dTpw" not in wrong
