"""A site that is reached by SSH: whole jobs, its logins, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import SiteError
from tests.cluster.backends import USER, ssh_hands
from tests.conftest import DevCluster
from tests.sites import switched

pytestmark = pytest.mark.cluster


@pytest.fixture
def remote(site: DevCluster) -> Iterator[DevCluster]:
    """The site `remote`, on for the time of a test."""
    with switched(site, "remote"):
        yield site


def test_a_job_runs_from_s3_to_s3_at_a_site_that_is_reached_by_ssh(remote: DevCluster) -> None:
    names = [f"sample-data/reads/sample-{n}.txt" for n in (2, 3, 6)]
    job_id = remote.submit(
        cluster="remote", image=remote.image("checksum"), input_files=names, num_containers=3
    )
    job = remote.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1
    written = remote.objects(job["job_input"]["output_dir"])
    assert {
        "sample-2.txt": 12,
        "sample-3.txt": 1000,
        "sample-6.txt": 1000000,
    }.items() <= written.items()
    shown = json.loads(remote.run("cts", "sites", "remote", "--json").stdout)[0]
    assert (shown["active"], shown["available"]) == (True, True)
    assert remote.run("cts", "logs", f"{job_id}_0").stdout == "checksum: 1 files\n"


WORK = "/scratch/cts-remote"
_CERTIFICATES = """
set -e
cd ~/.ssh
ssh-keygen -q -t ed25519 -N '' -f $1/ca
ssh-keygen -q -t ed25519 -N '' -f $1/key
ssh-keygen -q -s $1/ca -I now -n $(id -un) -V -1h:+1h $1/key.pub && mv $1/key-cert.pub $1/now
ssh-keygen -q -s $1/ca -I old -n $(id -un) -V -2h:-1h $1/key.pub && mv $1/key-cert.pub $1/old
echo "cert-authority $(cat $1/ca.pub)" >> authorized_keys
"""


@pytest.fixture
def there(site: DevCluster) -> Iterator[str]:
    """A directory of the jobs' user; whom that user lets in is afterwards as it was."""
    folder = site.run("mktemp", "-d", user=USER).stdout.strip()
    keys = f"/home/{USER}/.ssh/authorized_keys"
    site.run("cp", "-p", keys, f"{folder}/before", user="root")
    yield folder
    site.run("sh", "-c", f"cp -p {folder}/before {keys} && rm -rf {folder}", user="root")


def test_a_certificate_lets_in_until_it_has_run_out(
    site: DevCluster, there: str, tmp_path: Path
) -> None:
    site.run("sh", "-c", _CERTIFICATES, "sh", there, user=USER)
    for name in ("key", "now", "old"):
        (tmp_path / name).write_text(site.run("cat", f"{there}/{name}", user=USER).stdout)
    new = {"key_file": tmp_path / "key", "certificate_file": tmp_path / "now"}
    with closing(ssh_hands(site, there, tmp_path, **new)) as hands:
        assert hands.size(f"{there}/none") is None
    new["certificate_file"] = tmp_path / "old"
    with (
        closing(ssh_hands(site, there, tmp_path, **new)) as hands,
        pytest.raises(SiteError, match=r"refused; offered: .*the certificate .*has not run out"),
    ):
        hands.size(f"{there}/none")


def test_an_agent_lets_in_and_a_jump_host_leads_on(
    site: DevCluster, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads(site.tool("env").stdout)
    agent = f"{there}/agent"
    start = f"ssh-agent -a {agent} | sed -n 's/^SSH_AGENT_PID=\\([0-9]*\\);.*/\\1/p'"
    pid = site.run("sh", "-c", start, user="root").stdout.strip()
    add = f"SSH_AUTH_SOCK={agent} ssh-add -q /etc/cts/ssh/id_ed25519"
    try:
        site.run("sh", "-c", add, user="root")
        monkeypatch.setenv("SSH_AUTH_SOCK", f"/proc/{facts['pid']}/root{agent}")
        jump = f"{USER}@127.0.0.1:{facts['ssh_port']}"
        given = {"key_file": None, "agent": True, "jump": jump}
        with closing(ssh_hands(site, there, tmp_path, **given)) as hands:
            assert hands.size(f"{there}/none") is None
    finally:
        site.run("kill", pid, user="root")
