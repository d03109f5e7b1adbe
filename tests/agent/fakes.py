"""An object store and a daemon for tests of the agent: real HTTP, real files, faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from gateway.agent.crc import CRC32, CRC64NVME

SECRET = "X-Amz-Signature=5ec7e7"


class Stored:
    """An object: its bytes and ETag."""

    def __init__(self, data: bytes, etag: str) -> None:
        self.data = data
        self.etag = etag


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def etag_of(data: bytes, part_sizes: list[int] | None = None) -> str:
    if part_sizes is None:
        return md5(data).hex()
    digests, at = [], 0
    for size in part_sizes:
        digests.append(md5(data[at : at + size]))
        at += size
    return f"{md5(b''.join(digests)).hex()}-{len(part_sizes)}"


Fault = Callable[["Handler"], bool]


class Handler(BaseHTTPRequestHandler):
    """GET with ranges and If-Match, PUT with Content-MD5, multipart uploads; as S3 answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeS3

    def log_message(self, *args: object) -> None:
        pass

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    @property
    def query(self) -> dict[str, str]:
        return {
            k: v[0] for k, v in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()
        }

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, code: str, message: str = "no") -> None:
        xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self.close_connection = True
        self.answer(status, xml.encode(), Connection="close")

    def _common(self) -> bool:
        with self.server.lock:
            self.server.requests.append((self.command, self.key, dict(self.headers.items())))
            self.server.connections.add(self.client_address)
            fault = next((f for f in self.server.faults if f.left > 0 and f.matches(self)), None)
            if fault is not None:
                fault.left -= 1
        if fault is not None:
            fault.act(self)
            return True
        if float(self.query.get("expires", "9e18")) < time.time():
            self.error(403, "AccessDenied", "Request has expired")
            return True
        return False

    def do_GET(self) -> None:
        if self._common():
            return None
        stored = self.server.objects.get(self.key)
        if stored is None:
            return self.error(404, "NoSuchKey")
        wanted = self.headers.get("If-Match")
        if wanted is not None and wanted.strip('"') != stored.etag:
            return self.error(412, "PreconditionFailed")
        honest(self)
        return None

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def do_PUT(self) -> None:
        if self._common():
            return None
        body = self._body()
        if len(body) < int(self.headers["Content-Length"]):
            return self.error(400, "IncompleteBody")
        given = self.headers.get("Content-MD5")
        if given is not None and base64.b64decode(given) != md5(body):
            return self.error(400, "BadDigest")
        said = self.server.crcs(body) if self.server.says_crc else {}
        if any(self.headers.get(name, value) != value for name, value in said.items()):
            return self.error(400, "BadDigest")
        if self.key not in self.server.writable:
            return self.error(403, "AccessDenied")
        query = self.query
        if "uploadId" in query:
            parts = self.server.uploads.get(query["uploadId"])
            if parts is None:
                return self.error(404, "NoSuchUpload")
            parts[int(query["partNumber"])] = body
        else:
            self.server.objects[self.key] = Stored(body, md5(body).hex())
        self.answer(200, ETag=f'"{md5(body).hex()}"', **said)
        return None

    def do_POST(self) -> None:
        if self._common():
            return None
        body = self._body()
        parts = self.server.uploads.pop(self.query["uploadId"], None)
        if parts is None:
            return self.error(404, "NoSuchUpload")
        numbers = [int(n) for n in re.findall(rb"<PartNumber>(\d+)<", body)]
        etags = [e.decode() for e in re.findall(rb'<ETag>"?([0-9a-f]+)"?<', body)]
        if numbers != sorted(parts) or etags != [md5(parts[n]).hex() for n in numbers]:
            return self.error(400, "InvalidPart")
        data = b"".join(parts[n] for n in numbers)
        etag = etag_of(data, [len(parts[n]) for n in numbers])
        self.server.objects[self.key] = Stored(data, etag)
        crc = CRC64NVME.encode(CRC64NVME.of(data, 0)) if self.server.says_crc else ""
        said = f"<ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME>" if crc else ""
        xml = f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag>{said}</CompleteMultipartUploadResult>"
        self.answer(200, xml.encode())
        return None


def asked(handler: Handler) -> tuple[int, bytes, dict[str, str]]:
    """What of an object a GET asks for: status, bytes, headers."""
    stored = handler.server.objects[handler.key]
    extra = {"ETag": f'"{stored.etag}"'}
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    if found is None:
        return 200, stored.data, extra
    begin, end = int(found[1]), min(int(found[2]), len(stored.data) - 1)
    extra["Content_Range"] = f"bytes {begin}-{end}/{len(stored.data)}"
    return 206, stored.data[begin : end + 1], extra


def honest(handler: Handler) -> None:
    """Answer a GET as it should be answered."""
    code, data, headers = asked(handler)
    handler.answer(code, data, **headers)


