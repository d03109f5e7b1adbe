"""What a submission needs at its site: the batch script, its list of containers, job.json, container.json of each.

Their form is that of docs/node-protocol.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from gateway.array import parse_array
from gateway.config import Config, SiteSection
from gateway.daemon.site import Site
from gateway.images.logins import Logins
from gateway.jobs import inside
from gateway.jobs.quantities import slurm_minutes
from gateway.jobs.script import SCRIPT_NAME, program
from gateway.refdata.archives import directory_name
from gateway.s3.stores import section_of, trusts
from gateway.slurm.render import ScriptValues, render
from gateway.store.tables import Container, InputFile, Job, Refdata, Submission


def script_path(site: Site, submission: Submission) -> str:
    """Return where the batch script of a submission is."""
    return f"{site.job_dir(submission.job_id)}/submit-{submission.number}.sbatch"


def list_path(site: Site, submission: Submission) -> str:
    """Return where the agent reads which containers are in a submission."""
    return f"{site.job_dir(submission.job_id)}/submit-{submission.number}.json"


def claim_path(site: Site, submission: Submission) -> str:
    """Return where the agent writes which Slurm job runs a submission."""
    return f"{site.job_dir(submission.job_id)}/claim-{submission.number}"


def job_name(submission: Submission) -> str:
    """Slurm's name of a submission: unique, for sites whose accounting keeps no comments."""
    return f"cts-{submission.job_id}-{submission.number}-{submission.tag.rpartition(':')[2]}"


def make_files(
    config: Config,
    site: Site,
    submission: Submission,
    job: Job,
    refdata: Refdata | None = None,
) -> tuple[str, list[tuple[str, bytes]]]:
    """Make the script of a submission, and its files but those of the containers (path, content), the script's among them.

    Raises
    ------
    ConfigError, ValueError
        When there can be no script: a template that is wrong, a value that may not stand in it.
    """
    directory = site.job_dir(submission.job_id)
    script = make_script(site, submission, job)
    files = [
        (f"{directory}/job.json", _job(config, site, submission, job, refdata)),
        (list_path(site, submission), _list(submission)),
        (script_path(site, submission), script.encode("ascii")),
    ]
    return script, files


def container_files(
    site: Site,
    submission: Submission,
    containers: Iterable[tuple[Container, Sequence[InputFile]]],
) -> list[tuple[str, bytes]]:
    """Make the files of some containers of a submission (path, content)."""
    directory = site.job_dir(submission.job_id)
    return [
        (f"{directory}/{container.index}/container.json", _container(container, inputs))
        for container, inputs in containers
    ]


def _list(submission: Submission) -> bytes:
    document = {
        "version": 1,
        "containers": submission.containers,
        "per_task": submission.per_task,
        "upload_only": submission.upload_only,
    }
    return json.dumps(document).encode()


