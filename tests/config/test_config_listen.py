"""[api]: the listener needs an address that is one, and TLS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, listen_address, parse_config, warnings_of
from gateway.errors import ConfigError

FILES = {"tls_certificate": "/etc/cts/tls.crt", "tls_key": "/etc/cts/tls.key"}


def config(**api: Any) -> Config:
    """A configuration with these keys of [api]."""
    return parse_config(
        {
            "api": api,
            "s3": {"credentials_file": "/etc/cts/s3"},
            "sites": {"dev": {"work_dir": "/scratch/cts"}},
        }
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.0.0.0:8443", ("0.0.0.0", 8443)),
        ("[::]:8443", ("::", 8443)),
        ("[2001:db8::7]:443", ("2001:db8::7", 443)),
        ("gateway.example.org:1", ("gateway.example.org", 1)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, found: tuple[str, int]) -> None:
    section = config(listen=text, **FILES).api
    assert section.listen == text
    assert listen_address(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "8443",
        ":8443",
        "a",
        "a:",
        "a:0",
        "a:65536",
        "::1:8443",
        "a:8443\n",
        "https://a:1",
        "a:\u0661",
        "[::]8443",
    ],
)
def test_what_is_none_is_told_its_form(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("must be host:port, such as 0.0.0.0:8443")):
        config(listen=text, **FILES)


@pytest.mark.parametrize("left_out", ["tls_certificate", "tls_key"])
def test_there_is_no_listener_without_tls(left_out: str) -> None:
    files = {key: value for key, value in FILES.items() if key != left_out}
    with pytest.raises(ConfigError, match="api: listen needs tls_certificate and tls_key"):
        config(listen="0.0.0.0:8443", **files)


@pytest.mark.parametrize("days", [0, -1, 3651, "30", 1.5])
def test_the_longest_time_of_a_token_has_bounds(days: object) -> None:
    with pytest.raises(ConfigError, match="token_max_days"):
        config(token_max_days=days)


def test_a_key_that_others_can_read_and_files_without_effect_are_told(tmp_path: Path) -> None:
    key = tmp_path / "tls.key"
    key.touch(0o640)
    found = warnings_of(Path("gateway.toml"), config(tls_key=str(key)))
    assert any("are not used: there is no api.listen" in line for line in found)
    assert any(f"api.tls_key {key} can be read by others" in line for line in found)
    key.chmod(0o600)
    files = {**FILES, "tls_key": str(key)}
    assert warnings_of(Path("gateway.toml"), config(listen="a:1", **files)) == []


def test_a_ca_file_for_nodes_is_that_of_a_url() -> None:
    site = {"work_dir": "/scratch/cts", "grants_ca_file": "/a.pem"}
    with pytest.raises(ConfigError, match=r"sites\.dev: grants_ca_file needs the grants_url"):
        parse_config({"s3": {"credentials_file": "/etc/cts/s3"}, "sites": {"dev": site}})


def test_a_road_for_nodes_that_leads_to_no_listener_is_told() -> None:
    url = "https://cts.example.org:8443"
    raw: dict[str, Any] = {
        "s3": {"credentials_file": "/etc/cts/s3"},
        "sites": {"dev": {"work_dir": "/scratch/cts", "grants_url": url}},
    }
    found = warnings_of(Path("gateway.toml"), parse_config(raw))
    assert [line for line in found if f"sites.dev.grants_url {url}: nothing" in line] == found
    raw["api"] = {"listen": "a:1", **FILES}
    assert warnings_of(Path("gateway.toml"), parse_config(raw)) == []
