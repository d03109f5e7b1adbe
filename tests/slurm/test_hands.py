"""The hands of a site: commands and files, whatever lies in the work directory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.slurm.hands import LocalHands
from gateway.slurm.trees import remove_tree
from tests.slurm.waiting import can_lock, wait_for

Make = Callable[[str, str], str]
NOBODY = 65534


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def hands(work: Path) -> Iterator[LocalHands]:
    made = LocalHands(str(work))
    yield made
    made.close()


@pytest.fixture
def script(tmp_path: Path) -> Make:
    def make(name: str, body: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def as_somebody() -> Iterator[Path]:
    """Give a directory of the user that the test runs as, who is not root: root is refused nothing."""
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        if os.geteuid() != 0:
            yield Path(top)
            return
        os.chown(top, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(top)
        finally:
            os.seteuid(0)


class TestTheLock:
    def test_a_second_gateway_is_kept_out(self, hands: LocalHands, work: Path) -> None:
        with pytest.raises(SiteError, match="is in use: another gateway"):
            LocalHands(str(work))

    def test_it_is_given_back(self, work: Path) -> None:
        LocalHands(str(work)).close()
        LocalHands(str(work)).close()

    def test_an_sbatch_that_outlives_its_gateway_keeps_it(self, work: Path, script: Make) -> None:
        slow = script(
            "sbatch", f"touch {work}/begun; while [ ! -e {work}/go ]; do sleep 0.01; done"
        )
        code = (
            "import sys; from gateway.slurm.hands import LocalHands; "
            f"LocalHands({str(work)!r}).run([{slow!r}], 60, guarded=True)"
        )
        gateway = subprocess.Popen([sys.executable, "-c", code])
        try:
            wait_for((work / "begun").exists, 10)
        finally:
            gateway.kill()
            gateway.wait()
        with pytest.raises(SiteError, match="an sbatch that an earlier one had started"):
            LocalHands(str(work))
        (work / "go").touch()
        wait_for(lambda: can_lock(work), 10)

    def test_commands_that_are_not_guarded_do_not_keep_it(
        self, hands: LocalHands, work: Path, script: Make
    ) -> None:
        hands.run([script("squeue", f"(sleep 5 & echo $! > {work}/pid) >/dev/null 2>&1")], 10)
        hands.close()
        try:
            assert can_lock(work)
        finally:
            os.kill(int((work / "pid").read_text()), 9)

    def test_a_check_beside_a_gateway_may_do_all_but_submit(
        self, hands: LocalHands, work: Path, script: Make
    ) -> None:
        check = LocalHands(str(work), exclusive=False)
        check.write_files([(f"{work}/.check", b"ok")])
        assert check.run([script("scontrol", "echo yes")], 10).stdout == "yes\n"
        with pytest.raises(SiteError, match="sbatch is run only by the gateway that holds"):
            check.run([script("sbatch", "echo 1")], 10, guarded=True)
        check.close()
        assert hands.run([script("sbatch", "echo 2")], 10, guarded=True).stdout == "2\n"

    def test_a_work_directory_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SiteError, match="cannot use the work directory"):
            LocalHands(f"{tmp_path}/file/work")

    def test_a_planted_link_is_not_taken_for_the_lock(self, work: Path, tmp_path: Path) -> None:
        work.mkdir()
        (work / ".lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(SiteError, match="cannot use the work directory"):
            LocalHands(str(work))
        assert not (tmp_path / "elsewhere").exists()


class TestCommands:
    def test_a_command_gives_its_code_and_both_outputs(
        self, hands: LocalHands, script: Make
    ) -> None:
        done = hands.run([script("squeue", "echo out; echo err >&2; exit 3")], 10)
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")

    def test_arguments_meet_no_shell(self, hands: LocalHands) -> None:
        evil = ["$(touch x)", "a b", ";'\""]
        assert hands.run(["/usr/bin/printf", "%s|", *evil], 10).stdout == "|".join([*evil, ""])

    def test_nothing_of_the_daemons_environment_leaks(
        self, hands: LocalHands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        monkeypatch.setenv("SBATCH_ACCOUNT", "other")
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        lines = dict(x.split("=", 1) for x in hands.run(["/usr/bin/env"], 10).stdout.splitlines())
        assert not {"AWS_SECRET_ACCESS_KEY", "SBATCH_ACCOUNT"} & set(lines)
        assert lines["TZ"] == "UTC"

    def test_no_answer_in_time_is_no_news_and_tells_the_last_word(
        self, hands: LocalHands, script: Make
    ) -> None:
        slow = script("sbatch", "echo queue full, retrying >&2; exec sleep 60")
        with pytest.raises(SiteError, match=r"sbatch gave no answer in 0.3 s: queue full, retry"):
            hands.run([slow], 0.3, guarded=True)

    def test_a_command_that_is_not_there_is_told(self, hands: LocalHands, tmp_path: Path) -> None:
        with pytest.raises(SiteError, match=r"cannot run .*/squeue: No such file"):
            hands.run([f"{tmp_path}/squeue"], 10)

    def test_a_command_that_died_of_a_signal_has_a_negative_code(
        self, hands: LocalHands, script: Make
    ) -> None:
        assert hands.run([script("sbatch", "kill -9 $$")], 10).returncode == -9

    def test_bytes_that_are_no_text_do_no_harm(self, hands: LocalHands, script: Make) -> None:
        assert hands.run([script("squeue", r"printf '\377a'")], 10).stdout == "\ufffda"


class TestFiles:
    def test_files_are_whole_and_for_their_owner_alone(self, hands: LocalHands, work: Path) -> None:
        old = os.umask(0)
        try:
            hands.write_files([(f"{work}/a/b/one", b"1"), (f"{work}/two", b"")])
            hands.write_files([(f"{work}/a/b/one", b"11")])
        finally:
            os.umask(old)
        assert (work / "a/b/one").read_bytes() == b"11"
        assert [p.stat().st_mode & 0o777 for p in (work, work / "a", work / "a/b")] == [0o700] * 3
        assert (work / "a/b/one").stat().st_mode & 0o777 == 0o600
        assert sorted(p.name for p in (work / "a/b").iterdir()) == ["one"]

    def test_a_file_that_cannot_be_written_leaves_nothing(
        self, hands: LocalHands, work: Path
    ) -> None:
        (work / "taken").mkdir()
        with pytest.raises(SiteError, match=r"cannot write .*/taken"):
            hands.write_files([(f"{work}/taken", b"x")])
        assert sorted(p.name for p in work.iterdir()) == [".lock", "taken"]

    def test_a_file_is_read_in_pieces(self, hands: LocalHands, work: Path) -> None:
        (work / "f").write_bytes(b"0123456789" * 200_000)
        assert hands.size(f"{work}/f") == 2_000_000
        assert hands.read_file(f"{work}/f", 3, 4) == b"3456"
        assert len(hands.read_file(f"{work}/f", 0, 1 << 30) or b"") == 1 << 20
        assert hands.read_file(f"{work}/f", 2_000_000) == b""

    @pytest.mark.parametrize(
        "kind", ["nothing", "link", "dead link", "pipe", "directory", "socket"]
    )
    def test_what_is_no_regular_file_counts_as_missing(
        self, hands: LocalHands, work: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = str(plant(work / "f", kind, monkeypatch))
        assert hands.read_file(path) is None
        assert hands.size(path) is None

    def test_a_path_through_a_file_is_missing(self, hands: LocalHands, work: Path) -> None:
        (work / "f").touch()
        assert hands.read_file(f"{work}/f/x") is None
        assert hands.size(f"{work}/f/x") is None

    def test_a_path_that_is_too_long_is_told(self, hands: LocalHands, work: Path) -> None:
        for act in (hands.read_file, hands.size):
            with pytest.raises(SiteError, match="File name too long"):
                act(f"{work}/{'x' * 300}")


class TestScanning:
    def test_the_least_names_come_first_and_hidden_ones_not_at_all(
        self, hands: LocalHands, work: Path
    ) -> None:
        for name in ("b", "a", ".a.tmp-1", "c"):
            (work / name).write_bytes(name.encode())
        assert hands.scan(str(work), 2) == [("a", b"a"), ("b", b"b")]
        assert hands.scan(f"{work}/none", 2) == []

    @pytest.mark.parametrize("kind", ["link", "dead link", "pipe", "directory", "socket"])
    def test_a_planted_thing_holds_up_no_letter_and_can_be_removed(
        self, hands: LocalHands, work: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plant(work / "0", kind, monkeypatch)
        (work / "1").write_bytes(b"letter")
        assert hands.scan(str(work), 10) == [("0", b""), ("1", b"letter")]
        hands.remove([f"{work}/0"])
        assert hands.scan(str(work), 10) == [("1", b"letter")]

    def test_a_letter_that_is_too_large_comes_without_content(
        self, hands: LocalHands, work: Path
    ) -> None:
        with (work / "0").open("wb") as file:
            file.truncate((8 << 20) + 1)
        assert hands.scan(str(work), 10) == [("0", b"")]

    def test_one_scan_is_bounded_and_the_next_goes_on(self, hands: LocalHands, work: Path) -> None:
        for n in range(7):
            with (work / str(n)).open("wb") as file:
                file.truncate(8 << 20)
        first = [name for name, _ in hands.scan(str(work), 1000)]
        assert first == ["0", "1", "2", "3"]
        hands.remove([f"{work}/{name}" for name in first])
        assert [name for name, _ in hands.scan(str(work), 1000)] == ["4", "5", "6"]

    def test_a_directory_that_cannot_be_listed_is_told(self, hands: LocalHands, work: Path) -> None:
        (work / "f").touch()
        with pytest.raises(SiteError, match=r"cannot list .*/f: Not a directory"):
            hands.scan(f"{work}/f", 10)


class TestRemoving:
    def test_links_are_removed_and_not_followed(
        self, hands: LocalHands, work: Path, tmp_path: Path
    ) -> None:
        kept = tmp_path / "kept"
        kept.mkdir()
        (kept / "file").touch()
        (work / "tree").mkdir()
        (work / "tree/link").symlink_to(kept)
        (work / "link").symlink_to(kept)
        hands.remove([f"{work}/tree", f"{work}/link", f"{work}/never"])
        assert (kept / "file").exists()
        assert sorted(p.name for p in work.iterdir()) == [".lock"]

    def test_directories_that_a_container_closed_are_removed(self, as_somebody: Path) -> None:
        deep = as_somebody / "tree/a/b"
        deep.mkdir(parents=True)
        (deep / "file").touch()
        for path in (deep, deep.parent, as_somebody / "tree"):
            path.chmod(0o500)
        remove_tree(f"{as_somebody}/tree")
        assert list(as_somebody.iterdir()) == []

    def test_one_that_cannot_be_removed_does_not_keep_the_others(
        self, hands: LocalHands, work: Path
    ) -> None:
        (work / "f").touch()
        with pytest.raises(SiteError, match=r"cannot remove .*x: File name too long"):
            hands.remove([f"{work}/{'x' * 300}", f"{work}/f"])
        assert not (work / "f").exists()


def plant(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    secret = path.parent.parent / "secret"
    secret.write_bytes(b"secret")
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "dead link":
        path.symlink_to("/nonexistent")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    return path
