"""The hands over SSH: the connection breaks, hangs, or leads to somebody else; nothing is lost and nothing done twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko
import pytest

from gateway.config import SshSection
from gateway.errors import SiteError
from gateway.slurm.hands import LocalHands
from gateway.slurm.ssh import SshHands, far_command, far_program
from tests.slurm.ssh_server import SshServer
from tests.slurm.waiting import can_lock, wait_for

USER = "ctsjob"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def key(tmp_path: Path) -> paramiko.PKey:
    made = paramiko.ECDSAKey.generate()
    made.write_private_key_file(str(tmp_path / "key"))
    return made


@pytest.fixture
def server(key: paramiko.PKey, tmp_path: Path) -> Iterator[SshServer]:
    made = SshServer(USER, key)
    (tmp_path / "known_hosts").write_text(made.known)
    yield made
    made.close()


Start = Callable[..., SshHands]


@pytest.fixture
def start(server: SshServer, work: Path, tmp_path: Path) -> Iterator[Start]:
    """Make hands; `options` are keys of [sites.NAME.ssh], or arguments of the hands."""
    made: list[SshHands] = []

    def make(python: str = sys.executable, **options: Any) -> SshHands:
        named = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": USER,
            "key_file": tmp_path / "key",
            "known_hosts": tmp_path / "known_hosts",
            "connect_seconds": 10,
        }
        own = {name: options.pop(name) for name in ("exclusive", "clock") if name in options}
        section = SshSection(**{**named, **options})
        made.append(SshHands(section, python, str(work), jitter=lambda: 1.0, **own))
        return made[-1]

    yield make
    server.silent = False
    for hands in made:
        hands.close()


@pytest.fixture
def sbatch(tmp_path: Path) -> str:
    """An sbatch that says its pid, and answers when it may."""
    path = tmp_path / "sbatch"
    body = f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo 7"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


class TestOneConnection:
    def test_many_callers_are_served_over_one_login_and_one_channel(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        hands = start()
        with ThreadPoolExecutor(20) as pool:
            list(
                pool.map(
                    lambda n: hands.write_files([(f"{work}/{n}", bytes([n]) * 1000)]), range(100)
                )
            )
            found = list(pool.map(lambda n: hands.read_file(f"{work}/{n}"), range(100)))
        assert found == [bytes([n]) * 1000 for n in range(100)]
        assert len(server.commands) == 1
        hands.write_files([(f"{work}/large", b"x" * (20 << 20))])
        assert hands.size(f"{work}/large") == 20 << 20
        (name, data), *_ = hands.scan(str(work / "none"), 1) or [("", b"")]
        assert (name, data) == ("", b"")

    def test_the_remote_shell_reads_one_constant_line(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        start().size(f"{work}/x")
        code = "'import sys; exec(sys.stdin.readline())'"
        assert server.commands == [f"exec {sys.executable} -I -c {code}"]

    def test_what_a_login_prints_does_no_harm(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        server.greeting = b"Welcome to the cluster\n\nnews: none\n"
        assert start().size(f"{work}/x") is None

    def test_its_lock_keeps_another_gateway_out_until_it_is_closed(
        self, start: Start, work: Path
    ) -> None:
        hands = start()
        hands.size(f"{work}/x")
        with pytest.raises(SiteError, match="is in use: another gateway"):
            LocalHands(str(work))
        with pytest.raises(SiteError, match=r"did not start: .*is in use: another gateway"):
            start().size(f"{work}/x")
        start(exclusive=False).write_files([(f"{work}/.check", b"ok")])
        hands.close()
        LocalHands(str(work)).close()
        with pytest.raises(SiteError, match="the gateway is ending"):
            hands.size(f"{work}/x")

    def test_a_python_that_is_not_there_is_told(self, start: Start, work: Path) -> None:
        with pytest.raises(SiteError, match=r"did not start: .*/none/python3: not found"):
            start(python="/none/python3").size(f"{work}/x")


class TestAConnectionThatBreaks:
    def test_an_sbatch_under_way_keeps_the_lock_and_nothing_is_submitted_before_it_has_ended(
        self, start: Start, server: SshServer, work: Path, sbatch: str, tmp_path: Path
    ) -> None:
        now = [1000.0]
        hands = start(clock=lambda: now[0])
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(hands.run, [sbatch], 60, guarded=True)
            wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
            server.drop()
            with pytest.raises(SiteError, match="cannot be heard: the connection was lost"):
                under_way.result(30)
        now[0] += 100
        with pytest.raises(SiteError, match="an sbatch that an earlier one had started"):
            hands.size(f"{work}/x")
        (tmp_path / "go").touch()

        def back() -> bool:
            now[0] += 100
            try:
                return hands.size(f"{work}/x") is None
            except SiteError:
                return False

        wait_for(back)
        assert hands.run([sbatch], 30, guarded=True).stdout == "7\n"

    def test_one_that_is_cut_without_a_word_is_noticed_at_both_ends(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        now = [1000.0]
        hands = start(alive_seconds=0.4, clock=lambda: now[0])
        assert hands.size(f"{work}/x") is None
        server.silent = True
        with pytest.raises(SiteError, match=r"cannot be heard: no sign of life for 1\.2 s"):
            hands.size(f"{work}/x")
        wait_for(lambda: can_lock(work))  # the other end has let go of it
        server.silent = False
        now[0] += 100
        assert hands.size(f"{work}/x") is None

    def test_one_that_says_nothing_of_its_own_lives_on(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        hands = start(alive_seconds=0.5)
        hands.size(f"{work}/x")
        time.sleep(2.5)  # longer than either end bears silence
        hands.size(f"{work}/x")
        assert len(server.commands) == 1

    def test_questions_that_hang_are_no_silence_however_many_are_asked(
        self, start: Start, server: SshServer, work: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 5\n")
        (tmp_path / "squeue").chmod(0o755)
        hands = start(alive_seconds=0.5)
        hands.size(f"{work}/x")
        with ThreadPoolExecutor(20) as pool:
            hung = []
            for _ in range(10):
                hung.append(pool.submit(hands.run, [f"{tmp_path}/squeue"], 2.5))
                time.sleep(0.2)
            for each in hung:
                with pytest.raises(SiteError, match=r"squeue gave no answer in 2\.5 s"):
                    each.result(30)
        assert len(server.commands) == 1

    def test_attempts_to_connect_become_fewer_and_say_when_the_next_is(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        now = [1000.0]
        hands = start(user="nobody", clock=lambda: now[0])
        waits = []
        for _ in range(9):
            before = server.logins
            with pytest.raises(SiteError, match="the login was refused"):
                hands.size(f"{work}/x")
            assert server.logins == before + 1
            with pytest.raises(SiteError, match=r"the login was refused.*; the next attempt is in"):
                hands.size(f"{work}/x")
            waits.append(hands._next - now[0])
            now[0] += waits[-1]
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]

    def test_after_a_connection_that_held_the_next_attempt_is_made_at_once(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        now = [1000.0]
        hands = start(clock=lambda: now[0])
        for _ in range(3):
            hands.size(f"{work}/x")
            now[0] += 301
            server.drop()
            wait_for(lambda: hands._child is not None and not hands._child.alive)
            wait_for(lambda: can_lock(work))
        assert hands.size(f"{work}/x") is None
        assert len(server.commands) == 4

    def test_a_host_that_does_not_speak_is_given_up_in_time(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        server.answers = False
        with pytest.raises(SiteError, match=r"there was no connection within 1 s"):
            start(connect_seconds=1).size(f"{work}/x")

    def test_a_port_that_nobody_listens_on(self, start: Start, work: Path) -> None:
        with pytest.raises(SiteError, match=r"ssh: ctsjob@127\.0\.0\.1:1: .*port 1 on 127"):
            start(port=1).size(f"{work}/x")


class TestWhoIsThere:
    def test_a_host_that_is_not_known_is_refused_and_nothing_is_sent(
        self, start: Start, server: SshServer, work: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "known_hosts").write_text("# nobody\n")
        with pytest.raises(SiteError) as caught:
            start().size(f"{work}/x")
        said = str(caught.value)
        assert f"the host key of [127.0.0.1]:{server.port} is not known: it shows ecdsa-" in said
        assert "SHA256:" in said
        assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {tmp_path}/known_hosts" in said
        assert server.logins == 0

    def test_a_host_whose_key_has_changed_is_refused_and_nothing_is_sent(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        server.host_key = paramiko.ECDSAKey.generate()
        with pytest.raises(SiteError, match=r"the host key of .* has changed: .* admins"):
            start().size(f"{work}/x")
        assert server.logins == 0

    def test_a_host_may_have_several_keys_of_one_type_while_they_are_exchanged(
        self, start: Start, server: SshServer, work: Path, tmp_path: Path
    ) -> None:
        old = server.known
        server.host_key = paramiko.ECDSAKey.generate()
        (tmp_path / "known_hosts").write_text(old + server.known)
        assert start().size(f"{work}/x") is None

    def test_a_host_shows_the_key_that_is_known_of_those_that_it_has(
        self, start: Start, server: SshServer, work: Path, tmp_path: Path
    ) -> None:
        server.more_keys.append(paramiko.RSAKey.generate(2048))
        rsa = server.more_keys[0]
        line = f"[127.0.0.1]:{server.port} ssh-rsa {rsa.get_base64()}\n"
        (tmp_path / "known_hosts").write_text(line)
        assert start().size(f"{work}/x") is None

    def test_without_a_check_any_host_is_taken(
        self, start: Start, server: SshServer, work: Path
    ) -> None:
        server.host_key = paramiko.ECDSAKey.generate()
        assert start(check_host_key=False).size(f"{work}/x") is None

    def test_known_hosts_that_cannot_be_read(self, start: Start, work: Path) -> None:
        with pytest.raises(SiteError, match="cannot read known_hosts /none: No such file"):
            start(known_hosts=Path("/none")).size(f"{work}/x")


class TestWhoWeAre:
    def test_a_key_that_is_not_let_in(
        self, start: Start, server: SshServer, work: Path, tmp_path: Path
    ) -> None:
        server.key = paramiko.ECDSAKey.generate()
        with pytest.raises(SiteError, match=f"refused; offered: the key {tmp_path}/key. See that"):
            start().size(f"{work}/x")

    def test_a_key_is_read_again_for_each_connection(
        self, start: Start, server: SshServer, work: Path, tmp_path: Path
    ) -> None:
        now = [1000.0]
        hands = start(clock=lambda: now[0])
        hands.size(f"{work}/x")
        server.key = new = paramiko.ECDSAKey.generate()
        server.drop()
        new.write_private_key_file(str(tmp_path / "key"))
        wait_for(lambda: hands._child is not None and not hands._child.alive)
        wait_for(lambda: can_lock(work))
        now[0] += 100
        assert hands.size(f"{work}/x") is None

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (None, "cannot read the key .*: No such file"),
            ("rubbish", "is no private key"),
            ("passphrase", "has a passphrase: take one without, or an agent"),
        ],
    )
    def test_a_key_that_cannot_be_used(
        self,
        start: Start,
        server: SshServer,
        work: Path,
        tmp_path: Path,
        make: str | None,
        said: str,
    ) -> None:
        path = tmp_path / "other"
        if make == "rubbish":
            path.write_text("rubbish")
        elif make == "passphrase":
            paramiko.ECDSAKey.generate().write_private_key_file(str(path), password="x")
        with pytest.raises(SiteError, match=said):
            start(key_file=path).size(f"{work}/x")
        assert server.logins == 0

    def test_a_certificate_of_another_form(self, start: Start, work: Path, tmp_path: Path) -> None:
        (tmp_path / "cert").write_text("rubbish")
        with pytest.raises(SiteError, match=r"cert is no certificate for .*/key"):
            start(certificate_file=tmp_path / "cert").size(f"{work}/x")
        with pytest.raises(SiteError, match="cannot read the certificate"):
            start(certificate_file=tmp_path / "none").size(f"{work}/x")


class TestAJumpHost:
    @pytest.fixture
    def gate(self, key: paramiko.PKey, tmp_path: Path) -> Iterator[SshServer]:
        made = SshServer("guest", key)
        yield made
        made.close()

    def test_the_site_is_reached_through_it(
        self, start: Start, server: SshServer, gate: SshServer, work: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "known_hosts").write_text(server.known + gate.known)
        hands = start(jump=f"guest@127.0.0.1:{gate.port}")
        assert hands.size(f"{work}/x") is None
        assert gate.forwarded == [("127.0.0.1", server.port)]
        assert gate.commands == []

    def test_it_must_be_known_too(self, start: Start, gate: SshServer, work: Path) -> None:
        with pytest.raises(SiteError, match=rf"host key of \[127.0.0.1\]:{gate.port} is not known"):
            start(jump=f"guest@127.0.0.1:{gate.port}").size(f"{work}/x")

    def test_one_that_does_not_reach_the_site(
        self, start: Start, server: SshServer, gate: SshServer, work: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "known_hosts").write_text(server.known + gate.known)
        with pytest.raises(SiteError, match=r"the jump host .* does not connect to 127.0.0.1:1: "):
            start(jump=f"guest@127.0.0.1:{gate.port}", port=1).size(f"{work}/x")


def test_what_is_sent_runs_without_the_project_and_ends_with_its_input(work: Path) -> None:
    """`-I` keeps the checkout and what is installed out; `-S` the packages of this Python."""
    command = far_command(sys.executable)
    program = subprocess.Popen(
        [command[0], "-S", *command[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={},
    )
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(far_program(str(work), exclusive=True, silence=60))
    program.stdin.flush()
    assert program.stdout.readline() == b"ready\n"
    out, err = program.communicate(b'\n[1, "size", ["/x"]]\n', 30)
    alive, answer = out.splitlines()
    assert alive == b"[0, true, null]"
    assert b"is not below the work directory" in answer
    assert (program.returncode, err) == (0, b"")
