"""The command line and the environment that a container is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.agent.container import (
    Command,
    ContainerError,
    command,
    host_environment,
    lacks_workdir,
    refusal,
)
from gateway.agent.nodes import handed_on
from gateway.agent.place import Place
from tests.agent.conftest import SLURM, Site

SIF = Path("/cache/image.sif")


def made(
    site: Site,
    args: list[str] | None = None,
    environment: dict[str, str] | None = None,
    make_workdir: bool = False,
    image: dict[str, Any] | None = None,
    **job: Any,
) -> Command:
    site.job_json["image"].update(image or {})
    parsed = site.job(**job)
    container = site.container(args=args or [], environment=environment or {})
    place = Place(parsed, 0, SLURM)
    return command(parsed, container, place, SIF, make_workdir=make_workdir)


def after(argv: list[str], option: str) -> list[str]:
    return [argv[n + 1] for n, word in enumerate(argv) if word == option]


def test_a_container_is_shut_off_from_the_node_and_gets_no_home(site: Site) -> None:
    argv = made(site).argv
    image = argv.index(str(SIF))
    for flag in ("--containall", "--cleanenv", "--no-home", "--no-eval"):
        assert flag in argv[:image]
    assert after(argv, "--home") == ["/tmp"]
    assert after(argv, "--workdir") == [str(site.base / "tmp")]
    assert after(argv, "--no-mount") == ["hostfs,bind-paths"]


def test_one_with_gpus_gets_the_driver_and_the_devices_that_slurm_gave_it(site: Site) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "1,3", "SLURM_PROCID": "0", "AWS_SECRET": "x"}
    job, container = site.job(gpus=2), site.container(environment={})
    place = Place(job, 0, SLURM)
    found = command(job, container, place, SIF, slurm=handed_on(job, environ))
    assert "--nv" in found.argv[: found.argv.index(str(SIF))]
    assert found.env["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "1,3"
    assert not [name for name in found.env if "SLURM" in name or "AWS" in name]
    own = site.container(environment={"CUDA_VISIBLE_DEVICES": "0"})
    found = command(job, own, place, SIF, slurm=handed_on(job, environ))
    assert found.env["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "0"


def test_one_without_gets_neither(site: Site) -> None:
    assert "--nv" not in made(site).argv
    assert handed_on(site.job(), {"CUDA_VISIBLE_DEVICES": "0", "SLURM_PROCID": "0"}) == {}


def test_one_on_several_nodes_is_told_which_it_is(site: Site) -> None:
    environ = {"SLURM_PROCID": "1", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    assert handed_on(site.job(nodes=2), environ) == {"SLURM_PROCID": "1", "SLURM_NNODES": "2"}


def test_it_has_its_inputs_outputs_and_reference_data_and_nothing_else(site: Site) -> None:
    argv = made(site, refdata=[{"path": "/ref/v1", "mount_point": "/refdata"}]).argv
    assert after(argv, "--bind") == [
        "/etc/hosts:/etc/hosts:ro",
        f"{site.base}/in:/input_files:ro",
        f"{site.base}/out:/output_files",
        "/ref/v1:/refdata:ro",
    ]


@pytest.mark.parametrize("home", ["/home/app", "/with space", "/a,b", "/"])
def test_a_home_that_the_job_asks_for_is_set_and_hides_nothing(site: Site, home: str) -> None:
    made_ = made(site, environment={"HOME": home})
    assert after(made_.argv, "--home") == [home]
    assert "--no-home" in made_.argv
    assert len(after(made_.argv, "--bind")) == 3
    assert "APPTAINERENV_HOME" not in made_.env


def test_a_home_of_the_image_is_not_taken_as_it_cannot_be_written(site: Site) -> None:
    assert after(made(site, image={"env": {"HOME": "/root"}}).argv, "--home") == ["/tmp"]


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "args", "words"),
    [
        (["/bin/tool"], ["-x"], [], ["/bin/tool", "-x"]),
        (["/bin/tool"], ["-x"], ["-y"], ["/bin/tool", "-y"]),
        (["tool", "run"], [], [], ["tool", "run"]),
        ([], ["/bin/tool"], [], ["/bin/tool"]),
        ([], [], ["/bin/tool"], ["/bin/tool"]),
        (["/bin/sh", "-c", "echo $0"], ["x"], ["a b", "$(y)", ""], ["/bin/sh", "-c", "echo $0", "a b", "$(y)", ""]),
    ],
)  # fmt: skip
def test_what_runs_is_the_entrypoint_with_the_jobs_arguments_or_the_images(
    site: Site, entrypoint: list[str], cmd: list[str], args: list[str], words: list[str]
) -> None:
    argv = made(site, args, image={"entrypoint": entrypoint, "cmd": cmd}).argv
    assert argv[argv.index(str(SIF)) + 1 :] == words


def test_an_image_with_nothing_to_run_is_refused(site: Site) -> None:
    with pytest.raises(ContainerError, match="no entrypoint"):
        made(site, image={"entrypoint": [], "cmd": []})


def test_values_are_handed_on_as_they_are_and_the_jobs_win_over_the_images(site: Site) -> None:
    odd = 'a b$(id)`id`"q"\\x\n,\';'
    env = made(
        site,
        environment={"A": odd, "B": ""},
        image={"env": {"A": "x", "C": odd, "PATH": "/opt:/bin"}},
    ).env
    assert env["APPTAINERENV_A"] == odd
    assert env["APPTAINERENV_B"] == ""
    assert env["APPTAINERENV_C"] == odd
    assert env["APPTAINERENV_PATH"] == "/opt:/bin"


def test_of_the_nodes_environment_nothing_gets_to_apptainer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPTAINER_BIND", "/etc")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    private = site.base / ".pull"
    assert made(site).env == host_environment(site.job(), private)
    assert set(made(site).env) == {
        "PATH", "HOME", "LANG", "APPTAINER_CACHEDIR", "APPTAINER_CONFIGDIR", "APPTAINER_TMPDIR",
        "TMPDIR",
    }  # fmt: skip


REFUSED = [
    ("UID", "1"),
    ("GID", "1"),
    ("EUID", "1"),
    ("PROMPT_COMMAND", "x"),
    ("PREPEND_PATH", "/x"),
    ("APPEND_PATH", "/x"),
    ("APPTAINER_BIND", "/etc"),
    ("APPTAINERENV_X", "x"),
    ("SINGULARITY_BIND", "/etc"),
    ("SINGULARITYENV_X", "x"),
    ("SING_USER_DEFINED_PATH", "x"),
    ("PATH", ""),
    ("PS1", ""),
    ("HOME", ""),
    ("HOME", "home"),
    ("HOME", "/a:/b"),
    ("HOME", "/a\n/b"),
    ("a.b", "x"),
    ("1A", "x"),
    ("", "x"),
    ("A", "x\0y"),
    ("Ä", "x"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_apptainer_would_change_is_refused_to_a_job_and_left_out_of_an_image(
    site: Site, name: str, value: str
) -> None:
    with pytest.raises(ContainerError, match="environment variable"):
        made(site, environment={name: value})
    assert f"APPTAINERENV_{name}" not in made(site, image={"env": {name: value}}).env


@pytest.mark.parametrize(
    ("name", "value"),
    [("PATH", "/bin"), ("PS1", "$ "), ("LD_LIBRARY_PATH", ""), ("IFS", ""), ("_", "x")],
)
def test_what_apptainer_hands_on_is_taken(name: str, value: str) -> None:
    assert refusal(name, value) is None


def test_flags_of_the_site_come_last_before_the_image(site: Site) -> None:
    argv = made(site, apptainer_flags=["--nv"]).argv
    assert argv[argv.index(str(SIF)) - 1] == "--nv"


def test_a_working_directory_that_the_image_lacks_is_made_in_the_containers_own_space(
    site: Site,
) -> None:
    there = made(site, image={"workdir": "/data/run"}).argv
    lacking = made(site, make_workdir=True).argv
    assert after(there, "--pwd") == after(lacking, "--pwd") == ["/data/run"]
    assert after(there, "--scratch") == []
    assert after(lacking, "--scratch") == ["/data/run"]


FATAL = "FATAL:   failed to set working directory: chdir /data/run: no such file or directory\n"


@pytest.mark.parametrize(
    ("status", "tail", "lacks"),
    [
        (255, FATAL, True),
        (1, FATAL, False),
        (255, "something was said before\n" + FATAL, False),
        (255, "FATAL:   failed to set working directory: chdir /x: permission denied\n", False),
        (255, "", False),
    ],
)
def test_only_apptainers_own_word_tells_that_the_working_directory_lacks(
    status: int, tail: str, lacks: bool
) -> None:
    assert lacks_workdir(status, tail) is lacks
