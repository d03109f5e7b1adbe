"""What a job would be, for who tries it out: its split, what each container would be given, its batch scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import wire
from gateway.images.views import pinned
from gateway.jobs.admission import Checked
from gateway.jobs.inside import FUNCTIONS, FUNCTIONS_NAME, has_functions
from gateway.jobs.outputs import container_dir
from gateway.jobs.parts import InputFile
from gateway.jobs.plan import PlannedContainer
from gateway.jobs.script import SCRIPT_NAME, program
from gateway.s3.client import ObjectInfo

MOST_BYTES = 8 << 20  # of the containers in an answer; the first is always there


def dry_run(checked: Checked, scripts: Sequence[str]) -> wire.DryRun:
    """Show a request that was checked.

    Containers are shown from the first on until they come to 8 MiB of JSON; `containers_left_out` counts the others. None is
    shown where other jobs are yet to write some of the inputs.
    """
    asked, plan, found = checked.asked, checked.inputs.plan, checked.inputs.found
    mount = asked.params.input_mount_point
    shared = zip(plan.shared, plan.shared_paths, found[len(plan.files) :], strict=True)
    shown: list[wire.PlannedContainer] = []
    left = MOST_BYTES
    for each in plan.containers:
        container = _container(checked, each)
        left -= len(container.model_dump_json())
        if shown and left < 0:
            break
        shown.append(container)
    common = {} if asked.script is None else {SCRIPT_NAME: asked.script}
    if has_functions(asked.script, checked.variant.config.env, asked.params.environment or {}):
        common[FUNCTIONS_NAME] = FUNCTIONS
    return wire.DryRun(
        cluster=asked.cluster,
        cluster_choice=checked.why,
        image=wire.JobImage.model_validate(pinned(checked.image, checked.variant)),
        num_containers=asked.num_containers,
        input_file_count=len(found),
        input_bytes=checked.inputs.size,
        shared_inputs=_files(mount, shared),
        generated_files=_generated(mount, common),
        containers=shown,
        containers_left_out=asked.num_containers - len(shown),
        scripts=list(scripts),
    )


def _container(checked: Checked, each: PlannedContainer) -> wire.PlannedContainer:
    asked, image = checked.asked, checked.variant.config
    plan, found = checked.inputs.plan, checked.inputs.found
    mount = asked.params.input_mount_point
    what = program({"entrypoint": image.entrypoint, "cmd": image.cmd}, asked.script, mount)
    return wire.PlannedContainer(
        index=each.number,
        input_files=_files(mount, ((plan.files[n], plan.paths[n], found[n]) for n in each.files)),
        argv=[*what["entrypoint"], *(each.args or what["cmd"])],
        environment=each.environment,
        output_dir=container_dir(asked.output_dir, each.number, declobber=asked.params.declobber),
        generated_files=_generated(mount, each.generated),
    )  # fmt: skip


def _files(mount: str, rows: Iterable[tuple[InputFile, str, ObjectInfo]]) -> list[wire.PlannedFile]:
    return [
        wire.PlannedFile(
            file=item.file,
            path=f"{mount}/{path}",
            size=info.size,
            crc64nvme=info.crc64nvme or item.crc64nvme,
        )
        for item, path, info in rows
    ]


def _generated(mount: str, files: dict[str, str]) -> list[wire.GeneratedFile]:
    return [wire.GeneratedFile(path=f"{mount}/{name}", text=text) for name, text in files.items()]
