"""What tests of whole jobs share."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from devclusterlib.storage import S3_KEYS

from tests.conftest import DevCluster
from tests.s3.places import Place, bucket_at


@pytest.fixture(scope="module")
def place(site: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A bucket of the gateway's own at the dev cluster's RGW."""
    endpoint = json.loads(site.tool("env").stdout)["s3_endpoint"]
    with bucket_at(endpoint, tmp_path_factory.mktemp("s3"), *S3_KEYS["cts"]) as made:
        yield made
