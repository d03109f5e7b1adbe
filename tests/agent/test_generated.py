"""Files that the daemon writes beside the inputs of a container."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.agent.files import ContractError, Generated
from gateway.agent.generated import write_generated
from tests.agent.task import Task


def test_each_is_written_byte_by_byte_and_read_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        write_generated(tmp_path, [Generated("manifest-1", "ä\n\r\n"), Generated("cts-script", "")])
    finally:
        os.umask(before)
    assert (tmp_path / "manifest-1").read_bytes() == "ä\n\r\n".encode()
    assert (tmp_path / "cts-script").read_bytes() == b""
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b"])
def test_a_name_that_leads_elsewhere_is_a_breach_of_the_contract(tmp_path: Path, name: str) -> None:
    with pytest.raises(ContractError, match="does not lie in the input directory"):
        write_generated(tmp_path / "in", [Generated(name, "x")])


def test_a_container_finds_the_files_of_its_job_and_its_own_beside_its_inputs(task: Task) -> None:
    task.generated = [{"path": "manifest-1", "text": "/input_files/a.txt\n"}]
    common = [{"path": "cts-script", "text": "true\n"}]
    ended = task.run('cat "$IN"/manifest-1 "$IN"/cts-script "$IN"/a.txt', generated=common)
    assert ended.outcome == ("ok", 0), ended.error
    said = (task.site.base / "stdout").read_text()
    assert said == "/input_files/a.txt\ntrue\nhello"


def test_a_generated_file_that_cannot_be_written_ends_the_task_before_anything_runs(
    task: Task,
) -> None:
    task.generated = [{"path": "m", "text": "1"}, {"path": "m", "text": "2"}]
    ended = task.run("true")
    assert ended.result["outcome"] == "stage-in-failed"
    assert "the inputs cannot be written: File exists" in ended.error
