"""What makes two containers the same: all that decides what a container writes and where, but for its resources.

A container that is the same as one that is complete need not run again (`skip_existing`), as long as the outputs are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from gateway.jobs.model import JobInput
from gateway.jobs.outputs import container_dir
from gateway.jobs.plan import Plan, PlannedContainer
from gateway.s3.client import ObjectInfo
from gateway.store.tables import Job


def fingerprints(job: Job, asked: JobInput, plan: Plan, found: Sequence[ObjectInfo]) -> list[str]:
    """Return the fingerprint of each container, by its number.

    Parameters
    ----------
    job
        Its user counts: another's containers are never the same. So does its image, with where containers see the
        reference data that it may have.
    found
        What S3 shows of `plan.everything`, in that order.
    """
    first = len(plan.files)
    shared = [
        [path, item.file, found[first + position].etag]
        for position, (item, path) in enumerate(zip(plan.shared, plan.shared_paths, strict=True))
    ]
    refdata = job.image["refdata_id"]
    common = {
        "user": job.user,
        "image": job.image["digest"],
        "refdata": [refdata and int(refdata), job.image["refdata_mount_point"]],
        "script": asked.script,
        "nodes": asked.nodes or 1,  # on each of which the program is started
        "mounts": [asked.params.input_mount_point, asked.params.output_mount_point],
        "shared": shared,
    }
    return [_fingerprint(common, asked, plan, each, found) for each in plan.containers]


def _fingerprint(
    common: Mapping[str, object],
    asked: JobInput,
    plan: Plan,
    container: PlannedContainer,
    found: Sequence[ObjectInfo],
) -> str:
    where = container_dir(asked.output_dir, container.number, declobber=asked.params.declobber)
    document = {
        **common,
        "args": container.args,
        "environment": container.environment,
        "generated": container.generated,
        "inputs": [[plan.paths[n], plan.files[n].file, found[n].etag] for n in container.files],
        "output": where,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
