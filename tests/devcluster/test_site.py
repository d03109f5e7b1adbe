"""The dev cluster as its callers use it: commands run in it, and its parts' states."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, DevCluster

pytestmark = pytest.mark.cluster
COMMAND = [str(CHECKOUT / "deploy/devcluster")]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", -15)]
)
def test_the_exit_code_is_the_commands_own(site: DevCluster, script: str, code: int) -> None:
    assert site.run("sh", "-c", script, check=False).returncode == code


def test_a_command_that_does_not_exist_and_one_that_is_no_program_have_the_shells_codes(
    site: DevCluster,
) -> None:
    missing = site.run("no-such-command", check=False)
    assert missing.returncode == 127
    assert missing.stderr == "devcluster: exec: no-such-command: no such command in the site\n"
    assert site.run("/etc/passwd", check=False).returncode == 126
    assert site.tool("exec", "--cwd", "/nowhere", "--", "true", check=False).returncode == 126


def test_standard_input_and_output_pass_through(site: DevCluster) -> None:
    text = "".join(f"line {n}\n" for n in range(20_000))
    assert site.run("cat", text=text).stdout == text


def test_a_user_has_the_identity_home_and_groups_of_the_site(site: DevCluster) -> None:
    assert site.run("id", "-un", user="bob").stdout == "bob\n"
    assert site.run("id", "-Gn", user="ada").stdout == "ada ctsadmin\n"
    assert site.run("pwd").stdout == "/home/alice\n"
    assert site.run("id", "-u", user="root").stdout == "0\n"


def test_nothing_of_the_callers_environment_comes_in(
    site: DevCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    names = {line.partition("=")[0] for line in site.run("env").stdout.splitlines()}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM"}


def test_an_unknown_user_is_one_line_with_the_users_there_are(site: DevCluster) -> None:
    done = site.run("true", user="zoe", check=False)
    assert done.returncode == 125
    assert done.stderr == (
        "devcluster: the site has no user 'zoe'; it has root, alice, bob, ada, ctsd, ctsjob, slurmrestd\n"
    )


def test_a_signal_reaches_the_command_whose_code_comes_back(site: DevCluster) -> None:
    script = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done'
    with subprocess.Popen(
        [*COMMAND, "exec", "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(20) == 9


def test_a_caller_that_is_killed_takes_the_command_with_it(site: DevCluster) -> None:
    script = "echo $$; exec sleep 300"
    with subprocess.Popen(
        [*COMMAND, "exec", "--user", "alice", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        number = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
    site.until(lambda: site.run("test", "-d", f"/proc/{number}", check=False).returncode == 1)


def test_a_terminal_is_passed_on_and_its_interrupt_ends_only_what_does_not_catch_it(
    site: DevCluster,
) -> None:
    script = 'test -t 0 || exit 1; trap "echo caught; exit 3" INT; echo ready; sleep 60 & wait'
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND[0], [*COMMAND, "exec", "--user", "alice", "--", "sh", "-c", script])
    said = _read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    said = _read_until(terminal, b"caught")
    assert b"caught" in said
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 3


def _read_until(terminal: int, word: bytes) -> bytes:
    said = b""
    deadline = time.monotonic() + 20
    while word not in said and time.monotonic() < deadline:
        try:
            got = os.read(terminal, 1024)
        except OSError:  # Linux says so when the other side has closed
            return said
        said += got
    return said


def test_the_state_for_machines_has_every_part(site: DevCluster) -> None:
    # Other tests, which may run at the same time, kill the gateway and parts of Slurm.
    states = json.loads(site.tool("status", "--json", check=False).stdout)
    assert {"slurmdbd", "slurmctld", "slurmd-n4", "ceph-osd", "rgw", "gateway"} <= set(states)
    assert {states[part] for part in ("munge", "mariadb", "registry", "sshd")} == {"up"}


@pytest.mark.parametrize("command", ["restart", "stop", "start", "kill", "logs"])
def test_an_unknown_part_is_answered_with_the_parts_there_are(
    site: DevCluster, command: str
) -> None:
    done = site.tool(command, "slurm", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "devcluster: there is no part 'slurm'; the parts are munge, mariadb, slurmdbd, slurmctld,"
    )


def test_the_sites_processes_are_in_groups_of_their_own_and_its_mounts_are_not_the_hosts(
    site: DevCluster,
) -> None:
    facts = json.loads(site.tool("env").stdout)
    assert f"/clusters/{facts['name']}/" not in Path("/proc/mounts").read_text()
    own = Path(f"/proc/{facts['pid']}/cgroup").read_text()
    if facts["cgroup"] != "none":
        assert f"/cts-{facts['name']}" in own
        groups = site.run("cat", "/proc/self/cgroup").stdout
        assert f"cts-{facts['name']}" not in groups  # it sees its own group as the root


def test_objects_encrypted_with_a_customers_key_or_by_kms_can_be_made(site: DevCluster) -> None:
    script = """
      cd "$(mktemp -d)"; head -c 32 /dev/zero > key; echo text > file
      key="--sse-customer-algorithm AES256 --sse-customer-key fileb://key"
      put="aws s3api put-object --bucket results --body file"
      head="aws s3api head-object --bucket results"
      $put --key encrypted/customer $key > /dev/null
      $put --key encrypted/kms --server-side-encryption aws:kms --ssekms-key-id testkey-1 > /dev/null
      $head --key encrypted/customer > /dev/null 2>&1 && exit 1
      $head --key encrypted/customer $key --query SSECustomerAlgorithm --output text
      $head --key encrypted/kms --query '[ServerSideEncryption, SSEKMSKeyId]' --output text
    """
    assert site.run("sh", "-euc", script).stdout == "AES256\naws:kms\ttestkey-1\n"
