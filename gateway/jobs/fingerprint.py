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
from gateway.store.tables import Image


def fingerprints(
    user: str,
    asked: JobInput,
    image: Image,
    plan: Plan,
    found: Sequence[ObjectInfo],
    refdata: str | None,
) -> list[str]:
    """Return the fingerprint of each container, by its number.

    Parameters
    ----------
    user
        Whose job it is: another's containers are never the same.
    found
        What S3 shows of `plan.everything`, in that order.
    refdata
        Where containers see the reference data of the image, if it has any.
    """
    first = len(plan.files)
    shared = [
        [path, item.file, found[first + position].etag]
        for position, (item, path) in enumerate(zip(plan.shared, plan.shared_paths, strict=True))
    ]
    common = {
        "user": user,
        "image": image.digest,
        "refdata": [image.refdata_id, refdata],
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
