"""Trying a template of batch scripts: rendered for sample jobs, read by bash, looked at line by line, shown to Slurm.

A template is a program that the daemon runs. Those of the release and of the configuration are the operator's; another one
is tried only if nobody but root or the daemon's user can have written it, whoever asks.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway import wire
from gateway.config import SiteSection
from gateway.daemon.site import Site
from gateway.errors import AppCode, ConfigError, GatewayError, SiteError
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.slurm.directives import job_fields
from gateway.slurm.render import ENDING, ScriptValues, render, template_path
from gateway.store.db import Database

_DIRECTIVE = re.compile(r"#SBATCH[ \t]")
_BASH = re.compile(r"^bash: (line [0-9]+: .*)")
_SECONDS = 30.0


class Templates:
    """Templates as admins try them; callers are admins: the API has seen to that."""

    def __init__(self, database: Database, sites: Mapping[str, Site]) -> None:
        self._db = database
        self._sites = sites

    def check(self, caller: Caller, name: str, template: str | None) -> wire.TemplateCheck:
        """Try a template at a site: its own, where none is named.

        Raises
        ------
        GatewayError
            NOT_FOUND for a site that there is not, ILLEGAL_PARAMETER for a template that there is not or that may not be
            tried. What is wrong with one is no error here.
        """
        site = self._sites.get(name)
        if site is None:
            names = ", ".join(sorted(self._sites))
            raise GatewayError(
                AppCode.NOT_FOUND, f"There is no site {name!r}; the sites are {names}."
            )
        wanted = template or site.section.template
        try:
            path = template_path(wanted)
        except ConfigError as exc:
            raise GatewayError(AppCode.ILLEGAL_PARAMETER, f"template: {exc}.") from exc
        if wanted.startswith("/") and wanted not in self._known():
            require_trusted(path)
        with self._db.write() as session:
            audit(session, caller, "template.check", f"{name} {wanted}"[:1000], "ok")
        return check_template(site, wanted, path)

    def _known(self) -> set[str]:
        return {site.section.template for site in self._sites.values()}


def require_trusted(path: Path) -> None:
    """See that a template was written by root or this process's user, and can be changed by nobody else.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER, naming the file or directory.
    """
    if not path.name.endswith(ENDING):
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER, f"template: {path} must be named …{ENDING}; rename it."
        )
    real = path.resolve()
    for each in (real, *real.parents):
        found = each.stat()
        if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & 0o022:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"template: {each} can be changed by others than root and the daemon; a template is a program that the daemon "
                "runs: put it into a directory of root's, such as /etc/cts.",
            )


def sample(section: SiteSection, *, full: bool = False) -> ScriptValues:
    """Return the values of the smallest job, or of one that uses all that the site offers."""
    job_dir = f"{section.work_dir}/jobs/1"
    values = ScriptValues(
        job_name="cts-check",
        comment="cts:check",
        job_dir=job_dir,
        tasks=1,
        per_task=1,
        cpus=1,
        memory_mb=1,
        minutes=1,
        signal_seconds=section.signal_seconds,
        partition=section.partition,
        account=section.account,
        qos=section.qos,
        python=str(section.python),
        agent=f"{section.work_dir}/agent",
        job_file=f"{job_dir}/job.json",
        number=0,
        licenses=",".join(section.licenses_default) or None,
        modules=section.modules,
    )
    if not full:
        return values
    return dataclasses.replace(
        values,
        tasks=3,
        at_once=2,
        nodes=section.nodes_per_container,
        gpus=section.gpus_per_node,
        constraint="&".join(section.features[:1]) or None,
        reservation=next(iter(section.reservations), None),
        licenses=",".join([*section.licenses_default, *section.licenses]) or None,
        qos=section.qos or "sample",
        partition=section.partition or "sample",
        account=section.account or "sample",
    )


def check_template(site: Site, template: str, path: Path) -> wire.TemplateCheck:
    """Try a template; the lines after the first that fails are left out."""
    found: list[wire.ReadyLine] = []
    script = ""
    for name, attempt in _steps(site, template):
        try:
            script, detail = attempt(script)
        except (ConfigError, SiteError, ValueError) as exc:
            found.append(wire.ReadyLine(name=name, ok=False, detail=str(exc)))
            break
        found.append(wire.ReadyLine(name=name, ok=True, detail=detail))
    return wire.TemplateCheck(
        cluster=site.name,
        template=template,
        path=str(path),
        ok=found[-1].ok,
        checks=found,
        script=script or None,
    )


Step = Callable[[str], tuple[str, str]]  # takes and returns the sample's script; says what it found


def _steps(site: Site, template: str) -> tuple[tuple[str, Step], ...]:
    section = site.section
    small, full = sample(section), sample(section, full=True)

    def rendered(_: str) -> tuple[str, str]:
        for values in (full, small):
            script = render(template, values)
            _look(script, values)
            if section.backend == "rest":
                job_fields(script)
        return script, "renders the smallest job, and one with all that the site offers"

    def read_by_bash(script: str) -> tuple[str, str]:
        for each in (render(template, full), script):
            bash(each)
        return script, "bash finds no fault"

    def shown_to_slurm(script: str) -> tuple[str, str]:
        return script, test_only(site, script)

    return ("render", rendered), ("bash -n", read_by_bash), ("sbatch --test-only", shown_to_slurm)


def _look(script: str, values: ScriptValues) -> None:
    """See that a script has what the gateway cannot do without, where sbatch reads it; raises ConfigError."""
    lines = script.splitlines()
    head = next(
        (n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines)
    )
    for number, line in enumerate(lines[head:], head + 1):
        if _DIRECTIVE.match(line):
            raise ConfigError(
                f"line {number} of its script: {line[:80]} is behind the first command, where sbatch reads it no more"
            )
    needed = {
        f"--job-name={values.job_name}": "submissions are found again by it",
        f"--comment={values.comment}": "submissions are found again by it",
        f"--array=0-{values.tasks - 1}": "each task is a task of the gateway's",
        "--signal=B:USR1@": "outputs are saved before the time limit by it",
        f"--time={values.minutes}": "the job's time stands there",
    }
    for text, why in needed.items():
        if not any(line.startswith("#SBATCH") and text in line for line in lines[:head]):
            raise ConfigError(f"its script has no #SBATCH {text}: {why}")
    agent = f"{values.python} -I {values.agent} batch {values.job_file} {values.number}"
    if not any(line == f"exec {agent}" for line in lines):
        raise ConfigError(f"its script does not end by starting the agent: exec {agent}")


def bash(script: str) -> None:
    """Have bash read a script without running it.

    Raises
    ------
    ConfigError
        With the line.
    """
    try:
        done = subprocess.run(
            ["bash", "-n"],
            input=script,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigError(f"bash cannot be asked: {exc}") from exc
    if done.returncode != 0 or done.stderr:
        first = done.stderr.strip().partition("\n")[0]
        match = _BASH.match(first)
        raise ConfigError(f"{match[1] if match else first} (of its script)")


def test_only(site: Site, script: str) -> str:
    """Have Slurm look at a script without taking it; return what it says.

    Raises
    ------
    ConfigError
        When it would refuse it.
    SiteError
        When it does not answer.
    """
    path = f"{site.work}/.template-{secrets.token_hex(8)}.sbatch"
    program = f"{site.section.slurm_bin}/sbatch" if site.section.slurm_bin else "sbatch"
    site.hands.write_files([(path, script.encode("ascii"))])
    try:
        done = site.hands.run(
            [program, "--test-only", path], site.section.command_timeout_seconds, guarded=True
        )
    finally:
        site.hands.remove([path])
    lines = [
        line.strip().removeprefix("sbatch: ") for line in done.stderr.splitlines() if line.strip()
    ]
    said = " ".join(lines)[:1000]
    if done.returncode != 0:
        raise ConfigError(said.replace("error: ", "") or f"exit code {done.returncode}")
    return lines[-1][:1000] if lines else "taken"
