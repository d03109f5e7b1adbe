"""`place`: an empty bucket, at moto and (on the dev cluster) at Ceph RGW."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from devclusterlib.storage import S3_KEYS

from tests.conftest import DevCluster
from tests.s3.places import Place, bucket_at


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def rgw(site: DevCluster) -> tuple[str, dict[str, tuple[str, str]]]:
    """Endpoint of the dev cluster's RGW, and the keys of its users."""
    return json.loads(site.tool("env").stdout)["s3_endpoint"], S3_KEYS


@pytest.fixture(scope="module", params=["moto", pytest.param("rgw", marks=pytest.mark.cluster)])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("s3")
    if request.param == "moto":
        endpoint, keys = request.getfixturevalue("moto"), ("key", "secret")
    else:
        endpoint, users = request.getfixturevalue("rgw")
        keys = users["cts"]
    with bucket_at(endpoint, folder, *keys) as made:
        yield made
