"""ctsbatch: sbatch's options, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.gateway_fake import FakeGateway
from tests.cli.run import run

NEEDED = ("--image", "ghcr.io/kbase/checksum:1.0", "--input", "data/a.txt", "--output", "results/x")


def _sent(fake: FakeGateway, *argv: str) -> dict[str, Any]:
    done = run(fake, "ctsbatch", *NEEDED, *argv)
    assert done.code == 0, done
    sent: dict[str, Any] = fake.jobs.calls[-1][1]
    return sent


def test_the_answer_is_sbatchs_and_parsable_the_id_alone(fake: FakeGateway) -> None:
    assert run(fake, "ctsbatch", *NEEDED).out == "Submitted batch job 1\n"
    assert run(fake, "ctsbatch", *NEEDED, "--parsable").out == "2\n"


def test_test_only_shows_what_the_job_would_be_and_submits_nothing(fake: FakeGateway) -> None:
    done = run(fake, "ctsbatch", *NEEDED, "--test-only")
    assert done.code == 0
    assert "nothing was submitted" in done.out
    assert done.out.endswith(fake.jobs.script_text)
    assert [name for name, _ in fake.jobs.calls] == ["dry_run"]
    assert fake.jobs.rows == {}


def test_options_become_the_job(fake: FakeGateway) -> None:
    sent = _sent(
        fake, "--input", "data/b.txt", "-n", "2", "-c", "4", "--mem", "2G", "-t", "1:30:00", "-J", "mine", "-M", "dev",
        "--", "--flag", "a b", "--", "-x",
    )  # fmt: skip
    assert sent == {
        "cluster": "dev", "image": "ghcr.io/kbase/checksum:1.0", "input_files": ["data/a.txt", "data/b.txt"],
        "output_dir": "results/x", "num_containers": 2, "cpus": 4, "memory": "2GiB", "runtime": "1:30:00",
        "name": "mine", "params": {"args": ["--flag", "a b", "--", "-x"]},
    }  # fmt: skip


def test_what_is_asked_of_slurm_has_sbatchs_options(fake: FakeGateway) -> None:
    short = _sent(
        fake, "-A", "lab", "-q", "debug", "-p", "gpu", "-C", "a&b", "-G", "2", "-L", "cfs:2", "-N", "3", "--reservation", "course",
    )  # fmt: skip
    wanted = {
        "account": "lab", "qos": "debug", "partition": "gpu", "constraint": "a&b", "gpus": 2, "licenses": "cfs:2",
        "nodes": 3, "reservation": "course",
    }  # fmt: skip
    assert {field: short[field] for field in wanted} == wanted
    long = _sent(
        fake, "--account=lab", "--qos=debug", "--partition=gpu", "--constraint=a&b", "--gpus-per-task=2", "--licenses=cfs:2",
        "--nodes=3", "--reservation=course",
    )  # fmt: skip
    assert long == short
    assert not wanted.keys() & _sent(fake).keys()


@pytest.mark.parametrize(
    ("given", "memory"),
    [
        ("500", "500MiB"),
        ("500M", "500MiB"),
        ("2g", "2GiB"),
        ("1T", "1TiB"),
        ("1024K", "1024KiB"),
        ("2GB", "2GB"),
        ("2GiB", "2GiB"),
    ],
)
def test_memory_without_a_b_is_binary_as_sbatch_has_it(
    fake: FakeGateway, given: str, memory: str
) -> None:
    assert _sent(fake, "--mem", given)["memory"] == memory


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30", 1800),
        ("1:30", 90),
        ("1:30:00", 5400),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("PT90S", 90),
    ],
)
def test_a_time_is_what_sbatch_means_by_it(fake: FakeGateway, given: str, seconds: int) -> None:
    from gateway.jobs.quantities import parse_runtime

    assert parse_runtime(_sent(fake, "-t", given)["runtime"]) == seconds


def test_a_bad_size_or_time_is_refused_by_the_gateway(fake: FakeGateway) -> None:
    run(fake, "ctsbatch", *NEEDED, "--mem", "lots").refused(2, "memory")
    run(fake, "ctsbatch", *NEEDED, "-t", "1:99:00").refused(2, "runtime")


def test_the_only_site_need_not_be_named(fake: FakeGateway) -> None:
    assert _sent(fake)["cluster"] == "dev"
    fake.info.sites_.append(fake.info.sites_[0].model_copy(update={"cluster": "mars"}))
    run(fake, "ctsbatch", *NEEDED).refused(2, "--site", "dev, mars")
    assert _sent(fake, "-M", "mars")["cluster"] == "mars"
    assert _sent(fake, "-M", "any")["cluster"] == "any"
    fake.info.sites_[:] = []
    run(fake, "ctsbatch", *NEEDED).refused(2, "none that take jobs")


def test_a_script_for_any_site_has_memory_that_each_of_them_gives_with_its_cpus(
    fake: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "a.sh").write_text("#!/bin/sh\ntrue\n")
    dev = fake.info.sites_[0]
    fake.info.sites_ += [
        dev.model_copy(update={"cluster": "lean", "memory_per_node_gb": 8.0}),
        dev.model_copy(update={"cluster": "off", "memory_per_node_gb": 1.0, "active": False}),
    ]
    script = str(tmp_path / "a.sh")
    assert _sent(fake, "-M", "any", "-c", "2", script)["memory"] == 2_000_000_000
    assert _sent(fake, "-M", "dev", "-c", "2", script)["memory"] == 3_875_000_000


@pytest.mark.parametrize("left_out", ["--image", "--input", "--output"])
def test_what_is_needed_is_named_when_it_is_missing(fake: FakeGateway, left_out: str) -> None:
    at = NEEDED.index(left_out)
    done = run(fake, "ctsbatch", *NEEDED[:at], *NEEDED[at + 2 :])
    assert (done.code, done.out) == (2, "")
    assert left_out in done.err


@pytest.mark.parametrize(("end", "code"), [("complete", 0), ("error", 1)])
def test_waiting_ends_as_the_job_does(fake: FakeGateway, end: str, code: int) -> None:
    fake.jobs.ends = end
    done = run(fake, "ctsbatch", *NEEDED, "-W")
    assert (done.code, done.out) == (code, "Submitted batch job 1\n")
    assert done.err == ("job 1 is error\n" if code else "")


def test_bytes_that_are_no_text_are_no_crash(fake: FakeGateway) -> None:
    run(fake, "ctsbatch", *NEEDED, "--input", "data/\udcff").refused(2, "(appcode ")
    run(fake, "cts", "show", "\udcff").refused(3, "(appcode 40040)")
    run(fake, "cts", "admin", "image", "approve", "\udcff").refused(2, "(appcode 30040)")
