"""A gateway without a site behind it: the services in memory, served over a real Unix socket."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import shutil
import ssl
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import structlog
from fastapi import FastAPI
from sqlmodel import delete, select

from gateway import wire
from gateway.api.app import create_app
from gateway.api.attempts import Attempts
from gateway.api.connections import Limits
from gateway.api.readiness import Readiness
from gateway.api.server import Server
from gateway.api.streams import Streams
from gateway.api.tls import Tls
from gateway.config import RolesSection, SiteSection
from gateway.daemon.image_cache import ImageCaches
from gateway.daemon.metrics import Metrics
from gateway.daemon.refdata_service import RefdataService
from gateway.daemon.request_service import RequestService
from gateway.daemon.site import Site
from gateway.errors import AppCode, ConfigError, GatewayError
from gateway.jobs.caller import Caller
from gateway.jobs.events import Events
from gateway.jobs.files import Announced
from gateway.jobs.filters import EVERYTHING, Narrow
from gateway.jobs.model import Sharing, parse_job_input
from gateway.jobs.service import LogSlice
from gateway.jobs.services import FileService, Services
from gateway.jobs.states import Phase
from gateway.jobs.tokens import Tokens
from gateway.refdata.registry import RefdataRegistry
from gateway.reports.acct import Wanted
from gateway.s3.client import ObjectInfo
from gateway.slurm.hands import LocalHands
from gateway.store.db import Database
from gateway.store.tables import Audit, Refdata, RefdataSite, RefdataTransition, Request, Token
from tests.api.certificates import Authority
from tests.api.events_fake import Happenings
from tests.api.job_admin_fake import FakeJobAdmin

ME = pwd.getpwuid(os.getuid()).pw_name
BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
IMAGE = wire.Image(
    name="ghcr.io/kbase/checksum",
    digest="sha256:" + "a" * 64,
    tag="1.0",
    entrypoint=["/sum"],
    registered_by="ada",
    registered_on=BEGIN,
)
JOB: dict[str, Any] = {
    "cluster": "dev",
    "image": "ghcr.io/kbase/checksum:1.0",
    "input_files": ["data/a.txt", "data/b.txt"],
    "output_dir": "results/x",
    "num_containers": 2,
}


def phase_wire(phase: str) -> Any:
    """The state on the wire of a phase."""
    return Phase.of(phase).wire


@dataclass
class FakeJob:
    """A job whose phase a test moves."""

    user: str
    body: dict[str, Any]
    history: list[tuple[str, datetime]]
    codes: list[int | None]
    logs: dict[tuple[int, str], bytes] = field(default_factory=dict)
    error: str | None = None
    reason: str | None = None
    position: int | None = None
    expected: datetime | None = None
    name: str | None = None
    times: dict[int, dict[str, list[str | None]]] = field(default_factory=dict)
    phases: dict[int, str] = field(default_factory=dict)
    progress: dict[int, wire.Progress] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """The phase it is in."""
        return self.history[-1][0]

    def to(self, phase: str, *, error: str | None = None, reason: str | None = None) -> None:
        """Move it on."""
        self.history.append((phase, self.history[-1][1] + timedelta(seconds=1)))
        self.error, self.reason = error, reason


class FakeJobs:
    """JobService in memory."""

    script_text = "#!/bin/sh\n#SBATCH --job-name=cts\nexec python3\n"

    def __init__(self) -> None:
        self.rows: dict[int, FakeJob] = {}
        self.calls: list[tuple[str, Any]] = []
        self.raises: Exception | None = None
        self.hold: threading.Event | None = None
        self.ends: str | None = None  # the phase that a submitted job is in at once
        self.asked: Counter[int] = Counter()  # status of a job
        self.keys: list[str | None] = []  # that came with submissions
        self.shared: list[tuple[int, Sharing]] = []
        self._ids = itertools.count(1)

    def add(self, user: str = ME, phase: str = "created", **fields: Any) -> int:
        """Put a job there."""
        number = next(self._ids)
        count = fields.get("num_containers", 2)
        job = FakeJob(
            user, JOB | fields, [("created", BEGIN)], [None] * count, name=fields.get("name")
        )
        self.rows[number] = job
        if phase != "created":
            job.to(phase)
        return number

    def submit(self, caller: Caller, body: object, key: str | None = None) -> int:
        self._called("submit", body)
        self.keys.append(key)
        if self.hold is not None:
            assert self.hold.wait(30)
        parse_job_input(body)
        assert isinstance(body, dict)
        return self.add(caller.user, self.ends or "created", **body)

    def dry_run(self, caller: Caller, body: object) -> wire.DryRun:
        self._called("dry_run", body)
        asked = parse_job_input(body)
        each = wire.PlannedFile(file="data/a.txt", path="/input_files/a.txt", size=3)
        return wire.DryRun(
            cluster=asked.cluster,
            image=wire.JobImage(**IMAGE.model_dump(include=set(wire.ApprovedImage.model_fields))),
            num_containers=asked.num_containers,
            input_file_count=1,
            input_bytes=3,
            shared_inputs=[],
            generated_files=[],
            containers=[
                wire.PlannedContainer(
                    index=0,
                    input_files=[each],
                    argv=["/sum", "a b", "x" * 300],
                    environment={"A": "b"},
                    output_dir="results/x/",
                    generated_files=[],
                )
            ],
            containers_left_out=asked.num_containers - 1,
            scripts=[self.script_text],
        )

    def list_jobs(
        self,
        caller: Caller,
        *,
        cluster: str | None,
        state: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        user: str | None = None,
        everyone: bool = False,
        narrow: Narrow = EVERYTHING,
    ) -> list[wire.JobPreview]:
        self._called(
            "list_jobs",
            {
                "cluster": cluster,
                "state": state,
                "after": after,
                "before": before,
                "limit": limit,
                "user": user,
                "everyone": everyone,
                "narrow": narrow,
            },
        )
        whose = None if everyone else user or caller.user
        found = [
            self._preview(number)
            for number, row in self.rows.items()
            if whose in (None, row.user)
            and state in (None, phase_wire(row.phase))
            and cluster in (None, row.body["cluster"])
            and narrow.name in (None, row.name)
            and not narrow.shared
        ]
        if narrow.cursor is not None:
            below = [j for j in found if not narrow.cursor or int(j.id) < narrow.cursor]
            return sorted(below, key=lambda j: int(j.id), reverse=True)[:limit]
        return sorted(found, key=lambda j: (j.transition_times[-1].time, int(j.id)), reverse=True)[
            :limit
        ]

    def job(self, caller: Caller, job_id: int) -> wire.Job:
        row = self._mine(caller, job_id)
        outputs = [wire.Output(file="results/x/a.txt", crc64nvme="AAAAAAAAAAA=", size=3)]
        preview = self._preview(job_id).model_dump()
        preview["job_input"] = row.body
        return wire.Job(**preview, outputs=outputs if row.phase == "complete" else [])

    def status(self, caller: Caller, job_id: int) -> wire.JobStatus:
        self._mine(caller, job_id)
        self.asked[job_id] += 1
        return wire.JobStatus(
            **self._preview(job_id).model_dump(include=set(wire.JobStatus.model_fields))
        )

    def exit_codes(self, caller: Caller, job_id: int) -> list[int | None]:
        return self._mine(caller, job_id).codes

    def containers(self, caller: Caller, job_id: int) -> list[wire.Container]:
        row = self._mine(caller, job_id)
        return [
            wire.Container(
                index=n,
                id=f"{job_id}_{n}",
                state=phase_wire(row.phases.get(n, row.phase)),
                phase=row.phases.get(n, row.phase),
                exit_code=code,
                slurm_job_id=f"77_{n}",
                node=f"n{n + 1}",
                times=row.times.get(n, {"run": ["2026-01-31T12:00:01Z", None]}),
                progress=row.progress.get(n),
            )
            for n, code in enumerate(row.codes)
        ]

    def container(self, caller: Caller, job_id: int, number: int) -> wire.Container:
        found = self.containers(caller, job_id)
        if number >= len(found):
            raise GatewayError(AppCode.NO_SUCH_SUBJOB, f"Job {job_id} has no container {number}.")
        return found[number]

    def script(self, caller: Caller, job_id: int) -> list[str]:
        self._mine(caller, job_id)
        return [self.script_text]

    def cancel(self, caller: Caller, job_id: int) -> None:
        row = self._mine(caller, job_id)
        if Phase.of(row.phase).terminal and row.phase != "canceled":
            raise GatewayError(
                AppCode.INVALID_JOB_STATE, f"Job {job_id} has ended already: {row.phase}."
            )
        row.to("canceling")

    def share(self, caller: Caller, job_id: int, sharing: Sharing) -> None:
        self._mine(caller, job_id)
        self.shared.append((job_id, sharing))

    def log(
        self,
        caller: Caller,
        job_id: int,
        number: int,
        stream: Literal["stdout", "stderr"],
        seek: int,
        length: int | None,
    ) -> LogSlice:
        row = self._mine(caller, job_id)
        self._called("log", (seek, length))
        if number >= len(row.codes):
            raise GatewayError(AppCode.NO_SUCH_SUBJOB, f"Job {job_id} has no container {number}.")
        data = row.logs.get((number, stream))
        if data is None:
            raise GatewayError(AppCode.NO_LOGS, f"There is no {stream} of {job_id}_{number} yet.")
        piece = data[seek:] if length is None else data[seek : seek + length]
        return LogSlice(piece, len(data), Phase.of(row.phase).terminal)

    def _called(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if self.raises is not None:
            raise self.raises

    def _mine(self, caller: Caller, job_id: int) -> FakeJob:
        if self.raises is not None:
            raise self.raises
        row = self.rows.get(job_id)
        if row is None or (row.user != caller.user and not caller.admin):
            raise GatewayError(AppCode.NO_SUCH_JOB, f"There is no job {job_id} of yours.")
        return row

    def _preview(self, job_id: int) -> wire.JobPreview:
        row = self.rows[job_id]
        times = [wire.TransitionTime(state=phase_wire(p), time=t, phase=p) for p, t in row.history]
        given = {key: value for key, value in row.body.items() if key != "input_files"}
        return wire.JobPreview(
            id=str(job_id),
            user=row.user,
            state=phase_wire(row.phase),
            phase=row.phase,
            reason=row.reason,
            queue_position=row.position,
            expected_start=row.expected,
            transition_times=times,
            name=row.name,
            job_input=given,
            image=wire.JobImage(**IMAGE.model_dump(include=set(wire.ApprovedImage.model_fields))),
            error=row.error,
            input_file_count=len(row.body["input_files"]),
            partition=row.body.get("partition"),
            qos=row.body.get("qos"),
            account=row.body.get("account"),
            slurm_jobs=["77"],
            containers={row.phase: len(row.codes)},
        )


class FakeImages:
    """ImageService in memory."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def everything(self) -> list[wire.Image]:
        return [IMAGE]

    def get(self, name: str) -> wire.Image:
        self.asked.append(name)
        if not name.startswith(IMAGE.name):
            raise GatewayError(AppCode.NO_SUCH_IMAGE, f"The image {name} is not approved here.")
        return IMAGE

    def approve(
        self,
        caller: Caller,
        name: str,
        *,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
        urls: Sequence[str] | None = None,
        usage_notes: str | None = None,
        from_image: str | None = None,
        stage: bool = False,
    ) -> wire.Image:
        self.asked.append(name)
        at = [wire.ImageStatus(cluster="dev", state="created", updated=BEGIN)] if stage else []
        return IMAGE.model_copy(
            update={
                "registered_by": caller.user,
                "refdata_id": refdata_id,
                "default_refdata_mount_point": default_refdata_mount_point,
                "urls": list(urls or ()),
                "usage_notes": usage_notes,
                "statuses": at,
            }
        )

    def delete(self, caller: Caller, name: str) -> None:
        self.get(name)

    def stage(self, caller: Caller, name: str, sites: Sequence[str]) -> wire.Image:
        names = sites or ["dev"]
        at = [wire.ImageStatus(cluster=n, state="created", updated=BEGIN) for n in names]
        return self.get(name).model_copy(update={"statuses": at})


