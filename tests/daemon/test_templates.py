"""Trying templates: each mistake is told with its line, and no template is run that others could have written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SiteSection
from gateway.daemon.site import Site
from gateway.daemon.templates import check_template, require_trusted, sample
from gateway.errors import GatewayError, SiteError
from gateway.slurm.hands import CommandResult
from gateway.slurm.render import template_path

GENERIC = template_path("generic").read_text(encoding="utf-8")


@dataclass
class Hands:
    """Hands whose sbatch answers as it is told."""

    code: int = 0
    said: str = "sbatch: Job 7 to start at 2026-01-31T12:00:00 a using 1 processors\n"
    gone: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        assert guarded
        assert argv[-1] in self.files
        self.ran.append(list(argv))
        if self.gone:
            raise SiteError("sbatch gave no answer in 60 s")
        return CommandResult(self.code, "", self.said)

    def write_files(self, files: Sequence[tuple[str, bytes]]) -> None:
        self.files.update(files)

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            del self.files[path]


def _site(hands: Hands, **keys: Any) -> Site:
    section = SiteSection(
        work_dir=Path("/scratch/cts"), features=("cpu",), licenses={"cfs": 2}, nodes_per_container=4, gpus_per_node=2, **keys
    )  # fmt: skip
    return Site("dev", section, hands, None)  # type: ignore[arg-type]


def _checked(tmp_path: Path, text: str, hands: Hands | None = None) -> list[tuple[str, bool, str]]:
    path = tmp_path / "own.sbatch.j2"
    path.write_text(text)
    hands = hands or Hands()
    found = check_template(_site(hands), str(path), path)
    assert hands.files == {}
    return [(line.name, line.ok, line.detail) for line in found.checks]


@pytest.mark.parametrize("name", ["generic", "perlmutter"])
def test_a_right_one_is_rendered_read_by_bash_and_shown_to_slurm(name: str) -> None:
    hands = Hands()
    found = check_template(_site(hands, modules=("apptainer",), slurm_bin=Path("/opt/slurm/bin")), name, template_path(name))  # fmt: skip
    assert found.ok
    assert [line.name for line in found.checks] == ["render", "bash -n", "sbatch --test-only"]
    assert found.checks[-1].detail.startswith("Job 7 to start at")
    assert found.script is not None
    assert "module load apptainer\n" in found.script
    assert hands.ran[0][:2] == ["/opt/slurm/bin/sbatch", "--test-only"]
    assert hands.ran[0][2].startswith("/scratch/cts/.template-")


@pytest.mark.parametrize(
    ("old", "new", "step", "said"),
    [
        ("{{ v.comment }}", "{{ v.coment }}", "render", "line 3: "),
        ("#SBATCH --comment={{ v.comment }}\n", "", "render", "has no #SBATCH --comment=cts:check: submissions"),
        ("#SBATCH --signal=B:USR1@{{ v.signal_seconds }}\n", "", "render", "has no #SBATCH --signal"),
        ("--array=0-", "--array=1-", "render", "has no #SBATCH --array=0-"),
        ("#SBATCH --job-name", "true\n#SBATCH --job-name", "render", "line 3 of its script: #SBATCH --job-name="),
        ("exec {{ v.python }}", "{{ v.python }}", "render", "does not end by starting the agent: exec /usr/bin/python3"),
        ("exec {{ v.python }}", "if true; then\nexec {{ v.python }}", "bash -n", "syntax error"),
        ("exec {{ v.python }}", "echo 'a\nexec {{ v.python }}", "bash -n", "line "),
        ("{% if v.gpus %}", "{% if v.gpu %}", "render", "no attribute 'gpu'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_nothing_is_tried_after_it(
    tmp_path: Path, old: str, new: str, step: str, said: str
) -> None:
    assert old in GENERIC
    *before, (name, ok, detail) = _checked(tmp_path, GENERIC.replace(old, new))
    assert (name, ok) == (step, False)
    assert said in detail
    assert all(good for _, good, _ in before)


def test_what_slurm_says_against_it_is_told(tmp_path: Path) -> None:
    refused = Hands(code=1, said="allocation failure: Invalid qos specification\n")
    assert _checked(tmp_path, GENERIC, refused)[-1][1:] == (False, "allocation failure: Invalid qos specification")  # fmt: skip
    unknown = Hands(code=255, said='sbatch: unrecognized option \'--bogus\'\nTry "sbatch --help" for more information\n')  # fmt: skip
    assert "unrecognized option '--bogus'" in _checked(tmp_path, GENERIC, unknown)[-1][2]
    assert _checked(tmp_path, GENERIC, Hands(gone=True))[-1][1:] == (False, "sbatch gave no answer in 60 s")  # fmt: skip


def test_a_directive_that_slurmrestd_cannot_be_given_is_told_where_the_site_uses_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.sbatch.j2"
    path.write_text(GENERIC.replace("#SBATCH --requeue", "#SBATCH --requeue\n#SBATCH --nice=5"))
    assert check_template(_site(Hands()), str(path), path).ok
    site = _site(Hands())
    site.section = site.section.model_copy(update={"backend": "rest"})
    for name in ("generic", "perlmutter"):
        assert check_template(site, name, template_path(name)).ok
    (line,) = check_template(site, str(path), path).checks
    assert (line.name, line.ok) == ("render", False)
    assert "'#SBATCH --nice=5' cannot be given to slurmrestd" in line.detail


def test_the_samples_are_the_smallest_job_and_one_with_all_that_the_site_offers() -> None:
    section = _site(Hands(), licenses_default=("scratch",)).section
    small, full = sample(section), sample(section, full=True)
    assert (small.gpus, small.nodes, small.licenses, small.qos) == (0, 1, "scratch", None)
    assert (full.gpus, full.nodes, full.licenses, full.at_once) == (2, 4, "scratch,cfs", 2)
    assert (full.constraint, full.qos) == ("cpu", "sample")


def test_only_what_root_or_the_daemon_alone_can_have_written_is_tried(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=Path.home()))
    folder.chmod(0o755)
    try:
        path = folder / "own.sbatch.j2"
        path.write_text(GENERIC)
        path.chmod(0o644)
        require_trusted(path)
        path.chmod(0o664)
        with pytest.raises(GatewayError, match="can be changed by others"):
            require_trusted(path)
        path.chmod(0o644)
        folder.chmod(0o777)
        with pytest.raises(GatewayError, match=f"{folder} can be changed by others"):
            require_trusted(path)
    finally:
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
    (tmp_path / "keys").write_text("secret")
    with pytest.raises(GatewayError, match="must be named"):
        require_trusted(tmp_path / "keys")
    (tmp_path / "own.sbatch.j2").write_text(GENERIC)
    with pytest.raises(GatewayError, match="can be changed by others"):  # /tmp is everybody's
        require_trusted(tmp_path / "own.sbatch.j2")
