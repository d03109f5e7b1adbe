"""The hands in a child process: it may die, hang, talk nonsense or be somebody's prey; the gateway goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SiteError
from gateway.slurm.hands import LocalHands
from gateway.slurm.helper import HelperHands
from gateway.slurm.serve import perform
from tests.slurm.waiting import can_lock, wait_for

REAL = [sys.executable, "-c", "from gateway.cli.helper import main; raise SystemExit(main())"]
CHECKOUT = str(Path(__file__).resolve().parents[2])


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """Commands of a Slurm that obeys the test."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, body in {
        "squeue": 'echo "$@"',
        "sbatch": f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo 7",
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def start(work: Path) -> Iterator[Callable[..., HelperHands]]:
    """Make hands with a helper; they are closed after the test."""
    made: list[HelperHands] = []

    def make(command: list[str] | None = None, **options: Any) -> HelperHands:
        real = ["env", f"PYTHONPATH={CHECKOUT}", *REAL]
        made.append(HelperHands(real if command is None else command, str(work), **options))
        return made[-1]

    yield make
    for hands in made:
        hands.close()


def fake(tmp_path: Path, body: str) -> list[str]:
    """A helper of the test's own making; `read()` gives the next request, `say(number, good, answer)` answers it."""
    path = tmp_path / "fake.py"
    path.write_text(
        "import json, os, sys, time\n"
        "def read(): return json.loads(sys.stdin.readline())\n"
        "def say(*x): print(json.dumps(x), flush=True)\n" + body
    )
    return [sys.executable, "-S", str(path)]


READY = "print('ready', flush=True)\n"


