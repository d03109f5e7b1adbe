"""Object stores for the tests: moto in this process, RGW of the dev cluster, and one that answers as it is told."""

from __future__ import annotations

import socket
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config as BotoConfig

from gateway.config import S3Section
from gateway.s3.client import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1 << 20


def section(endpoint: str, folder: Path, key: str = "key", secret: str = "secret") -> S3Section:
    """Write a credentials file and return the settings that name it."""
    file = folder / f"credentials-{uuid.uuid4().hex}"
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    return S3Section(endpoint_url=endpoint, credentials_file=file)


@dataclass(frozen=True)
class Place:
    """A store with an empty bucket, a client of its owner, and the gateway's `ObjectStore`."""

    endpoint: str
    bucket: str
    client: S3Client
    store: ObjectStore

    def put(self, key: str, data: bytes, **more: Any) -> None:
        """Write an object in one piece."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **more)

    def put_parts(self, key: str, sizes: Sequence[int], **more: Any) -> None:
        """Write an object in parts of those sizes."""
        upload = self.client.create_multipart_upload(Bucket=self.bucket, Key=key, **more)
        parts: list[Any] = []
        checksum = {name: more[name] for name in ("ChecksumAlgorithm",) if name in more}
        for number, size in enumerate(sizes, 1):
            done = self.client.upload_part(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload["UploadId"],
                PartNumber=number,
                Body=bytes([number % 256]) * size,
                **checksum,
            )
            sums = {name: value for name, value in done.items() if name.startswith("Checksum")}
            parts.append({"PartNumber": number, "ETag": done["ETag"]} | sums)
        self.client.complete_multipart_upload(
            Bucket=self.bucket,
            Key=key,
            UploadId=upload["UploadId"],
            MultipartUpload={"Parts": parts},
        )

    def get(self, key: str) -> bytes:
        """Read an object."""
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def uploads(self) -> list[str]:
        """Keys of the multipart uploads that are under way."""
        page = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [row["Key"] for row in page.get("Uploads", [])]

    def names(self) -> list[str]:
        """Keys of the objects."""
        return [
            row["Key"]
            for row in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        ]


@contextmanager
def bucket_at(endpoint: str, folder: Path, key: str, secret: str) -> Iterator[Place]:
    """Make a bucket at a store, and remove it with all it holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=BotoConfig(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    place = Place(
        endpoint,
        f"test-{uuid.uuid4().hex}",
        client,
        ObjectStore(section(endpoint, folder, key, secret)),
    )
    client.create_bucket(Bucket=place.bucket)
    try:
        yield place
    finally:
        for name in place.names():
            client.delete_object(Bucket=place.bucket, Key=name)
        client.delete_bucket(Bucket=place.bucket)


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def scripted(answer: Callable[[str, str], Answer]) -> Iterator[str]:
    """Serve HTTP; `answer` makes status, headers and body of a method and a path. Gives the endpoint's URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            status, headers, body = answer(self.command, self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = _any  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def blunt(said: bytes | None) -> Iterator[str]:
    """Serve a socket that answers everybody with those bytes; None: that takes connections and says nothing."""
    held: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            held.append(connection)
            if said is not None:
                connection.recv(65536)
                connection.sendall(said)
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()
        for connection in held:
            connection.close()


def xml(code: str) -> bytes:
    """Return the body of an error of S3."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