def _memory_mb(site: Site, job: Job) -> tuple[int, int]:
    """Return MiB of the container, and of what runs beside it."""
    return -(-job.memory // (1 << 20)), -(-site.section.overhead_memory // (1 << 20))


def make_script(site: Site, submission: Submission, job: Job) -> str:
    """Render the batch script of a submission; raises as `make_files`."""
    section = site.section
    directory = site.job_dir(submission.job_id)
    return render(
        section.template,
        ScriptValues(
            job_name=job_name(submission),
            comment=submission.tag,
            job_dir=directory,
            tasks=-(-len(submission.containers) // submission.per_task),
            per_task=submission.per_task,
            cpus=job.cpus,
            memory_mb=sum(_memory_mb(site, job)) * submission.per_task,
            minutes=slurm_minutes(job.runtime) + section.staging_minutes,
            signal_seconds=section.signal_seconds,
            partition=job.partition or section.partition,
            account=job.account or section.account,
            qos=job.qos or section.qos,
            python=str(section.python),
            agent=site.agent(),
            job_file=f"{directory}/job.json",
            number=submission.number,
            nodes=job.job_input.get("nodes") or 1,
            gpus=job.job_input.get("gpus") or 0,
            constraint=job.job_input.get("constraint"),
            reservation=job.job_input.get("reservation"),
            licenses=_licenses(section, job.job_input.get("licenses")),
            at_once=_at_once(job, submission.per_task),
            modules=section.modules,
        ),
    )


def _licenses(section: SiteSection, asked: str | None) -> str | None:
    """Return the licenses of a job, and those that each job has at its site; of one that is asked for, as many as that."""
    own = asked.split(",") if asked is not None else []
    names = {text.partition(":")[0] for text in own}
    return (
        ",".join([*own, *(name for name in section.licenses_default if name not in names)]) or None
    )


def _at_once(job: Job, per_task: int) -> int:
    """Return how many tasks of its array a job lets run at one time; 0 for no bound."""
    array = job.job_input.get("array")
    most = parse_array(array).at_once if array is not None else None
    return 0 if most is None else max(1, most // per_task)


def _slurm_variables(job: Job) -> dict[str, str]:
    """Return what a script finds in Slurm's variables (sbatch(1)), and a program that is a task of an array: the gateway's ids.

    Those that Slurm itself sets for a container on several nodes go before.
    """
    asked = job.job_input
    if asked.get("script") is None and asked.get("array") is None:
        return {}
    nodes = asked.get("nodes") or 1
    found = {
        "SLURM_JOB_ID": job.id,
        "SLURM_JOB_NAME": job.name,
        "SLURM_JOB_USER": job.user,
        "SLURM_JOB_PARTITION": job.partition,
        "SLURM_JOB_QOS": job.qos,
        "SLURM_JOB_ACCOUNT": job.account,
        "SLURM_CLUSTER_NAME": job.site,
        "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_NNODES": nodes,
        "SLURM_NTASKS": nodes,
        "SLURM_CPUS_PER_TASK": job.cpus,
        "SLURM_CPUS_ON_NODE": job.cpus,
        "SLURM_MEM_PER_NODE": job.memory >> 20,
        "SLURM_GPUS_ON_NODE": asked.get("gpus"),
        "SLURM_ARRAY_JOB_ID": None if asked.get("array") is None else job.id,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _job(
    config: Config, site: Site, submission: Submission, job: Job, refdata: Refdata | None
) -> bytes:
    section = site.section
    registry = str(job.image["name"]).partition("/")[0]
    params = job.job_input["params"]
    memory_mb, overhead_mb = _memory_mb(site, job)
    staging = job.job_input.get("staging")
    digest = job.image.get("platform_digest") or job.image["digest"]
    script = job.job_input.get("script")
    nodes = job.job_input.get("nodes") or 1
    document: dict[str, Any] = {
        "version": 1,
        "job_id": job.id,
        "token": job.token,
        "mailbox": site.mailbox,
        "job_dir": site.job_dir(job.id or 0),
        "agent": site.agent(),
        "python": str(section.python),
        "image": {
            "reference": f"{job.image['name']}@{digest}",
            "digest": digest,
            "login": Logins(config.images).known(job.image["name"]),
            **program(job.image, script, params["input_mount_point"]),
            "workdir": job.image["workdir"],
            "env": {**job.image.get("env", {}), **_slurm_variables(job)},
        },
        "image_cache": f"{site.work}/images",
        "srun": f"{section.slurm_bin}/srun" if section.slurm_bin else None,
        "apptainer": str(section.apptainer),
        "apptainer_flags": list(section.apptainer_flags),
        "no_https": registry in config.images.insecure_registries,
        "input_mount_point": params["input_mount_point"],
        "output_mount_point": params["output_mount_point"],
        "cpus": job.cpus,
        "gpus": job.job_input.get("gpus") or 0,
        "nodes": nodes,
        "memory": job.memory,
        "run_memory_mb": memory_mb + overhead_mb // 2,
        "runtime_seconds": job.runtime,
        "grace_seconds": section.grace_seconds,
        # What is staged goes to the shared file system, and may be larger than a node's own. What several nodes
        # work on is there, too, and outputs that wait for their upload.
        "scratch": str(section.scratch)
        if section.scratch and staging is None and nodes == 1 and not submission.upload_only
        else None,
        "max_log_size": section.max_log_size,
        "s3": {
            "part_size": _part_size(config, job),
            "stores": [asdict(trust) for trust in trusts(config.s3)],
        },
    }
    if section.grants_url is not None:
        ca_file = section.grants_ca_file
        document["grants"] = {
            "url": section.grants_url,
            "ca_file": str(ca_file) if ca_file else None,
        }
    if refdata is not None:
        document["refdata"] = [_mount(site, job, refdata)]
    if script is not None:
        document["generated"] = [{"path": SCRIPT_NAME, "text": script}]
    if inside.has_functions(script, job.image.get("env", {}), params.get("environment") or {}):
        document["generated"].append({"path": inside.FUNCTIONS_NAME, "text": inside.FUNCTIONS})
        document["image"]["env"] |= inside.variables(
            params["input_mount_point"], job.job_input.get("image", job.image["name"])
        )
    if staging is not None:
        where = {} if staging["kind"] == "image" else {"directory": site.refdata_dir}
        document["staging"] = {**staging, **where}
    return json.dumps(document).encode()


def _part_size(config: Config, job: Job) -> int:
    """Return the size of parts, in bytes, at the store of a job's outputs; one that stages has none."""
    bucket = job.output_dir.partition("/")[0]
    return (section_of(config.s3, bucket) if bucket else config.s3).part_size


def _mount(site: Site, job: Job, refdata: Refdata) -> dict[str, str]:
    return {
        "path": f"{site.refdata_dir}/{directory_name(refdata)}",
        "mount_point": job.image["refdata_mount_point"],
    }


def _container(container: Container, inputs: Sequence[InputFile]) -> bytes:
    document: dict[str, Any] = {
        "version": 1,
        "index": container.index,
        "attempt": len(container.earlier) + 1,
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
                "stored_crc64nvme": None if item.check_crc64nvme else item.crc64nvme,
            }
            for item in inputs
        ],
    }
    if container.generated:
        document["generated"] = [
            {"path": path, "text": text} for path, text in container.generated.items()
        ]
    return json.dumps(document).encode()