class TestARealHelper:
    def test_files_and_commands_come_through_unchanged(
        self, start: Callable[..., HelperHands], work: Path, bin_dir: Path
    ) -> None:
        hands = start()
        data = bytes(range(256)) * 5000
        hands.write_files([(f"{work}/a b/ü\n", data), (f"{work}/box/1", b"x")])
        assert (work / "a b/ü\n").read_bytes() == data
        assert hands.size(f"{work}/a b/ü\n") == len(data)
        assert hands.read_file(f"{work}/a b/ü\n", 1, 300) == data[1:301]
        assert hands.read_file(f"{work}/none") is None
        assert hands.size(f"{work}/none") is None
        assert hands.scan(f"{work}/box", 5) == [("1", b"x")]
        (entry,) = hands.listing(f"{work}/box")
        assert (entry.name, entry.size) == ("1", 1)
        assert hands.listing(f"{work}/none") == []
        assert hands.sha256(f"{work}/box/1") == hashlib.sha256(b"x").hexdigest()
        assert hands.sha256(f"{work}/none") is None
        done = hands.run([f"{bin_dir}/squeue", "$(id)", "ü"], 10)
        assert (done.returncode, done.stdout) == (0, "$(id) ü\n")
        hands.remove([f"{work}/box", f"{work}/a b"])
        assert sorted(p.name for p in work.iterdir()) == [".lock"]

    def test_what_went_wrong_there_is_told_here(
        self, start: Callable[..., HelperHands], work: Path, bin_dir: Path
    ) -> None:
        hands = start()
        with pytest.raises(SiteError, match="cannot write"):
            hands.write_files([(f"{work}/{'x' * 300}", b"")])
        (bin_dir / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
        with pytest.raises(SiteError, match=r"squeue gave no answer in 0\.2 s"):
            hands.run([f"{bin_dir}/squeue"], 0.2)
        with pytest.raises(SiteError, match="the helper cannot do read_file"):
            hands.read_file(f"{work}/\0")

    def test_many_callers_get_each_their_own_answer_while_a_long_request_goes_on(
        self, start: Callable[..., HelperHands], work: Path, bin_dir: Path, tmp_path: Path
    ) -> None:
        hands = start()
        with ThreadPoolExecutor(30) as pool:
            slow = pool.submit(hands.run, [f"{bin_dir}/sbatch"], 60, guarded=True)
            wait_for((tmp_path / "pid").exists)
            jobs = [pool.submit(hands.run, [f"{bin_dir}/squeue", str(n)], 30) for n in range(20)]
            files = [
                pool.submit(hands.write_files, [(f"{work}/{n}", str(n).encode())])
                for n in range(50)
            ]
            assert [job.result(30).stdout for job in jobs] == [f"{n}\n" for n in range(20)]
            assert [file.result(30) for file in files] == [None] * 50
            assert not slow.done()
            (tmp_path / "go").touch()
            assert slow.result(30).stdout == "7\n"
        assert all((work / str(n)).read_text() == str(n) for n in range(50))

    def test_a_slurm_that_hangs_holds_up_no_files(
        self, start: Callable[..., HelperHands], work: Path, bin_dir: Path, tmp_path: Path
    ) -> None:
        hands = start()
        (bin_dir / "squeue").write_text(
            f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n"
        )
        with ThreadPoolExecutor(20) as pool:
            hung = [pool.submit(hands.run, [f"{bin_dir}/squeue"], 60) for _ in range(20)]
            hands.write_files([(f"{work}/grant", b"g")])
            assert hands.read_file(f"{work}/grant") == b"g"
            assert not any(job.done() for job in hung)
            (tmp_path / "go").touch()
            assert all(job.result(30).returncode == 0 for job in hung)

    def test_a_helper_killed_in_the_middle_of_a_call_is_no_news_and_the_next_call_starts_another(
        self, start: Callable[..., HelperHands], work: Path, bin_dir: Path, tmp_path: Path
    ) -> None:
        hands = start()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(hands.run, [f"{bin_dir}/sbatch"], 60, guarded=True)
            wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
            sbatch = int((tmp_path / "pid").read_text())
            kill_parent(sbatch)
            with pytest.raises(SiteError, match="the site's helper died"):
                slow.result(30)
        # The sbatch that lives on keeps the lock: nothing else is submitted until it has ended.
        with pytest.raises(SiteError, match="an sbatch that an earlier one had started"):
            hands.size(f"{work}/x")
        (tmp_path / "go").touch()
        wait_for(lambda: answers(hands, work))
        assert hands.run([f"{bin_dir}/sbatch"], 30, guarded=True).stdout == "7\n"

    def test_a_killed_daemons_helper_ends_what_it_does_and_only_then_gives_the_lock_back(
        self, work: Path, bin_dir: Path, tmp_path: Path
    ) -> None:
        real = ["env", f"PYTHONPATH={CHECKOUT}", *REAL]
        code = (
            "from gateway.slurm.helper import HelperHands\n"
            f"HelperHands({real!r}, {str(work)!r}).run([{f'{bin_dir}/sbatch'!r}], 60, guarded=True)"
        )
        daemon = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT)
        try:
            wait_for((tmp_path / "pid").exists)
        finally:
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        with pytest.raises(SiteError, match="is in use"):
            LocalHands(str(work))
        (tmp_path / "go").touch()
        wait_for(lambda: can_lock(work))

    def test_a_second_gateway_is_kept_out_and_told_why(
        self, start: Callable[..., HelperHands], work: Path
    ) -> None:
        first, second = start(), start()
        assert first.size(f"{work}/x") is None
        with pytest.raises(SiteError, match=r"helper did not start: .*is in use: another gateway"):
            second.size(f"{work}/x")
        first.close()
        assert second.size(f"{work}/x") is None

    def test_a_check_beside_a_gateway_may_do_all_but_submit(
        self, start: Callable[..., HelperHands], work: Path, bin_dir: Path
    ) -> None:
        gateway, check = start(), start(exclusive=False)
        gateway.write_files([(f"{work}/x", b"1")])
        assert check.read_file(f"{work}/x") == b"1"
        assert check.run([f"{bin_dir}/squeue", "ok"], 10).stdout == "ok\n"
        with pytest.raises(SiteError, match="sbatch is run only by the gateway that holds"):
            check.run([f"{bin_dir}/sbatch"], 10, guarded=True)

    def test_after_its_close_nothing_is_done_any_more(
        self, start: Callable[..., HelperHands], work: Path
    ) -> None:
        hands = start()
        hands.write_files([(f"{work}/x", b"1")])
        hands.close()
        with pytest.raises(SiteError, match="the gateway is ending"):
            hands.size(f"{work}/x")
        assert can_lock(work)


