"""The TLS listener of the dev cluster as it is reached from the host, which shares the cluster's loopback."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.client import Client
from tests.conftest import DevCluster


@dataclass(frozen=True)
class Remote:
    """Where the listener is; the CA's certificate as a file in the site, and as a copy outside."""

    url: str
    ca_inside: str
    ca: Path

    @classmethod
    def of(cls, site: DevCluster, folder: Path) -> Remote:
        """Find it; the certificate is copied into a folder."""
        facts = json.loads(site.tool("env").stdout)
        ca = folder / "ca.pem"
        ca.write_text(site.run("cat", facts["ca_file"]).stdout)
        return cls(facts["url"], facts["ca_file"], ca)

    def client(self, token: str) -> Client:
        """A Python client."""
        return Client(url=self.url, token=token, ca_file=str(self.ca))

    @contextmanager
    def http(self, token: str | None = None) -> Iterator[httpx.Client]:
        """Plain HTTP, as any program speaks it."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.ca))
        with httpx.Client(
            base_url=self.url, verify=context, headers=headers, timeout=60, trust_env=False
        ) as http:
            yield http


def make(site: DevCluster, user: str, *options: str) -> tuple[str, str]:
    """Make a token as a user does; returns its id and the whole."""
    made = json.loads(site.run("cts", "token", "create", "--json", *options, user=user).stdout)
    return made["id"], made["token"]
