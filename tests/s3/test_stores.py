"""Which store a bucket lies in, how it is asked, and whose certificates a node trusts at it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.agent.files import Trust as NodeTrust
from gateway.agent.s3http import trust_of
from gateway.config import S3Section, StoreSection
from gateway.errors import AppCode, GatewayError
from gateway.s3.client import ObjectStore
from gateway.s3.paths import parse_object, parse_prefix
from gateway.s3.stores import store_of, trusts
from tests.s3.places import scripted, section

HERE = Path("/c")


def several(*default: str, **stores: tuple[str, ...]) -> S3Section:
    made = {name: StoreSection(credentials_file=HERE, buckets=b) for name, b in stores.items()}
    return S3Section(credentials_file=HERE, buckets=default, stores=made)


MANY = several("*", cold=("cold", "lab-old-*"), lab=("lab-*", "cold-lab"), hidden=())


@pytest.mark.parametrize(
    ("bucket", "store"),
    [
        ("results", ""),
        ("cold", "cold"),
        ("cold-lab", "lab"),
        ("colder", ""),
        ("lab-1", "lab"),
        ("lab-old-1", "cold"),
        ("lab", ""),
        ("hidden:results", "hidden"),
        ("hidden:cold", "hidden"),
        ("cold:lab-1", "cold"),
    ],
)
def test_a_store_is_chosen_by_the_bucket_or_by_its_name(bucket: str, store: str) -> None:
    assert store_of(MANY, bucket) == store


@pytest.mark.parametrize(
    ("bucket", "said"),
    [
        ("warm:x", "names the object store 'warm', which is not there; known: cold, hidden, lab."),
        ("cold:cold", "without need; write 'cold': it lies in 'cold' by its own name."),
        ("lab:lab-1", "without need; write 'lab-1': it lies in 'lab'"),
    ],
)
def test_an_object_has_one_path(bucket: str, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        store_of(MANY, bucket)
    assert caught.value.code is AppCode.ILLEGAL_S3_PATH
    assert said in caught.value.message


def test_a_bucket_in_no_store_is_told_with_those_that_are_and_the_way_out() -> None:
    with pytest.raises(GatewayError) as caught:
        store_of(several("results", cold=("cold-*",)), "other")
    assert caught.value.message == (
        "The bucket 'other' lies in none of the object stores; their buckets are: cold-*, results. "
        "Name the store, as in cold:other, or ask the admins to add it to the buckets of one."
    )


def test_a_path_may_name_a_store() -> None:
    assert parse_object("cold:bucket/a:b").bucket == "cold:bucket"
    assert str(parse_object("cold:bucket/a:b")) == "cold:bucket/a:b"
    assert str(parse_prefix(" cold:bucket")) == "cold:bucket/"


@pytest.mark.parametrize(
    "text", ["Cold:bucket/k", ":bucket/k", "cold:/k", "a:b:bucket/k", "cold: bucket/k", "-a:abc/k"]
)
def test_what_names_no_store_is_no_path(text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_object(text)
    assert caught.value.code is AppCode.ILLEGAL_S3_PATH


def test_each_call_goes_to_the_store_of_its_bucket_which_knows_no_names(tmp_path: Path) -> None:
    asked: list[tuple[str, str, str]] = []

    def answers(name: str) -> AbstractContextManager[str]:
        def answer(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
            asked.append((name, method, path.partition("?")[0]))
            return 200, {"ETag": f'"{"e" * 32}"'}, b""

        return scripted(answer)

    with answers("one") as one, answers("two") as two:
        second = section(two, tmp_path).model_copy(update={"stores": {}})
        other = StoreSection(
            **second.model_dump(include=set(StoreSection.model_fields)) | {"buckets": ("cold",)}
        )
        config = section(one, tmp_path).model_copy(update={"stores": {"two": other}})
        store = ObjectStore(config)
        store.inspect_all([("results", "k"), ("cold", "k"), ("two:results", "k")])
        granted = [urlsplit(store.grant_get(b, "k").url) for b in ("results", "two:results")]
    assert sorted(asked) == [
        ("one", "HEAD", "/results/k"),
        ("two", "HEAD", "/cold/k"),
        ("two", "HEAD", "/results/k"),
    ]
    assert [f"{url.scheme}://{url.netloc}" for url in granted] == [one, two]
    assert {url.path for url in granted} == {"/results/k"}


@pytest.mark.parametrize("addressing", ["path", "virtual"])
@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        (None, "us-east-1"),
        (None, "eu-central-1"),
        (None, "cn-north-1"),
        ("https://S3.example.org", "us-east-1"),
        ("https://s3.example.org:443", "us-east-1"),
        ("https://s3.example.org:9000", "default"),
        ("https://10.0.0.7:9000", "default"),
    ],
)
def test_a_node_trusts_at_each_url_what_its_store_says(
    tmp_path: Path, endpoint: str | None, region: str, addressing: str
) -> None:
    fields = {"endpoint_url": endpoint, "region": region, "addressing": addressing}
    config = section("https://example.org", tmp_path)
    keys = config.credentials_file
    store = StoreSection.model_validate(
        {"credentials_file": keys, "insecure": True, "buckets": ("cold",), **fields}
    )
    config = config.model_copy(update={"stores": {"cold": store}})
    told = [NodeTrust(each.host, each.ca_file, each.insecure) for each in trusts(config)]
    objects = ObjectStore(config)
    for bucket, insecure in (("cold", True), ("other", False)):
        host = urlsplit(objects.grant_get(bucket, "k").url).netloc
        assert trust_of(told, host).insecure is insecure, host


def test_a_store_without_tls_needs_no_trust_and_what_is_not_known_has_the_systems() -> None:
    assert trusts(several("*").model_copy(update={"endpoint_url": "http://s3"})) == []
    assert trust_of((), "s3.example.org") == NodeTrust("", None, False)
    deep = (NodeTrust("s3.org", "/a"), NodeTrust("eu.s3.org", "/b"))
    assert [trust_of(deep, f"x.{host}").ca_file for host in ("s3.org", "eu.s3.org")] == ["/a", "/b"]
    assert trust_of(deep, "nots3.org").ca_file is None