def part_of(handler: Handler, count: Callable[[int], int], promise: int | None = None) -> None:
    """Answer with the first `count` of the bytes asked for, having promised them all (or `promise`)."""
    code, data, headers = asked(handler)
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(data) if promise is None else promise))
    handler.end_headers()
    handler.wfile.write(data[: count(len(data))])
    handler.wfile.flush()


class _Fault:
    def __init__(
        self, matches: Callable[[Handler], bool], act: Callable[[Handler], None], times: int
    ):
        self.matches = matches
        self.act = act
        self.left = times


class FakeS3(ThreadingHTTPServer):
    """The store. `objects` by key; `fault` plans trouble for requests to come."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.says_crc = True  # as stores do that know x-amz-checksum-…
        self.writable: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections: set[Any] = set()
        self.faults: list[_Fault] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        pass

    def put(self, key: str, data: bytes, part_sizes: list[int] | None = None) -> str:
        etag = etag_of(data, part_sizes)
        self.objects[key] = Stored(data, etag)
        return etag

    @staticmethod
    def crcs(data: bytes) -> dict[str, str]:
        """What a store says of bytes, by header."""
        return {kind.header: kind.encode(kind.of(data, 0)) for kind in (CRC64NVME, CRC32)}

    def fault(
        self, act: Callable[[Handler], None], *, method: str = "", key: str = "", times: int = 1
    ) -> None:
        self.faults.append(
            _Fault(lambda h: h.command.startswith(method) and h.key.startswith(key), act, times)
        )

    def heal(self) -> None:
        """Forget all faults."""
        self.faults.clear()

    def count(self, method: str, key: str = "") -> int:
        return sum(1 for m, k, _ in self.requests if m == method and k.startswith(key))


def status(code: int, name: str, **headers: str) -> Callable[[Handler], None]:
    """Answer with an error; the body of the request is read first."""

    def act(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        xml = f"<Error><Code>{name}</Code><Message>injected</Message></Error>".encode()
        handler.answer(code, xml, **headers)

    return act


def drop(handler: Handler) -> None:
    """Cut the connection without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def truncated(handler: Handler) -> None:
    """Promise the whole object and cut the connection after the half."""
    part_of(handler, lambda length: length // 2)
    drop(handler)


def corrupted(handler: Handler) -> None:
    """Answer with one byte that is another."""
    code, data, headers = asked(handler)
    wrong = bytearray(data)
    wrong[len(wrong) // 2] ^= 1
    handler.answer(code, bytes(wrong), **headers)


def misjudged(length: int) -> Callable[[Handler], None]:
    """Say another Content-Length than was asked for."""

    def act(handler: Handler) -> None:
        part_of(handler, lambda _: min(length, 10), promise=length)
        drop(handler)

    return act


def stalled(seconds: float) -> Callable[[Handler], None]:
    """Send some bytes and then none for a while."""

    def act(handler: Handler) -> None:
        part_of(handler, lambda _: 10)
        time.sleep(seconds)
        drop(handler)

    return act


def silent(seconds: float) -> Callable[[Handler], None]:
    """Take the request and do not answer it."""

    def act(handler: Handler) -> None:
        time.sleep(seconds)
        drop(handler)

    return act


def trickle(seconds: float) -> Callable[[Handler], None]:
    """Send a byte every 20 ms: never silent, never done."""

    def act(handler: Handler) -> None:
        part_of(handler, lambda _: 0)
        data = asked(handler)[1]
        end, at = time.monotonic() + seconds, 0
        try:
            while time.monotonic() < end:
                handler.wfile.write(data[at : at + 1])
                handler.wfile.flush()
                at += 1
                time.sleep(0.02)
            drop(handler)
        except OSError:
            handler.close_connection = True

    return act


def together(count: int) -> Callable[[Handler], None]:
    """Answer when `count` requests are there at the same time; cut them off when that never is."""
    barrier = threading.Barrier(count)

    def act(handler: Handler) -> None:
        try:
            barrier.wait(5)
        except threading.BrokenBarrierError:
            drop(handler)
            return
        honest(handler)

    return act


def zeros(size: int) -> Callable[[Handler], None]:
    """Answer ranges of an object of so many zero bytes, without having them."""

    def act(handler: Handler) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        begin, end = (int(found[1]), int(found[2]) + 1) if found else (0, size)
        handler.send_response(206 if found else 200)
        handler.send_header("Content-Length", str(end - begin))
        handler.end_headers()
        block = bytes(1 << 20)
        for at in range(begin, end, len(block)):
            handler.wfile.write(block[: end - at])

    return act


def error_in_200(handler: Handler) -> None:
    """What CompleteMultipartUpload may do: 200, and an error in the body."""
    handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.answer(200, b"<Error><Code>InternalError</Code><Message>again</Message></Error>")


class FakeDaemon:
    """Answers requests in a mailbox as docs/node-protocol.md says.

    `inputs` maps an input's id to its key; outputs go below `prefix`. `grant_seconds` may be
    negative, for grants that have expired already; `deaf` requests are not answered. A new grant of a
    multipart upload is for the same upload, or not (`same_upload`).
    """

    def __init__(self, s3: FakeS3, work: Path, job_id: int, prefix: str = "out") -> None:
        self.s3 = s3
        self.mailbox = work / "mailbox"
        self.job_dir = work / "jobs" / str(job_id)
        self.inputs: dict[int, str] = {}
        self.prefix = prefix
        self.requests: list[dict[str, Any]] = []
        self.grant_seconds: list[float] = []
        self.deaf = 0
        self.refuse: str | None = None
        self.grant_nothing = False
        self.part_size = 1000
        self.same_upload = True
        self._uploads = 0
        self._of: dict[str, str] = {}
        self._ended = False
        self._seen: set[str] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended = True
        self._thread.join(5)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [request for request in self.requests if request["kind"] == kind]

    def wait_for(self, kind: str) -> None:
        """Wait until a request of a kind was taken."""
        deadline = time.monotonic() + 30
        while not self.of(kind):
            assert time.monotonic() < deadline, f"no {kind} request came"
            time.sleep(0.005)

    def _serve(self) -> None:
        while not self._ended:
            for path in sorted(self.mailbox.glob(f"{self.job_dir.name}.*.json")):
                request = json.loads(path.read_bytes())
                assert path.name == "{job_id}.{container}.{slurm_job_id}.{seq}.json".format(
                    **request
                )
                assert path.name not in self._seen, "a seq was used twice"
                self._seen.add(path.name)
                self.requests.append(request)
                path.unlink()
                if request["kind"] in ("stage-in", "stage-out"):
                    if self.deaf:
                        self.deaf -= 1
                        continue
                    self._answer(request)
            time.sleep(0.005)

    def begun(self, path: str, parts: dict[int, bytes]) -> None:
        """Have an upload under way that has some parts."""
        self._uploads += 1
        upload = self._of[path] = f"u{self._uploads}"
        self.s3.uploads[upload] = dict(parts)

    def _url(self, key: str, seconds: float, **query: str) -> str:
        extra = "".join(f"&{k}={v}" for k, v in query.items())
        return f"{self.s3.url}/{quote(key)}?expires={time.time() + seconds:.3f}&{SECRET}{extra}"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the daemon says to a request."""
        seconds = self.grant_seconds.pop(0) if self.grant_seconds else 3600.0
        inputs = [
            {"id": id_, "url": self._url(self.inputs[id_], seconds), "headers": {}}
            for id_ in request.get("inputs", [])
        ]
        outputs = [self._output(item, seconds) for item in request.get("outputs", [])]
        nothing = self.refuse is not None or self.grant_nothing
        return {"version": 1, "seq": request["seq"], "expires": time.time() + seconds,
                "error": self.refuse, "inputs": [] if nothing else inputs,
                "outputs": [] if nothing else outputs}  # fmt: skip

    def _answer(self, request: dict[str, Any]) -> None:
        answer = self.answer(request)
        folder = self.job_dir / str(request["container"]) / "grants"
        name = f"{request['slurm_job_id']}.{request['seq']}.json"
        temporary = folder / f".{name}.tmp-x"
        temporary.write_text(json.dumps(answer))
        if self.job_dir.owner() != temporary.owner():
            shutil.chown(temporary, self.job_dir.owner())
        temporary.rename(folder / name)

    def _output(self, item: dict[str, Any], seconds: float) -> dict[str, Any]:
        key = f"{self.prefix}/{item['path']}"
        self.s3.writable.add(key)
        checksum = item.get("checksum") or {"algorithm": "CRC64NVME", "value": item["crc64nvme"]}
        md5s = item.get("part_md5s")
        if md5s is None and item["size"] > self.part_size:
            md5s = [None] * -(-item["size"] // self.part_size)
        if md5s is None:
            headers = {} if "md5" not in item else {"Content-MD5": item["md5"]}
            if checksum["value"] is not None:
                headers[f"x-amz-checksum-{checksum['algorithm'].lower()}"] = checksum["value"]
            put = {"url": self._url(key, seconds), "headers": headers}
            return {"path": item["path"], "put": put, "multipart": None}
        upload = self._of.get(item["path"])
        if upload is None or not self.same_upload:
            self._uploads += 1
            upload = self._of[item["path"]] = f"u{self._uploads}"
            self.s3.uploads[upload] = {}
        parts = [
            {"number": n, "headers": {} if given is None else {"Content-MD5": given},
             "url": self._url(key, seconds, uploadId=upload, partNumber=str(n))}
            for n, given in enumerate(md5s, 1)
        ]  # fmt: skip
        complete = {"url": self._url(key, seconds, uploadId=upload), "headers": {}}
        there = [
            {"number": number, "size": len(part), "etag": md5(part).hex()}
            for number, part in sorted(self.s3.uploads[upload].items())
        ]
        multipart = {
            "part_size": self.part_size,
            "parts": parts,
            "complete": complete,
            "there": there,
        }
        return {"path": item["path"], "put": None, "multipart": multipart}