class FakeStore:
    """An object store of what tests put there: path and what it shows."""

    def __init__(self) -> None:
        self.objects: dict[str, ObjectInfo] = {}

    def put(self, path: str, etag: str = "e" * 32, crc64nvme: str | None = None) -> None:
        """Put an object there."""
        self.objects[path] = ObjectInfo(1000, etag, None, crc64nvme)

    def inspect(self, bucket: str, key: str) -> ObjectInfo:
        path = f"{bucket}/{key}"
        if path not in self.objects:
            raise GatewayError(AppCode.S3_PATH_NOT_FOUND, f"There is no object {path!r}.")
        return self.objects[path]


class FakeFiles:
    """FileService in memory: grants that lead nowhere; `real` may take its place."""

    def __init__(self) -> None:
        self.real: FileService | None = None

    def write(self, caller: Caller, files: Sequence[Announced], part_size: int) -> wire.Uploads:
        if self.real is not None:
            return self.real.write(caller, files, part_size)
        put = wire.Grant(url="http://127.0.0.1:9/put?X-Amz-Signature=secret")
        rows = [wire.Upload(file=one.file, there=False, put=put) for one in files]
        return wire.Uploads(uploads=rows, expires=BEGIN)

    def read(self, caller: Caller, files: Sequence[str]) -> wire.Downloads:
        if self.real is not None:
            return self.real.read(caller, files)
        url = "http://127.0.0.1:9/get?X-Amz-Signature=secret"
        rows = [wire.Download(file=one, size=1, etag="e" * 32, url=url) for one in files]
        return wire.Downloads(downloads=rows, expires=BEGIN)


