"""Taking a job in: a request is checked whole, its image pinned, its inputs looked at, and stored in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.config import ANY_SITE, Config
from gateway.errors import AppCode, GatewayError
from gateway.images.service import ImageRegistry, Variant
from gateway.images.views import pinned
from gateway.jobs import access
from gateway.jobs.additions import check_dependencies, keep_additions
from gateway.jobs.anywhere import Fitting, Pick, Start, first_to_start, unavailable
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.globs import directory, parse_glob
from gateway.jobs.idempotency import Once, digest_of
from gateway.jobs.inputs import UNKNOWN, Inputs, awaited, check_early, look, rows
from gateway.jobs.limits import Seen, check_time
from gateway.jobs.model import JobInput, check_site, parse_job_input
from gateway.jobs.mounts import refdata_mount_point
from gateway.jobs.resources import Choice, choose
from gateway.jobs.sites import require_active
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore
from gateway.s3.paths import parse_prefix
from gateway.s3.stores import store_of
from gateway.store import jobs as store
from gateway.store import refdata as refdata_store
from gateway.store.db import Database
from gateway.store.tables import Image, Job, JobRefdata, Transition


@dataclass(frozen=True)
class Checked:
    """A request that breaks no rule. Where it is `early`, other jobs are yet to write some of its inputs.

    `asked` has a site, in any case; `why` says why that one, where the request left it open.
    """

    asked: JobInput
    choice: Choice
    image: Image
    variant: Variant
    refdata: str | None
    inputs: Inputs
    early: bool
    why: str | None = None


class Admission:
    """The one way by which jobs come into the database.

    `start(job)` asks a site when it would start one that is not stored yet; `trouble(site)` says why a site does not answer, if
    it does not; `seen(site)` what Slurm was last seen to have there.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        objects: ObjectStore,
        images: ImageRegistry,
        start: Start = lambda _: None,
        trouble: Callable[[str], str | None] = lambda _: None,
        seen: Callable[[str], Seen] = lambda _: Seen(),
    ) -> None:
        self._config = config
        self._db = database
        self._objects = objects
        self._images = images
        self._start = start
        self._trouble = trouble
        self._seen = seen

    def admit(self, caller: Caller, body: object, key: str | None = None) -> Job:
        """Check a request whole and store it as a job; return the job that the same request with that key made before.

        Raises
        ------
        GatewayError
            Whatever rule it breaks first.
        """
        once = None if key is None else Once(caller.user, key, digest_of(body))
        if once is not None:
            with self._db.read() as session:
                before = once.before(session)
            if before is not None:
                return before
        checked = self.check(caller, body)
        job = new_job(caller, checked)
        with self._db.write() as session:
            if once is not None and (before := once.before(session)) is not None:
                return before
            session.add(job)
            session.flush()
            job_id = job.id or 0
            if once is not None:
                once.keep(session, job_id)
            keep_additions(session, job, checked.asked)
            session.add(
                Transition(
                    job_id=job_id,
                    phase=str(Phase.CREATED),
                    time=job.created,
                    detail=checked.why,
                )
            )
            if checked.image.refdata_id is not None:
                session.add(JobRefdata(job_id=job_id, refdata_id=checked.image.refdata_id))
            session.add_all(rows(job, checked.asked, checked.inputs))
            audit(session, caller, "job.submit", str(job_id), "ok")
        return job

    def check(self, caller: Caller, body: object) -> Checked:
        """Check a request whole; nothing is stored.

        Raises
        ------
        GatewayError
            Whatever rule it breaks first.
        """
        asked = parse_job_input(body)
        fitting = Fitting(self._names(asked))
        choices = fitting.keep(lambda name: self._offered(caller, asked, name))
        with self._db.read() as session:
            check_dependencies(session, caller.user, asked)
            dirs = awaited(session, asked)
        for field, path in _read(asked):
            self._in_a_store(field, path)
            access.require(self._config.path_rules, caller, path, "read")
        self._in_a_store("output_dir", asked.output_dir)
        access.require(self._config.path_rules, caller, asked.output_dir, "write")
        image = self._images.get(asked.image)
        variants = fitting.keep(lambda name: self._images.variant(image, name))
        refdata = refdata_mount_point(image, asked.params)
        early = check_early(asked, self._objects, dirs)
        inputs = UNKNOWN if early else look(asked, self._objects)
        target = parse_prefix(asked.output_dir)
        self._objects.check_writable(target.bucket, target.key)

        def at(name: str) -> Checked:
            there = asked if asked.cluster == name else asked.model_copy(update={"cluster": name})
            return Checked(there, choices[name], image, variants[name], refdata, inputs, early)

        if asked.cluster != ANY_SITE:
            return at(asked.cluster)
        pick = self._pick(
            fitting, {name: new_job(caller, at(name)) for name in fitting.left}, image
        )
        return replace(at(pick.site), why=pick.why)

    def _in_a_store(self, field: str, path: str) -> None:
        try:
            store_of(self._config.s3, path.partition("/")[0])
        except GatewayError as exc:
            raise GatewayError(exc.code, f"{field}: {exc.message}") from exc

    def _names(self, asked: JobInput) -> list[str]:
        """Return the site that a job names, or all of them."""
        sites = self._config.sites
        if asked.cluster == ANY_SITE:
            return list(sites)
        if asked.cluster not in sites:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"cluster: there is no site {asked.cluster!r}; the sites are {', '.join(sorted(sites))}.",
            )
        return [asked.cluster]

    def _offered(self, caller: Caller, asked: JobInput, name: str) -> Choice:
        """Hold a job to what a site takes and offers."""
        site = self._config.sites[name]
        with self._db.read() as session:
            require_active(session, name, site)
        check_site(asked, name, site)
        choice = choose(asked, caller, name, site)
        check_time(asked, choice, name, site, self._seen(name))
        return choice

    def _pick(self, fitting: Fitting, jobs: Mapping[str, Job], image: Image) -> Pick:
        """Take the site that would start a job first; those without its reference data come after those with it."""
        troubles = {name: self._trouble(name) for name in fitting.left}
        fitting.drop({name: unavailable(name, why) for name, why in troubles.items() if why})
        behind: dict[str, int] = {}
        if image.refdata_id is not None:
            with self._db.read() as session:
                rows = refdata_store.sites(session, [image.refdata_id])
            states = {row.site: row.state for row in rows}
            order = {"complete": 0, "error": 2}
            behind = {name: order.get(states.get(name, ""), 1) for name in fitting.left}
        return first_to_start(fitting, jobs, self._start, behind)