class TestWhatTheHelperRefuses:
    @pytest.fixture
    def hands(self, work: Path) -> Iterator[LocalHands]:
        made = LocalHands(str(work))
        yield made
        made.close()

    @pytest.mark.parametrize(
        "path",
        ["/etc/passwd", "{}/../secret", "{}/a/../../secret", "{}", "{}x/y", "x", "", "{}/a/../b"],
    )
    def test_paths_beyond_the_work_directory(
        self, hands: LocalHands, work: Path, path: str
    ) -> None:
        path = path.format(work)
        for operation, arguments in (
            ("write_files", [[path, ""]]),
            ("read_file", [path, 0, 1]),
            ("size", [path]),
            ("scan", [path, 1]),
            ("remove", [path]),
        ):
            with pytest.raises(SiteError, match="is not below the work directory"):
                perform(hands, str(work), operation, list(arguments))

    @pytest.mark.parametrize("command", ["sh", "/bin/sh", "/usr/bin/env", "python3", "sbatch.sh"])
    def test_commands_that_are_not_slurms(
        self, hands: LocalHands, work: Path, command: str
    ) -> None:
        with pytest.raises(SiteError, match="is not among the commands of a site: sbatch"):
            perform(hands, str(work), "run", [[command], 5, False])

    def test_a_submission_without_the_lock(self, hands: LocalHands, work: Path) -> None:
        with pytest.raises(SiteError, match="sbatch is run with the work directory's lock only"):
            perform(hands, str(work), "run", [["sbatch"], 5, False])

    def test_operations_that_there_are_not(self, hands: LocalHands, work: Path) -> None:
        with pytest.raises(SiteError, match="no such operation: exec"):
            perform(hands, str(work), "exec", [])

    @pytest.mark.parametrize("arguments", [[], ["--check"], ["work"], ["/a", "/b"], ["-x", "/a"]])
    def test_a_command_line_of_another_form(self, arguments: list[str]) -> None:
        done = subprocess.run(
            [*REAL, *arguments], capture_output=True, text=True, cwd=CHECKOUT, check=False
        )
        assert done.returncode == 2
        assert "usage: cts-helper [--check] WORK_DIR" in done.stderr


