"""Slurm by pyslurm: a process that loads it, here a module of that name that answers like the real one, and what is made of it.

The real one goes through the contract suite where test.cfg names it (`pyslurm_python`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.slurm.child import Program, start_process
from gateway.slurm.hands import CommandResult
from gateway.slurm.protocol import (
    Limits,
    Partition,
    StepRecord,
    SubmitLaterError,
    SubmitRefusedError,
    TaskRecord,
    TaskState,
)
from gateway.slurm.pyslurm import PyslurmBackend
from tests.conftest import CHECKOUT
from tests.slurm.test_cli import FakeHands

ME = os.getuid()
FAKE = """
import json, os, pathlib, types
HERE = pathlib.Path(__file__).parent
__version__ = "25.11.2"
class PyslurmError(Exception): pass
class RPCError(PyslurmError): pass
def _read(name):
    rows = json.loads((HERE / f"{name}.json").read_text())
    return {n: types.SimpleNamespace(**row) for n, row in enumerate(rows)}
class _Config:
    max_array_size = 1001
    accounting_storage_type = "accounting_storage/slurmdbd"
    @classmethod
    def load(cls):
        config = cls()
        config.version = (HERE / "version").read_text()
        return config
slurmctld = types.SimpleNamespace(Config=_Config)
class Jobs:
    load = staticmethod(lambda: _read("jobs"))
class Partitions:
    load = staticmethod(lambda: _read("partitions"))
class _Records:
    @staticmethod
    def load(wanted):
        (HERE / "wanted").write_text(json.dumps(wanted))
        found = _read("records")
        for row in found.values():
            for step in row.steps:
                step["stats"] = types.SimpleNamespace(**step["stats"])
            row.steps = {n: types.SimpleNamespace(**step) for n, step in enumerate(row.steps)}
        return found
db = types.SimpleNamespace(JobFilter=dict, Jobs=_Records)
class JobSubmitDescription:
    def __init__(self, **options):
        (HERE / "submitted").write_text(json.dumps(options))
        if options.get("nodes") == "many":
            raise ValueError("no number of nodes")
    def submit(self):
        said = (HERE / "said").read_text() if (HERE / "said").exists() else ""
        if said == "exit":
            os._exit(1)
        if said:
            raise RPCError(said)
        return 77
