"""Submitting: from a stored job to a Slurm job, exactly once whatever dies when.

A submission is `prepared` (its row is written), then `submitting` (committed before sbatch is called), then
`submitted` (Slurm's id is committed). One found `submitting` without its sbatch being under way is looked up by its tag,
in squeue and in the accounting, and only if neither knows it, is it prepared again.
"""

from __future__ import annotations

import json
import secrets
import time

import structlog

from gateway.config import Config
from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import SiteError
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.quantities import slurm_minutes
from gateway.jobs.states import Phase
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError
from gateway.slurm.render import ScriptValues, render
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, InputFile, Job, Submission

log = structlog.get_logger()
_IDLE = 5.0
_LATER = 15.0
_SETTLE = 5.0  # seconds that a lost answer is given before the look-up


class Submitter:
    """The submit loop of one site."""

    def __init__(self, config: Config, database: Database, site: Site) -> None:
        self._config = config
        self._db = database
        self._site = site
        self._lookup_after: dict[int, float] = {}

    def tick(self) -> float:
        """Bring every waiting submission one step on; returns the seconds to wait."""
        later = self._resolve()
        with self._db.read() as session:
            created = [job.id or 0 for job in store.at_site(session, self._site.name, ["created"])]
        for job_id in created:
            with one_job(job_id, "preparing its submission"):
                self._prepare(job_id)
        with self._db.read() as session:
            waiting = store.submissions_in(session, self._site.name, "prepared")
        for submission, job in waiting:
            if job.cancel_by is None:
                with one_job(job.id or 0, "submitting it"):
                    later = self._submit(submission, job) or later
        return _LATER if later else _IDLE

    def _prepare(self, job_id: int) -> None:
        size = self._site.limits().max_array_size
        with self._db.write() as session:
            job = store.get(session, job_id)
            if job is None or job.phase != "created" or job.cancel_by is not None:
                return
            for number, first in enumerate(range(0, job.num_containers, size)):
                count = min(size, job.num_containers - first)
                tag = (
                    f"cts:{self._config.gateway.instance}:{job_id}:{number}:{secrets.token_hex(8)}"
                )
                session.add(
                    Submission(
                        job_id=job_id,
                        number=number,
                        first=first,
                        count=count,
                        tag=tag,
                        state="prepared",
                        created=store.now(),
                    )
                )
            advance_job(session, job, Phase.SUBMITTING)
            for container in store.containers(session, job_id):
                advance_container(session, container, Phase.SUBMITTING)

    def _submit(self, submission: Submission, job: Job) -> bool:
        """Try one submission; tell whether Slurm cannot take it now."""
        script = self._write(submission, job)
        if not self._mark(submission, script):
            return False
        path = f"{self._site.job_dir(job.id or 0)}/submit-{submission.number}.sbatch"
        try:
            slurm_job_id = self._site.backend.submit(path)
        except SubmitLaterError as exc:
            self._back_to_prepared(submission, str(exc))
            return True
        except SubmitRefusedError as exc:
            self._refused(submission, str(exc))
            return False
        except SiteError as exc:
            self._lookup_after[submission.id or 0] = time.monotonic() + _SETTLE
            self._explain(submission, f"Slurm's answer to the submission is not known: {exc}")
            raise
        self._submitted(submission, slurm_job_id)
        return False

    def _mark(self, submission: Submission, script: str) -> bool:
        with self._db.write() as session:
            row = session.get(Submission, submission.id)
            job = store.get(session, submission.job_id)
            if row is None or job is None or row.state != "prepared" or job.cancel_by is not None:
                return False
            row.state, row.script = "submitting", script
            row.attempts += 1
            session.add(row)
        return True

    def _submitted(self, submission: Submission, slurm_job_id: str) -> None:
        log.info("job.submitted", job=submission.job_id, slurm_job=slurm_job_id)
        with self._db.write() as session:
            row = session.get(Submission, submission.id)
            job = store.get(session, submission.job_id)
            if row is None or job is None:
                return
            row.state, row.slurm_job_id, row.submitted = "submitted", slurm_job_id, store.now()
            session.add(row)
            for container in store.containers(session, submission.job_id):
                if submission.first <= container.index < submission.first + submission.count:
                    container.submission_id, container.slurm_job_id = row.id, slurm_job_id
                    advance_container(session, container, Phase.PENDING)
            session.flush()
            if all(
                each.state == "submitted" for each in store.submissions(session, submission.job_id)
            ):
                advance_job(session, job, Phase.PENDING, f"Slurm job {slurm_job_id}")
            job.reason = None
            session.add(job)
        self._lookup_after.pop(submission.id or 0, None)
        self._site.poll_wake.set()
        self._site.mail_wake.set()

    def _back_to_prepared(self, submission: Submission, reason: str) -> None:
        with self._db.write() as session:
            row = session.get(Submission, submission.id)
            if row is not None and row.state == "submitting":
                row.state = "prepared"
                session.add(row)
        self._explain(submission, reason)

    def _explain(self, submission: Submission, reason: str) -> None:
        with self._db.write() as session:
            job = store.get(session, submission.job_id)
            if job is not None and job.reason != reason:
                job.reason = reason
                session.add(job)

    def _refused(self, submission: Submission, said: str) -> None:
        log.warning("job.refused", job=submission.job_id, error=said)
        message = f"Slurm refused the job: {said}"
        with self._db.write() as session:
            row = session.get(Submission, submission.id)
            job = store.get(session, submission.job_id)
            if row is None or job is None:
                return
            row.state = "refused"
            session.add(row)
            for container in store.containers(session, submission.job_id):
                if submission.first <= container.index < submission.first + submission.count:
                    container.error = message
                    advance_container(session, container, Phase.ERROR, message)
        self._site.poll_wake.set()

    def _resolve(self) -> bool:
        """Look up submissions whose outcome is not known; tell whether some must wait."""
        with self._db.read() as session:
            unknown = store.submissions_in(session, self._site.name, "submitting")
        due = [s for s, _ in unknown if self._lookup_after.get(s.id or 0, 0.0) <= time.monotonic()]
        if not due:
            return bool(unknown)
        tasks = {task.tag: task.slurm_job_id for task in self._site.backend.queue()}
        records = self._site.backend.accounting(min(s.created for s in due))
        by_comment = {record.comment: record.slurm_job_id for record in records if record.comment}
        by_name = {record.name: record.slurm_job_id for record in records}
        for submission in due:
            found = (
                tasks.get(submission.tag)
                or by_comment.get(submission.tag)
                or by_name.get(job_name(submission))
            )
            if found is None:
                claim = self._site.hands.read_file(
                    f"{self._site.job_dir(submission.job_id)}/claim-{submission.number}"
                )
                found = claim.decode("ascii", "replace").strip() if claim else None
            if found:
                log.info("job.adopted", job=submission.job_id, slurm_job=found)
                self._submitted(submission, found)
            else:
                log.info("job.not_submitted", job=submission.job_id)
                self._back_to_prepared(
                    submission, "Slurm does not know the job; it is submitted again"
                )
        return False

    def _write(self, submission: Submission, job: Job) -> str:
        """Write what the nodes need of a job and its script; returns the script."""
        site, section = self._site, self._site.section
        job_id = job.id or 0
        directory = site.job_dir(job_id)
        overhead_mb = -(-section.overhead_memory // (1 << 20))
        memory_mb = -(-job.memory // (1 << 20))
        minutes = slurm_minutes(job.runtime) + section.staging_minutes
        script = render(
            section.template,
            ScriptValues(
                job_name=job_name(submission),
                comment=submission.tag,
                job_dir=directory,
                tasks=submission.count,
                cpus=job.cpus,
                memory_mb=memory_mb + overhead_mb,
                minutes=minutes,
                signal_seconds=section.signal_seconds,
                partition=section.partition,
                account=section.account,
                qos=section.qos,
                python=str(section.python),
                agent=site.agent(),
                job_file=f"{directory}/job.json",
                number=submission.number,
                first=submission.first,
            ),
        )
        common = self._common(job, directory, memory_mb + overhead_mb // 2)
        with self._db.read() as session:
            containers = [
                c
                for c in store.containers(session, job_id)
                if submission.first <= c.index < submission.first + submission.count
            ]
            shares: dict[int, list[InputFile]] = {}
            for item in store.inputs(session, job_id):
                shares.setdefault(item.container, []).append(item)
        files = [
            (f"{directory}/{c.index}/container.json", _container_json(c, shares.get(c.index, [])))
            for c in containers
        ]
        files.append((f"{directory}/job.json", json.dumps(common).encode()))
        files.append((f"{directory}/submit-{submission.number}.sbatch", script.encode("ascii")))
        site.hands.write_files(files)
        return script

    def _common(self, job: Job, directory: str, run_memory_mb: int) -> dict[str, object]:
        section, s3 = self._site.section, self._config.s3
        registry = str(job.image["name"]).partition("/")[0]
        params = job.job_input["params"]
        return {
            "version": 1,
            "job_id": job.id,
            "token": job.token,
            "mailbox": self._site.mailbox,
            "job_dir": directory,
            "agent": self._site.agent(),
            "python": str(section.python),
            "image": {
                "reference": f"{job.image['name']}@{job.image['digest']}",
                "digest": job.image["digest"],
                "entrypoint": job.image["entrypoint"],
                "cmd": job.image["cmd"],
                "workdir": job.image["workdir"],
                "env": job.image.get("env", {}),
            },
            "image_cache": f"{self._site.work}/images",
            "apptainer": str(section.apptainer),
            "apptainer_flags": list(section.apptainer_flags),
            "no_https": registry in self._config.images.insecure_registries,
            "input_mount_point": params["input_mount_point"],
            "output_mount_point": params["output_mount_point"],
            "cpus": job.cpus,
            "memory": job.memory,
            "run_memory_mb": run_memory_mb,
            "runtime_seconds": job.runtime,
            "grace_seconds": section.grace_seconds,
            "scratch": str(section.scratch) if section.scratch else None,
            "max_log_size": section.max_log_size,
            "s3": {
                "ca_file": str(s3.ca_file) if s3.ca_file else None,
                "insecure": s3.insecure,
                "part_size": s3.part_size,
            },
        }


def job_name(submission: Submission) -> str:
    """Slurm's name of a submission: unique, for sites whose accounting keeps no comments."""
    return f"cts-{submission.job_id}-{submission.number}-{submission.tag.rpartition(':')[2]}"


def _container_json(container: Container, inputs: list[InputFile]) -> bytes:
    return json.dumps(
        {
            "version": 1,
            "index": container.index,
            "args": container.args,
            "environment": container.environment,
            "inputs": [
                {
                    "id": item.id,
                    "path": item.path,
                    "size": item.size,
                    "etag": item.etag,
                    "part_sizes": item.part_sizes,
                    "crc64nvme": item.crc64nvme if item.check_crc64nvme else None,
                }
                for item in inputs
            ],
        }
    ).encode()
