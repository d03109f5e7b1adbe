"""ctsbatch with a script: what its options become, whence they come, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.gateway_fake import FakeGateway
from tests.cli.run import run

BODY = '#!/bin/bash -e\n{head}\nwc -l "$1" > /output_files/"$(id -u)";\n'
NEEDED = "#CTS --image=docker:lab/tool:1\n#CTS --input data/a.fq\n#CTS --output results/x"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for a script; no file of the user's counts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "count.sh"


def _sent(fake: FakeGateway, *argv: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = run(fake, "ctsbatch", *argv, env=env)
    assert done.code == 0, done
    sent: dict[str, Any] = fake.jobs.calls[-1][1]
    return sent


def _write(script: Path, *lines: str) -> str:
    script.write_text(BODY.format(head="\n".join([NEEDED, *lines])))
    return str(script)


def test_its_text_travels_as_it_is_and_what_follows_it_is_its_own(
    fake: FakeGateway, script: Path
) -> None:
    sent = _sent(fake, _write(script, "#CTS -q debug"), "--qos", "a b", "-n")
    assert sent == {
        "cluster": "dev",
        "image": "lab/tool:1",
        "input_files": ["data/a.fq"],
        "output_dir": "results/x",
        "num_containers": 1,
        "cpus": 1,
        "memory": sent["memory"],
        "qos": "debug",
        "name": "count.sh",
        "script": script.read_text(),
        "params": {"args": ["--qos", "a b", "-n"]},
    }


def test_without_mem_it_has_its_cpus_share_of_a_node(fake: FakeGateway, script: Path) -> None:
    site = fake.info.sites_[0]
    whole = int(site.memory_per_node_gb * 1000) * 10**6
    assert _sent(fake, "-c", str(site.cpus_per_node), _write(script))["memory"] == whole
    assert _sent(fake, _write(script))["memory"] <= whole / site.cpus_per_node
    assert _sent(fake, "--mem", "2G", _write(script))["memory"] == "2GiB"
    assert _sent(fake, "-c", "3", "--mem-per-cpu", "500", _write(script))["memory"] == 1500 << 20
    assert _sent(fake, "-G", "2", "--mem-per-gpu", "1G", _write(script))["memory"] == 2 << 30


def test_the_command_line_is_over_variables_over_the_script_over_the_users_file(
    fake: FakeGateway, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "config/cts").mkdir(parents=True)
    file = tmp_path / "config/cts/ctsbatch.toml"
    file.write_text(
        'account = "file"\nqos = "file"\ntime = "7"\ncpus-per-task = 3\nlabel = ["a=b"]\n'
    )
    path, env = _write(script, "#CTS -q script", "#CTS -A script"), {"CTSBATCH_ACCOUNT": "variable"}
    sent = _sent(fake, path, env=env)
    assert (sent["account"], sent["qos"], sent["runtime"]) == ("variable", "script", 420)
    assert (sent["cpus"], sent["labels"]) == (3, {"a": "b"})
    assert _sent(fake, "-A", "typed", path, env=env)["account"] == "typed"
    assert _sent(fake, "--input", "data/b", path)["input_files"] == ["data/b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acount = 'x'", "acount: unknown option; did you mean 'account'?"),
        ("url = 'https://x'", "url: unknown option"),
        ("account = ['x']", "account: must be text"),
        ("cpus-per-task = 'x'", "ctsbatch.toml: "),
        ("account = ", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_users_file_names_the_file(
    fake: FakeGateway, script: Path, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "config/cts").mkdir(parents=True)
    (tmp_path / "config/cts/ctsbatch.toml").write_text(text)
    run(fake, "ctsbatch", _write(script)).refused(2, "ctsbatch.toml", said)


def test_lines_add_to_options_that_are_given_often_and_the_last_of_others_counts(
    fake: FakeGateway, script: Path
) -> None:
    sent = _sent(
        fake, _write(script, "#CTS --input data/b.fq --input 'data/*.fa'", "#CTS -J one -J two")
    )
    assert sent["input_files"] == ["data/a.fq", "data/b.fq"]
    assert sent["input_globs"] == ["data/*.fa"]
    assert sent["name"] == "two"


def test_tasks_and_gpus_mean_with_a_script_what_sbatch_means(
    fake: FakeGateway, script: Path
) -> None:
    sent = _sent(fake, _write(script, "#CTS -N 2 -n 8 -c 3 --gpus 4"))
    assert (sent["nodes"], sent["cpus"], sent["gpus"], sent["num_containers"]) == (2, 12, 2, 1)
    assert sent["params"]["environment"] == {"SLURM_NTASKS": "8", "SLURM_CPUS_PER_TASK": "3"}
    sent = _sent(fake, _write(script, "#CTS -N 2 --ntasks-per-node=4 --gpus-per-task 1"))
    assert (sent["cpus"], sent["gpus"]) == (4, 4)
    assert sent["params"]["environment"]["SLURM_NTASKS"] == "8"
    assert _sent(fake, _write(script, "#CTS --gres=gpu:2"))["gpus"] == 2
    run(fake, "ctsbatch", _write(script, "#CTS -N 2 -G 3")).refused(2, "shared out evenly")
    run(fake, "ctsbatch", _write(script, "#CTS -G a100:3")).refused(2, "--gpus 3 and -C")
    run(fake, "ctsbatch", _write(script, "#CTS -G 1 --gres gpu:1")).refused(2, "give one of them")


def test_an_array_has_a_container_for_each_task(fake: FakeGateway, script: Path) -> None:
    sent = _sent(fake, _write(script, "#CTS -a 1-9:2%2"))
    assert sent["array"] == "1-9:2%2"
    assert "num_containers" not in sent
    run(fake, "ctsbatch", "--split", "2", _write(script, "#CTS -a 1-2")).refused(2, "leave --split")
    run(fake, "ctsbatch", _write(script, "#CTS -a 1-x")).refused(2, "array", "write 0-15")


def test_output_is_a_place_in_s3_or_as_for_sbatch_a_file_for_the_log(
    fake: FakeGateway, script: Path, tmp_path: Path
) -> None:
    fake.jobs.ends = "complete"
    path = _write(script, "#CTS --output=%x-%3j_%a.log", "#CTS --array=4-5", f"#CTS -D {tmp_path}")
    done = run(fake, "ctsbatch", path)
    assert (
        done.err
        == "note: the files of -o and -e are written by ctsbatch -W; read the logs with: cts logs 1\n"
    )
    done = run(fake, "ctsbatch", "-W", path)
    assert done.code == 0, done
    assert sorted(found.name for found in tmp_path.glob("*.log")) == [
        "count.sh-002_4.log",
        "count.sh-002_5.log",
    ]
    assert "%q stands for nothing" in run(fake, "ctsbatch", "-W", "-o", "%q", path).err
    run(fake, "ctsbatch", "--results", "results/y", path).refused(
        2, "--results and --output results/x"
    )


def test_variables_reach_the_container_only_by_name(fake: FakeGateway, script: Path) -> None:
    path = _write(script, "#CTS --export=A='x y',HERE")
    sent = _sent(fake, path, env={"HERE": "there"})
    assert sent["params"]["environment"] == {"A": "x y", "HERE": "there"}
    assert "environment" not in _sent(fake, "--export", "NONE", path)["params"]
    for export, said in (
        ("ALL", "no variables but those"),
        ("GONE", "no variable GONE"),
        ("1=2", "is no variable"),
    ):
        run(fake, "ctsbatch", "--export", export, path).refused(2, said)


def test_volumes_are_places_of_inputs_and_results(fake: FakeGateway, script: Path) -> None:
    argv = ("--image", "tool:1", "--volume", "data/run:/in;results/x:/out:rw")
    script.write_text("#!/bin/sh\nid\n")
    sent = _sent(fake, *argv, str(script))
    assert (sent["input_dirs"], sent["input_roots"]) == (["data/run"], ["data/run"])
    assert sent["output_dir"] == "results/x"
    assert sent["params"] == {"args": [], "input_mount_point": "/in", "output_mount_point": "/out"}
    assert (
        _sent(fake, *argv, "--refdata", "/db", str(script))["params"]["refdata_mount_point"]
        == "/db"
    )
    for volume, said in (
        ("/pscratch/sd/a:/data", "is a directory of a site"),
        ("data:/a:ro;data/b:/b", "at one place"),
        ("data", "is no volume"),
        ("data:/a:perNodeCache=size=1G", "is no volume"),
    ):
        run(fake, "ctsbatch", "--image", "tool:1", "--volume", volume, str(script)).refused(2, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--qoss=debug", "count.sh: line 5: No such option: --qoss"),
        ("--begin=now", "count.sh: line 5: --begin is sbatch's, and not ctsbatch's: the gateway starts"),
        ("-w n1", "-w is sbatch's"),
        ("-N two", "count.sh: line 5: Invalid value for '-N' / '--nodes'"),
        ("--time", "count.sh: line 5: Option '--time' requires an argument"),
        ("hello", "count.sh: line 5: 'hello' is no option"),
        ("-J two words", "'words' is no option"),
        ("--url=https://x", "--url is for the command line alone"),
        ("--wrap=id", "--wrap is for the command line alone"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_named(
    fake: FakeGateway, script: Path, line: str, said: str
) -> None:
    run(fake, "ctsbatch", _write(script, f"#CTS {line}")).refused(2, said)
    assert fake.jobs.calls == []


def test_sbatchs_options_on_the_command_line_are_told_of_likewise(
    fake: FakeGateway, script: Path
) -> None:
    run(fake, "ctsbatch", "--exclusive", _write(script)).refused(2, "--exclusive is sbatch's", "-c")
    done = run(fake, "ctsbatch", "--quos=debug", _write(script))
    assert done.code == 2
    assert "--qos" in done.err


def test_what_is_taken_and_not_heeded_is_said(fake: FakeGateway, script: Path) -> None:
    path = _write(script, "#CTS --mail-type=END --mail-user=me -v --requeue", "#SBATCH -n 2")
    assert run(fake, "ctsbatch", path).err.startswith("note: --mail-type, --mail-user")
    done = run(fake, "ctsbatch", "-Q", path)
    assert (done.out, done.err) == ("", "")


def test_a_script_may_come_from_standard_input_and_a_command_may_be_wrapped(
    fake: FakeGateway, script: Path
) -> None:
    done = run(fake, "ctsbatch", "-", text=BODY.format(head=NEEDED))
    assert done.out == "Submitted batch job 1\n"
    assert fake.jobs.calls[-1][1]["script"] == BODY.format(head=NEEDED)
    given = ("--image", "tool:1", "--input", "data/a", "--output", "results/x")
    sent = _sent(fake, *given, "--wrap", "wc -l /input_files/* | tee '/output_files/x'")
    assert sent["script"] == "#!/bin/sh\nwc -l /input_files/* | tee '/output_files/x'\n"
    assert sent["name"] == "wrap"
    run(fake, "ctsbatch", *given, "--wrap", "id", str(script)).refused(2, "--wrap does not go with")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x7fELF\xff", "no text"),
        (b"echo hi\n", "line 1: a batch script begins with #!"),
        (b"#!/bin/sh\n" + b"x" * 300_000, "is longer than"),
        (b"#!/bin/sh\n" + b"x" * 70_000, "at most 65536"),
    ],
)
def test_what_is_no_script_is_refused(
    fake: FakeGateway, script: Path, data: bytes, said: str
) -> None:
    script.write_bytes(data)
    run(fake, "ctsbatch", str(script)).refused(2, "count.sh: ", said)


def test_a_dependency_that_the_gateway_has_not_is_refused_with_what_to_do(
    fake: FakeGateway, script: Path
) -> None:
    path = _write(script)
    sent = _sent(fake, "-d", "afterok:7:8,afterany:9", path)
    assert [each["job_id"] for each in sent["depends_on"]] == ["7", "8", "9"]
    for text, said in (
        ("singleton", "afterany:JOB"),
        ("afternotok:7", "afterany"),
        ("aftercorr:7", "afterok"),
        ("after:7", "afterok"),
        ("afterok:7?afterok:8", "all must hold"),
    ):
        run(fake, "ctsbatch", "-d", text, path).refused(2, text.partition(":")[0], said)
