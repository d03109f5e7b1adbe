"""What the daemon writes for the nodes is what docs/node-protocol.md says, as the agent reads it."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.agent.files import read_container, read_job
from gateway.jobs.inside import FUNCTIONS
from gateway.store.tables import Container
from tests.conftest import CHECKOUT
from tests.daemon.world import World


def _documented(section: str) -> set[str]:
    """Names of the fields that the page shows, those of inner objects too."""
    text = (CHECKOUT / "docs/node-protocol.md").read_text(encoding="utf-8")
    block = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^[A-Z`]|^## )", text, re.M | re.S)
    assert block is not None
    return set(re.findall(r'"(\w+)":', block[1])) - {"NAME", "PATH"}


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {name for each in value.values() for name in _names(each)}
    if isinstance(value, list):
        return {name for each in value for name in _names(each)}
    return set()


def test_job_json_has_exactly_the_fields_of_the_protocol(
    make_world: Callable[..., World],
) -> None:
    world = make_world(own_agent=True, scratch="/local", apptainer_flags=("--nv",))
    aws = world.config.s3.model_copy(update={"endpoint_url": None})
    other = world.config.s3.model_copy(update={"stores": {"aws": aws}})
    world.config = world.config.model_copy(update={"s3": other})
    world.restart()
    number, _ = world.submit()
    path = Path(world.site.job_dir(number)) / "job.json"
    document = json.loads(path.read_text())
    optional = {"srun", "refdata", "path", "mount_point", "staging", "generated", "text"}
    assert _names(document) - {"PATH"} <= _documented("job.json")
    assert _names(document) >= _documented("job.json") - optional
    job = read_job(path)
    assert (job.job_id, job.token) == (number, world.job(number).token)
    assert str(job.mailbox) == world.site.mailbox
    assert str(job.job_dir) == world.site.job_dir(number)
    assert job.image.reference == "ghcr.io/kbase/sum@sha256:" + "a" * 64
    assert (job.image.entrypoint, job.image.cmd, job.image.env) == (
        ("/sum",),
        ("-v",),
        {"PATH": "/bin"},
    )
    assert (job.input_mount_point, job.output_mount_point) == ("/in", "/out")
    assert (job.memory, job.run_memory_mb, job.runtime_seconds) == (100 * 10**6, 96 + 128, 60)
    assert (job.scratch, job.apptainer_flags, job.part_size) == ("/local", ("--nv",), 5 << 20)
    assert Path(job.agent, "__main__.py").is_file()


def test_container_json_has_exactly_the_fields_of_the_protocol(world: World) -> None:
    number = world.add(2, 2)
    with world.database.write() as session:
        from gateway.store import jobs as store

        plain, parts = store.inputs(session, number, 1)
        session.get_one(Container, (number, 1)).generated = {"manifest-2": "0.txt\n"}
        plain.crc64nvme, plain.check_crc64nvme = "AAAAAAAAAAA=", False
        parts.crc64nvme, parts.check_crc64nvme, parts.part_sizes = "BBBBBBBBBBA=", True, [1, 2]
    world.submitter.tick()
    path = world.folder(number, 1) / "container.json"
    assert _names(json.loads(path.read_text())) - {"N"} == _documented("container.json")
    container = read_container(path)
    assert container.args == ("a1", "$(x)")
    assert container.environment == {"N": "1"}
    assert [item.path for item in container.inputs] == ["0.txt", "1.txt"]
    assert [item.crc64nvme for item in container.inputs] == [None, "BBBBBBBBBBA="]
    assert [item.stored_crc64nvme for item in container.inputs] == ["AAAAAAAAAAA=", None]
    assert [item.part_sizes for item in container.inputs] == [None, (1, 2)]
    assert {item.id for item in container.inputs} == {plain.id, parts.id}
    assert [(file.path, file.text) for file in container.generated] == [("manifest-2", "0.txt\n")]
    assert read_container(world.folder(number, 0) / "container.json").generated == ()


def test_a_script_is_written_for_all_containers_and_its_interpreter_is_what_runs(
    world: World,
) -> None:
    given = {"params": {"input_mount_point": "/in", "output_mount_point": "/out"}}
    script = "#!/bin/bash -e\ntrue\n"
    number, _ = world.submit(job_input=given | {"script": script})
    job = read_job(Path(world.site.job_dir(number)) / "job.json")
    assert [(file.path, file.text) for file in job.generated] == [
        ("cts-script", script),
        (".cts-bash-env", FUNCTIONS),
    ]
    assert job.image.env["BASH_ENV"] == "/in/.cts-bash-env"
    assert job.image.env["SLURM_JOB_ID"] == str(number)
    assert job.image.entrypoint == ("/bin/bash", "-e", "/in/cts-script")
    assert job.image.cmd == ()


def test_the_files_of_a_job_are_its_users_alone(world: World) -> None:
    number, _ = world.submit(2)
    top = Path(world.site.job_dir(number))
    for path in [top, *top.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_script_asks_for_the_containers_memory_and_what_runs_beside_it(world: World) -> None:
    _, slurm = world.submit(3, memory=100 << 20, runtime=61)
    script = world.slurm.jobs[slurm].script
    assert "#SBATCH --mem=356M\n" in script
    assert "#SBATCH --time=12\n" in script  # two minutes, and ten for the staging
    assert "#SBATCH --array=0-2\n" in script


def test_a_registry_without_tls_is_told_to_the_node(make_world: Callable[..., World]) -> None:
    world = make_world()
    images = world.config.images.model_copy(update={"insecure_registries": ("ghcr.io",)})
    world.config = world.config.model_copy(update={"images": images})
    world.restart()
    number, _ = world.submit()
    assert read_job(Path(world.site.job_dir(number)) / "job.json").no_https