def new_job(caller: Caller, checked: Checked) -> Job:
    """Make the row of a job, not stored yet."""
    asked, time = checked.asked, store.now()
    image = {**pinned(checked.image, checked.variant), "refdata_mount_point": checked.refdata}
    given = asked.model_dump(mode="json", exclude_none=True)
    if not asked.input_files:
        del given["input_files"]
    return Job(
        user=caller.user,
        name=asked.name,
        image_name=checked.image.name,
        site=asked.cluster,
        phase=str(Phase.CREATED),
        created=time,
        updated=time,
        job_input=given,
        image=image,
        token=secrets.token_hex(32),
        num_containers=asked.num_containers,
        cpus=asked.cpus,
        memory=asked.memory,
        runtime=asked.runtime,
        partition=checked.choice.partition,
        qos=checked.choice.qos,
        account=checked.choice.account,
        retries=asked.retries or 0,
        input_file_count=len(checked.inputs.found),
        input_bytes=checked.inputs.size,
        output_dir=asked.output_dir,
        declobber=asked.params.declobber,
        skip_check=asked.skip_existing,
        unplanned=checked.early,
    )


def _read(asked: JobInput) -> Iterator[tuple[str, str]]:
    """Fields and paths that a job reads; what is to be listed is allowed where the prefix is that holds all of it."""
    for field, items in (("input_files", asked.files), ("shared_inputs", asked.shared)):
        for number, item in enumerate(items):
            yield f"{field}[{number}]", item.file
    for number, text in enumerate(asked.input_dirs or ()):
        yield f"input_dirs[{number}]", text
    for number, text in enumerate(asked.input_globs or ()):
        yield f"input_globs[{number}]", str(directory(parse_glob(text)))