"""
SCRIPT = """\
#!/bin/sh
#SBATCH --job-name=cts-1-0-ab
#SBATCH --ntasks=2
#SBATCH --mem=300M
#SBATCH --time=15
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
exec true
"""
Start = Callable[[], Program]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "pyslurm.py").write_text(FAKE)
    (tmp_path / "version").write_text("25.11.7")
    return tmp_path


@pytest.fixture
def hands(tmp_path: Path) -> FakeHands:
    (tmp_path / "script").write_text(SCRIPT)
    return FakeHands()


@pytest.fixture
def slurm(module: Path, hands: FakeHands) -> Iterator[PyslurmBackend]:
    with closing(backend(module, hands)) as made:
        yield made


def backend(module: Path, hands: FakeHands) -> PyslurmBackend:
    load = f"import sys; sys.path[:0] = [{str(module)!r}, {str(CHECKOUT)!r}]; from gateway.cli.helper import main; sys.exit(main())"
    start = partial(start_process, [sys.executable, "-c", load, "--pyslurm"])
    return PyslurmBackend(start, hands, "/opt/slurm/bin", "root" if ME == 0 else _me(), 20)


def _me() -> str:
    import pwd

    return pwd.getpwuid(ME).pw_name


def test_a_submission_is_what_the_script_says_and_a_small_environment(
    slurm: PyslurmBackend, module: Path
) -> None:
    path = str(module / "script")
    assert slurm.submit(path) == "77"
    options = json.loads((module / "submitted").read_text())
    environment = options.pop("environment")
    assert options == {
        "name": "cts-1-0-ab",
        "ntasks": 2,
        "memory_per_node": "300M",
        "time_limit": 15,
        "signal": {"signal": 10, "time": 60, "batch_only": True},
        "is_requeueable": True,
        "script": path,
        "script_args": [path],
    }
    assert environment["PATH"].startswith("/opt/slurm/bin:")
    assert environment["SLURM_UMASK"] == "0077"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Invalid qos specification", SubmitRefusedError),
        ("MaxJobCount limit reached", SubmitLaterError),
        ("Job violates accounting/QOS policy (job submit limit)", SubmitLaterError),
        ("Socket timed out on send/recv operation", SiteError),
        ("exit", SiteError),  # Slurm's library ends its process
    ],
)
def test_refused_later_and_not_known_are_told_apart(
    slurm: PyslurmBackend, module: Path, said: str, kind: type[Exception]
) -> None:
    (module / "said").write_text(said)
    with pytest.raises(kind) as caught:
        slurm.submit(str(module / "script"))
    assert type(caught.value) is kind
    (module / "said").unlink()
    assert slurm.submit(str(module / "script")) == "77"


def test_options_that_pyslurm_does_not_take_are_refused_for_nothing_was_asked(
    slurm: PyslurmBackend, module: Path
) -> None:
    path = module / "script"
    path.write_text("#!/bin/sh\n#SBATCH --nodes=many\nexec true\n")
    with pytest.raises(SubmitRefusedError, match="no number of nodes"):
        slurm.submit(str(path))


def test_gpus_go_by_sbatch_which_alone_can_say_which_task_gets_which(
    slurm: PyslurmBackend, hands: FakeHands, module: Path
) -> None:
    path = module / "script"
    path.write_text("#!/bin/sh\n#SBATCH --gpus-per-task=1\nexec true\n")
    hands.results = [CommandResult(0, "78\n", "")]
    assert slurm.submit(str(path)) == "78"
    ((argv, _, guarded),) = hands.asked
    assert argv == ["/opt/slurm/bin/sbatch", "--parsable", str(path)]
    assert guarded


def test_the_queue_has_each_array_task_of_the_jobs_user(
    slurm: PyslurmBackend, module: Path
) -> None:
    job = {
        "id": 9,
        "array_id": 7,
        "array_task_id": None,  # as pyslurm has the number 0
        "array_tasks_waiting": None,
        "comment": "cts:dev:1:0:ab",
        "state": "RUNNING",
        "state_reason": "None",
        "allocated_nodes": "n1",
        "priority": 5,
        "start_time": 1_800_000_000,
        "user_id": ME,
    }
    waiting = {
        **job,
        **{"id": 7, "array_tasks_waiting": "1-2", "state": "PENDING", "state_reason": None},
        **{"allocated_nodes": None, "start_time": None},
    }
    single = {**job, "id": 11, "array_id": None}
    others = {**job, "id": 12, "user_id": ME + 1}
    (module / "jobs.json").write_text(json.dumps([job, waiting, single, others]))
    start = datetime.fromtimestamp(1_800_000_000, UTC)
    tag = "cts:dev:1:0:ab"
    assert slurm.queue() == [
        TaskState("7", 0, tag, "RUNNING", "None", "n1", 5, start),
        TaskState("7", 1, tag, "PENDING", "", "", 5, None),
        TaskState("7", 2, tag, "PENDING", "", "", 5, None),
        TaskState("11", None, tag, "RUNNING", "None", "n1", 5, start),
    ]


def test_the_accounting_has_steps_and_who_canceled(slurm: PyslurmBackend, module: Path) -> None:
    times = {"submit_time": 10, "start_time": 20, "end_time": 30, "elapsed_time": 10}
    codes = {"exit_code": 0, "exit_code_signal": 15}
    step = {
        **{"name": "run", "state": "CANCELLED", **codes, **times, "cpus": 2},
        "stats": {"total_cpu_time": 3, "max_resident_memory": 4096},
    }
    job = {
        **{"id": 9, "array_id": 7, "array_task_id": 3, "array_tasks_waiting": None},
        **{"name": "cts-1-0-ab", "comment": None, "state": "CANCELLED", "cancelled_by": "bob"},
        **{**codes, **times, "cpus": 2, "nodelist": "n1", "steps": [step]},
    }
    (module / "records.json").write_text(json.dumps([job]))
    begin, end = (datetime.fromtimestamp(seconds, UTC) for seconds in (20, 30))
    since = datetime.fromtimestamp(5, UTC)
    assert slurm.accounting(since) == [
        TaskRecord(
            *("7", 3, "cts-1-0-ab", "", "CANCELLED by bob", "0:15"),
            *(datetime.fromtimestamp(10, UTC), begin, end, 10.0, 2, "n1"),
            (StepRecord("run", "CANCELLED", "0:15", begin, end, 10.0, 3.0, 4096, 2),),
        )
    ]
    assert json.loads((module / "wanted").read_text())["start_time"] == 5


def test_limits_and_partitions_are_slurms(slurm: PyslurmBackend, module: Path) -> None:
    assert slurm.limits() == Limits(1001, "25.11.7")
    rows = [
        {"name": "a", "state": "UP", "max_time": 30, "total_nodes": 4, "is_default": True},
        {"name": "b", "state": "DRAIN", "max_time": "UNLIMITED", "total_nodes": 2, "is_default": False},
    ]  # fmt: skip
    (module / "partitions.json").write_text(json.dumps(rows))
    assert slurm.partitions() == [
        Partition("a", "UP", 30, 4, True),
        Partition("b", "DRAIN", None, 2, False),
    ]


def test_a_pyslurm_of_another_release_is_refused_in_a_line(module: Path, hands: FakeHands) -> None:
    (module / "version").write_text("26.05.5")
    with (
        closing(backend(module, hands)) as slurm,
        pytest.raises(
            SiteError, match=r"pyslurm 25\.11\.2 does not match Slurm 26\.05\.5: both must be of"
        ),
    ):
        slurm.check()
    with closing(backend(module, hands)) as slurm, pytest.raises(SubmitLaterError, match="match"):
        slurm.submit(str(module / "script"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ModuleNotFoundError(name='pyslurm')", "pyslurm is not installed"),
        ("import gone_for_good", "cannot be loaded: No module named 'gone_for_good'"),
        ("raise ImportError('libslurmfull.so: no such file')", "with the Slurm that is here: libsl"),
        ("import sys; sys.stderr.write('fatal: no configuration\\n'); sys.exit(1)", "fatal: no config"),
    ],
)  # fmt: skip
def test_a_pyslurm_that_cannot_be_loaded_is_told_in_a_line(
    module: Path, hands: FakeHands, text: str, said: str
) -> None:
    (module / "pyslurm.py").write_text(text)
    with closing(backend(module, hands)) as slurm, pytest.raises(SiteError, match=said) as caught:
        slurm.check()
    assert "\n" not in str(caught.value)