class FakeInfo:
    """InfoService in memory."""

    def __init__(self) -> None:
        self.well = True
        self.asked: list[dict[str, Any]] = []
        self.rows: list[wire.AcctRow] = []
        self.sites_ = [
            wire.Site(
                cluster="dev",
                active=True,
                available=True,
                unavailable_reason=None,
                nodes=4,
                cpus_per_node=8,
                memory_per_node_gb=15.5,
                max_runtime_min=2880,
                notes=[],
                slurm=wire.SlurmNow(
                    asked=BEGIN,
                    age_seconds=4.2,
                    partitions=[
                        wire.SlurmPartition(
                            name="regular",
                            state="UP",
                            default=True,
                            max_runtime_min=None,
                            nodes=4,
                            nodes_allocated=1,
                            nodes_idle=3,
                            nodes_other=0,
                        )
                    ],
                ),
            )
        ]

    def root(self) -> wire.Root:
        return wire.Root(
            service_name="CDM Task Service", version="0.1", git_hash="", server_time=BEGIN, notes=""
        )

    def whoami(self, caller: Caller) -> wire.WhoAmI:
        return wire.WhoAmI(
            user=caller.user, roles=["admin"] if caller.admin else ["user"], allowed_paths=[]
        )

    def sites(self, caller: Caller) -> list[wire.Site]:
        return self.sites_

    def switch_site(
        self, caller: Caller, name: str, *, active: bool, reason: str | None = None
    ) -> None:
        found = [site for site in self.sites_ if site.cluster == name]
        if not found:
            raise GatewayError(AppCode.NOT_FOUND, f"There is no site {name!r}; the sites are dev.")
        found[0].active = found[0].available = active
        found[0].unavailable_reason = found[0].inactive_reason = None if active else reason

    def check_template(self, caller: Caller, name: str, template: str | None) -> wire.TemplateCheck:
        if name not in [site.cluster for site in self.sites_]:
            raise GatewayError(AppCode.NOT_FOUND, f"There is no site {name!r}; the sites are dev.")
        good = template != "/etc/cts/bad.sbatch.j2"
        line = wire.ReadyLine(name="render", ok=good, detail="renders" if good else "line 3: no")
        return wire.TemplateCheck(
            cluster=name,
            template=template or "generic",
            path=template or "/opt/generic.sbatch.j2",
            ok=good,
            checks=[line],
        )

    def ready(self) -> wire.Ready:
        return wire.Ready(
            ready=self.well, checks=[wire.ReadyLine(name="s3", ok=self.well, detail="2 ms")]
        )

    def accounting(
        self,
        caller: Caller,
        *,
        users: Sequence[str],
        everyone: bool,
        wanted: Wanted,
    ) -> list[wire.AcctRow]:
        self.asked.append(
            {
                "users": list(users),
                "everyone": everyone,
                **vars(wanted),
                "refs": [str(ref) for ref in wanted.refs],
            }
        )
        return self.rows