class TestAHelperGoneWrong:
    def test_one_that_is_not_there(self, start: Callable[..., HelperHands]) -> None:
        with pytest.raises(SiteError, match="cannot start the site's helper /nonexistent"):
            start(["/nonexistent"]).size("/x")

    def test_one_that_ends_at_once_is_told_with_its_words(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        hands = start(fake(tmp_path, "sys.exit('sudo: a password is required')"))
        for _ in range(2):
            with pytest.raises(SiteError, match="did not start: sudo: a password is required"):
                hands.size("/x")

    def test_one_that_starts_with_other_words(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        hands = start(fake(tmp_path, "print('Welcome to the cluster', flush=True); time.sleep(60)"))
        with pytest.raises(SiteError, match="did not start: Welcome to the cluster"):
            hands.size("/x")

    def test_one_that_says_nothing_at_its_start_holds_nobody_up_for_ever(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        hands = start(fake(tmp_path, "time.sleep(60)"), start_seconds=0.3)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(hands.size, "/x") for _ in range(4)]
            for call in calls:
                with pytest.raises(SiteError, match=r"did not start: it said nothing in 0\.3 s"):
                    call.result(10)

    def test_one_that_never_answers_is_given_up_and_another_started(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        body = READY + (
            f"old = os.path.exists({f'{tmp_path}/old'!r}); open({f'{tmp_path}/old'!r}, 'w')\n"
            "n = read()[0]\n"
            "if old: say(n, True, 5)\n"
            "sys.stdin.read()"
        )
        hands = start(fake(tmp_path, body), answer_seconds=0.5)
        with pytest.raises(SiteError, match="gave no answer to size in"):
            hands.size("/x")
        assert hands.size("/x") == 5

    def test_one_that_does_not_even_read_blocks_no_caller(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        hands = start(fake(tmp_path, READY + "time.sleep(60)"), answer_seconds=0.5)
        large = b"x" * (1 << 20)  # more than a pipe holds
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(hands.write_files, [("/x", large)]) for _ in range(3)]
            for call in calls:
                with pytest.raises(SiteError, match=r"gave no (answer|sign of life)"):
                    call.result(10)

    def test_one_that_answers_others_but_not_this_lives_on(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        body = READY + "read()\nwhile True: say(read()[0], True, os.getpid())"
        hands = start(fake(tmp_path, body), answer_seconds=0.6)
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(hands.size, "/lost")
            time.sleep(0.3)
            first = hands.size("/x")
            with pytest.raises(SiteError, match=r"gave no answer to size in 0\.6 s"):
                lost.result(10)
        assert hands.size("/x") == first

    @pytest.mark.parametrize(
        "said",
        [
            "garbage",
            "{}",
            "[]",
            "[1]",
            "[1, true]",
            "7",
            '["1", true, null]',
            "[[1], true, null]",
            "[" * 100_000,
            "\\xff\\xfe",
        ],
    )
    def test_one_that_talks_nonsense_is_given_up(
        self, start: Callable[..., HelperHands], tmp_path: Path, said: str
    ) -> None:
        (tmp_path / "said").write_text(said)
        body = (
            READY
            + f"read(); print(open({f'{tmp_path}/said'!r}).read(), flush=True); time.sleep(60)"
        )
        with pytest.raises(SiteError, match="the site's helper said what is no answer"):
            start(fake(tmp_path, body)).size("/x")

    def test_one_whose_answer_has_no_end_is_given_up(
        self,
        start: Callable[..., HelperHands],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("gateway.slurm.child.MOST_LINE", 100_000)
        body = READY + "read()\nwhile True: sys.stdout.write('x' * 1000)"
        with pytest.raises(SiteError, match="in the middle of an answer, or gave one too long"):
            start(fake(tmp_path, body)).size("/x")

    def test_a_huge_answer_comes_whole(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        body = READY + "say(read()[0], True, [0, 'x' * 20_000_000, '']); sys.stdin.read()"
        assert len(start(fake(tmp_path, body)).run(["squeue"], 30).stdout) == 20_000_000

    @pytest.mark.parametrize(
        ("ask", "answer"),
        [
            (lambda h: h.size("/x"), "12"),
            (lambda h: h.size("/x"), -1),
            (lambda h: h.read_file("/x"), 12),
            (lambda h: h.read_file("/x"), "not base64!"),
            (lambda h: h.read_file("/x", 0, 3), base64.b64encode(b"1234").decode()),
            (lambda h: h.scan("/x", 5), [["a"]]),
            (lambda h: h.scan("/x", 5), [["../a", ""]]),
            (lambda h: h.scan("/x", 5), [["", ""]]),
            (lambda h: h.scan("/x", 5), [["..", ""]]),
            (lambda h: h.scan("/x", 5), [[5, ""]]),
            (lambda h: h.scan("/x", 1), [["a", ""], ["b", ""]]),
            (lambda h: h.listing("/x"), [["../a", 1, 1, 1]]),
            (lambda h: h.listing("/x"), [["a", "1", 1, 1]]),
            (lambda h: h.listing("/x"), [["a", 1, 1]]),
            (lambda h: h.sha256("/x"), 12),
            (lambda h: h.run(["squeue"], 5), [0, "x"]),
            (lambda h: h.run(["squeue"], 5), ["0", "x", "y"]),
            (lambda h: h.run(["squeue"], 5), None),
            (lambda h: h.write_files([]), 5),
        ],
    )
    def test_an_answer_of_another_form_is_no_news(
        self,
        start: Callable[..., HelperHands],
        tmp_path: Path,
        ask: Callable[[HelperHands], Any],
        answer: Any,
    ) -> None:
        (tmp_path / "answer").write_text(json.dumps(answer))
        body = (
            READY
            + f"say(read()[0], True, json.load(open({f'{tmp_path}/answer'!r}))); sys.stdin.read()"
        )
        with pytest.raises(SiteError, match="the site's helper gave a wrong answer to"):
            ask(start(fake(tmp_path, body)))

    def test_an_answer_to_nobody_is_dropped(
        self, start: Callable[..., HelperHands], tmp_path: Path
    ) -> None:
        body = (
            READY
            + "n = read()[0]; say(999, True, 1); say(n, True, 2); say(n, True, 3); sys.stdin.read()"
        )
        assert start(fake(tmp_path, body)).size("/x") == 2


def kill_parent(pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)


def answers(hands: HelperHands, work: Path) -> bool:
    try:
        hands.size(f"{work}/x")
    except SiteError:
        return False
    return True
