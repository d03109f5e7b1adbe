"""Several object stores in one configuration: what is refused, and what is warned of."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.config import Config, load_config, parse_config, warnings_of
from gateway.errors import ConfigError

TEXT = """
[s3]
credentials_file = "/etc/cts/s3"
{s3}
[s3.stores.archive]
credentials_file = "/etc/cts/archive"
{archive}
[sites.dev]
work_dir = "/scratch/cts"
"""


def read(s3: str = "", archive: str = "") -> Config:
    return parse_config(tomllib.loads(TEXT.format(s3=s3, archive=archive)), "f")


@pytest.mark.parametrize(
    ("s3", "archive", "said"),
    [
        ("", 'endpoint = "x"', "f: s3.stores.archive.endpoint: unknown key; did you mean 'endpoi"),
        ("", "max_upload = 5", "f: s3.stores.archive.max_upload: unknown key; "),
        ("", 'buckets = ["a_b"]', "f: s3.stores.archive.buckets.0: String should match pattern"),
        ("", 'buckets = ["a*b"]', "f: s3.stores.archive.buckets.0: String should match pattern"),
        ("", 'buckets = ["*"]', "f: s3: buckets: '*' is of s3 and of s3.stores.archive; a bucket"),
        (
            'buckets = ["lab"]',
            'buckets = ["lab", "old"]',
            "f: s3: buckets: 'lab' is of s3 and of s3.stores.archive; a bucket lies in one",
        ),
        ("", "insecure = true", "f: s3: s3.stores.archive has another ca_file or insecure than a"),
        (
            'log_bucket_prefix = "old:logs"',
            "",
            "f: s3: log_bucket_prefix names the store 'old', and there is none",
        ),
        (
            'log_bucket_prefix = "archive:logs/x"',
            'buckets = ["logs"]',
            "f: s3: log_bucket_prefix needs no archive: before the bucket, which lies there",
        ),
        (
            'buckets = ["lab"]\nlog_bucket_prefix = "logs/x"',
            "",
            "f: s3: log_bucket_prefix: no store has 'logs' among its buckets",
        ),
        ("", 'check_prefix = "archive:x/y"', "must be a bucket of this store, or bucket/prefix"),
    ],
)
def test_what_cannot_be_is_told(s3: str, archive: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(s3, archive)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["Archive", "a_b", "-a", "x" * 64])
def test_a_name_that_no_path_could_have_is_refused(name: str) -> None:
    text = TEXT.replace("stores.archive", f"stores.{name}").format(s3="", archive="")
    with pytest.raises(ConfigError, match="a store's name is lower-case letters, digits and -"):
        parse_config(tomllib.loads(text))


def test_logs_may_lie_in_a_store_that_is_named() -> None:
    assert read('log_bucket_prefix = "archive:logs/cts"').s3.log_bucket_prefix


def test_each_store_is_reached_by_users_at_its_own_address() -> None:
    public = 'endpoint_url = "https://{0}.in"\npublic_endpoint_url = "https://{0}.out"'
    config = read(public.format("s3"), public.format("archive"))
    found = {name: store.endpoint_url for name, store in config.s3.public().each().items()}
    assert found == {"": "https://s3.out", "archive": "https://archive.out"}


def test_an_insecure_store_and_keys_that_others_can_read_are_warned_of(tmp_path: Path) -> None:
    file, keys = tmp_path / "gateway.toml", tmp_path / "keys"
    keys.touch(mode=0o644)
    archive = 'endpoint_url = "https://archive.example.org"\ninsecure = true'
    text = TEXT.replace("/etc/cts/archive", str(keys)).format(s3="", archive=archive)
    file.write_text(text)
    assert sorted(warnings_of(file, load_config(file))) == [
        f"s3.stores.archive.credentials_file {keys} can be read by others (mode 0644): chmod 600 {keys}",
        "s3.stores.archive.insecure is true: whoever is in between can read and change the data of "
        "https://archive.example.org; name its CA in s3.stores.archive.ca_file instead",
    ]
