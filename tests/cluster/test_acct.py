"""ctsacct beside Slurm's own sacct, for twenty jobs of every ending that takes no minute: what means the same is the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
# The same name for the same thing in both; of sacct's State the first word: it adds who canceled.
FIELDS = ("State", "Start", "End", "Elapsed", "ElapsedRaw", "NodeList", "AllocCPUS", "AllocNodes", "CPUTime", "CPUTimeRAW")  # fmt: skip
STEP_FIELDS = ("State", "ExitCode", "NodeList")
KINDS = ("complete", "exit code", "signal", "memory", "canceled", "scancel")


def _submit(site: DevCluster, images: dict[str, str], kind: str, number: int) -> str:
    kinds: dict[str, dict[str, Any]] = {
        "complete": {"image": images["checksum"], "cpus": 1 + number % 3},
        "exit code": {"image": images["fail"], "params": {"args": [str(number + 1)]}},
        "signal": {"image": images["shell"], "script": "kill -9 $$"},
        "memory": {"image": images["memory"], "params": {"args": ["2000"]}},
        "canceled": {"image": images["sleep"], "params": {"args": ["300"]}, "runtime": 600},
        "scancel": {"image": images["sleep"], "params": {"args": ["300"]}, "runtime": 600},
    }
    return site.submit(**kinds[kind], name=f"acct-{kind.replace(' ', '-')}")


def _table(text: str) -> dict[str, tuple[str, ...]]:
    rows = (tuple(line.split("|")) for line in text.splitlines())
    return {row[0]: row[1:] for row in rows}


def _word(row: tuple[str, ...]) -> tuple[str, ...]:
    return (row[0].split(" ")[0], *row[1:])


def test_twenty_jobs_of_every_ending_are_told_as_sacct_tells_them(site: DevCluster) -> None:
    kinds = [KINDS[n % len(KINDS)] for n in range(20)]
    images = {name: site.image(name) for name in ("checksum", "fail", "shell", "memory", "sleep")}
    jobs = [_submit(site, images, kind, n) for n, kind in enumerate(kinds)]
    for job, kind in zip(jobs, kinds, strict=True):
        if kind in ("canceled", "scancel"):
            site.until(lambda j=job: site.job(j)["phase"] == "run")  # type: ignore[misc]
            if kind == "canceled":
                site.run("cts", "cancel", job)
            else:
                site.run("scancel", site.job(job)["slurm_jobs"][0], user="ctsjob")
    for job in jobs:
        site.finish(job)
    mine = ("ctsacct", "-n", "-P", "-j", ",".join(jobs), "-o")
    names = ",".join(("JobID", "SlurmID", *FIELDS))

    def settled() -> bool:
        rows = _table(site.run(*mine, "JobID,Elapsed").stdout)
        return all(rows[f"{job}_0"][0] for job in jobs)

    site.until(settled)
    ours = {
        row[0]: row[1:]
        for name, row in _table(site.run(*mine, names).stdout).items()
        if name.endswith("_0")
    }
    assert len(ours) == 20
    whole = ("sacct", "-n", "-P", "-j", ",".join(name.partition("_")[0] for name in ours))
    theirs = _table(site.run(*whole, "-X", "-o", f"JobID,{','.join(FIELDS)}", user="root").stdout)
    memory = {f"{job}_0" for job, kind in zip(jobs, kinds, strict=True) if kind == "memory"}
    slurm = {f"{job}_0": name for name, job in _slurm_ids(site, mine).items()}
    for name in map(slurm.__getitem__, memory):  # of which Slurm sees the agent's exit code alone
        assert _word(theirs[name])[0] in ("FAILED", "OUT_OF_MEMORY")
        theirs[name] = ("OUT_OF_MEMORY", *theirs[name][1:])
    assert {name: _word(row) for name, row in theirs.items()} == ours
    words = {row[0] for row in ours.values()}
    assert words == {"COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED"}
    # The container itself is Slurm's step `run`.
    ours_run = {
        slurm[name.removesuffix(".run")]: row
        for name, row in _table(site.run(*mine, f"JobID,{','.join(STEP_FIELDS)}").stdout).items()
        if name.endswith(".run")
    }
    steps = site.run(*whole, "-o", f"JobID,JobName,{','.join(STEP_FIELDS)}", user="root").stdout
    theirs_run = {
        name.partition(".")[0]: _word(row[1:])
        for name, row in _table(steps).items()
        if row[0] == "run"
    }
    assert ours_run == theirs_run
    assert len(ours_run) == 20


def _slurm_ids(site: DevCluster, mine: tuple[str, ...]) -> dict[str, str]:
    """The gateway's jobs by Slurm's tasks."""
    rows = _table(site.run(*mine, "JobID,SlurmID").stdout)
    return {row[0]: name[:-2] for name, row in rows.items() if name.endswith("_0")}