class Log:
    """What the gateway logs, as lines of JSON. Never standard output: print() in a thread of the server while
    pytest puts another file in the place of sys.stdout may crash the interpreter (it holds no reference to it)."""

    def __init__(self, busy: Callable[[], int] = lambda: 0) -> None:
        self._lines: deque[str] = deque(maxlen=10_000)
        self._busy = busy

    @property
    def text(self) -> str:
        """All of it."""
        self._settle()
        return "\n".join(list(self._lines))

    def _settle(self) -> None:
        """Let requests end: the line of one is written after its answer was sent. Those that are held go on."""
        deadline = time.monotonic() + 2
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.002)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        self._settle()
        found = [json.loads(line) for line in list(self._lines)]
        return [line for line in found if line["event"] == name]

    def msg(self, line: str) -> None:
        """Take a line."""
        self._lines.append(line)

    log = debug = info = warning = error = critical = exception = msg

    def clear(self) -> None:
        """Forget all."""
        self._lines.clear()

    def install(self) -> None:
        """Have structlog write here."""
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=lambda *_: self,
        )


class FakeRestarts:
    """Jobs that were taken up again: how, and the job."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def restart(self, caller: Caller, job_id: int) -> None:
        self.asked.append(("restart", job_id))

    def upload(self, caller: Caller, job_id: int) -> None:
        self.asked.append(("upload", job_id))


class FakeNodes:
    """Answers with what it was asked; the token of each job is `token` and its number."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()

    @staticmethod
    def token(job_id: int) -> str:
        return f"{job_id:064x}"

    def check(self, job_id: int, token: str) -> None:
        if token != self.token(job_id):
            raise GatewayError(AppCode.INVALID_TOKEN, "This token is not that job's.")

    def answer(self, job_id: int, body: bytes) -> bytes:
        self.gate.wait(20)
        self.asked.append((job_id, body))
        return b'{"version": 1, "inputs": []}'


class FakeGateway:
    """The served fake: its socket and its TLS port, its services, its log, and a plain HTTP client on the socket.

    Its tokens are the real ones, in a database of its own.
    """

    def __init__(self, socket: Path, *, admin: bool) -> None:
        self.socket = socket
        self.admin = admin
        self.authority = Authority(socket.parent)
        self.tls = Tls("127.0.0.1", 0, *self.authority.issue())
        self.database = Database(f"sqlite:///{socket.parent}/cts.db")
        self.database.migrate()
        self.log = Log(lambda: self.server.busy if self.server is not None else 0)
        transport = httpx.HTTPTransport(uds=str(socket), verify=False)
        self.http = httpx.Client(transport=transport, base_url="http://cts", timeout=30)
        self.app: FastAPI | None = None
        self.server: Server | None = None
        self._thread: threading.Thread | None = None
        self.limits = Limits()
        self.reset()

    def reset(self) -> None:
        """Make it as new: no jobs, nothing logged, nothing remembered."""
        self.jobs, self.images, self.info = FakeJobs(), FakeImages(), FakeInfo()
        self.job_admin = FakeJobAdmin(self.jobs)
        self.happenings = Happenings(self.database)
        self.store = FakeStore()
        self.files = FakeFiles()
        self.restarts = FakeRestarts()
        self.nodes = FakeNodes()
        self.work = self.socket.parent / "work"
        section = SiteSection(work_dir=self.work, image_cache_max=10**9)
        backend: Any = None  # of Slurm, which nothing is asked of
        site = Site("dev", section, LocalHands(str(self.work), exclusive=False), backend)
        self.cache = ImageCaches(self.database, {"dev": site})
        self.metrics = Metrics()
        registry = RefdataRegistry(self.database, self.store, ["dev"])  # type: ignore[arg-type]
        self.refdata = RefdataService(self.database, registry, lambda: None)
        objects: Any = self.store
        self.requests = RequestService(self.database, objects, (), self.images, self.refdata)
        self.time = timedelta()  # by which the tokens' clock is ahead
        self.tokens = Tokens(self.database, 365, lambda: datetime.now(UTC) + self.time)
        with self.database.write() as session:
            for table in (Refdata, RefdataSite, RefdataTransition, Request):
                session.exec(delete(table))
            session.exec(delete(Token))
            session.exec(delete(Audit))
        self.log.clear()
        self.log.install()
        if self.server is None or self.limits != Limits():
            self.restart(Limits())
        assert self.app is not None
        self.app.state.services = self._services()
        self.app.state.readiness = Readiness()
        self.app.state.attempts = Attempts()
        self.app.state.streams.heartbeat = Streams().heartbeat

    def _services(self) -> Services:
        return Services(
            self.jobs,
            self.images,
            self.info,
            self.tokens,
            self.refdata,
            self.files,
            self.job_admin,
            Events(self.happenings.feed, self.jobs.status),
            self.happenings.webhooks,
            self.requests,
            self.restarts,
            self.nodes,
            self.cache,
            self.metrics,
        )

    @property
    def port(self) -> int:
        """The port of the TLS listener."""
        return self.tls.port

    @property
    def url(self) -> str:
        """Where the TLS listener is."""
        return f"https://127.0.0.1:{self.port}"

    def token(self, user: str = ME, expires_in: int | None = None) -> str:
        """Make a token for somebody."""
        maker = Caller("root", 0, frozenset(), True, "uid=0 pid=1")
        made = self.tokens.create(maker, name=None, expires_in=expires_in, user=user)
        return made.token

    def audits(self, action: str) -> list[Audit]:
        """The rows of one action."""
        with self.database.read() as session:
            return list(session.exec(select(Audit).where(Audit.action == action)))

    def over_tcp(self, token: str | None = None) -> httpx.Client:
        """A plain HTTP client on the TLS port."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        return httpx.Client(verify=context, base_url=self.url, headers=headers, timeout=30)

    def start(self) -> None:
        """Serve in a thread."""
        roles = RolesSection(admin_users=(ME,) if self.admin else ())
        self.app = app = create_app(self._services(), roles)
        until(lambda: self._listens(app), 30)
        assert self.server is not None
        assert self.server.listener is not None
        self.tls = replace(self.tls, port=self.server.listener.ports[0])
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()
        until(lambda: self.server is not None and self.server.ready)

    def _listens(self, app: FastAPI) -> bool:
        """Listen where it did before; for a moment that port may be another's."""
        try:
            self.server = Server(app, self.socket, self.limits, self.tls)
        except ConfigError as exc:
            if "port free" not in str(exc):
                raise
        return self.server is not None

    def restart(self, limits: Limits | None = None) -> None:
        """Serve anew, possibly with other limits."""
        self.stop()
        self.limits = limits or self.limits
        self.start()

    def stop(self) -> None:
        """End in order."""
        if self.server is not None and self._thread is not None:
            self.server.stop()
            self._thread.join(20)
            assert not self._thread.is_alive()
        self.server = self._thread = None

    def close(self) -> None:
        """End for good."""
        self.http.close()
        self.stop()
        self.database.close()


def until(what: Any, seconds: float = 10) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def serving(*, admin: bool = False) -> Iterator[FakeGateway]:
    """Serve a fake gateway on a socket that every user of the machine reaches."""
    before = structlog.get_config()
    directory = Path(tempfile.mkdtemp(prefix="cts-fake-"))
    directory.chmod(0o755)
    fake = FakeGateway(directory / "cts.sock", admin=admin)
    try:
        yield fake
    finally:
        fake.close()
        structlog.configure(**before)
        shutil.rmtree(directory)
