"""The TLS listener on the real site: a token of a user's is the user, from curl, from Python and from the commands."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import DevCluster
from tests.remote import Remote, make

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="session")
def remote(site: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Remote:
    """Where the listener is, with the CA's certificate copied out of the site."""
    return Remote.of(site, tmp_path_factory.mktemp("tls"))


@pytest.fixture
def alices(site: DevCluster) -> Iterator[str]:
    """A token of alice's, gone when the test is over."""
    public, text = make(site, "alice")
    yield text
    site.run("cts", "token", "revoke", public)


def curl(site: DevCluster, remote: Remote, path: str, token: str, *options: str) -> str:
    """Ask with curl in the site; the token comes in a file, as it should."""
    script = (
        'IFS= read -r token && exec curl -sS -H "@-" "$@" <<END\nAuthorization: Bearer $token\nEND'
    )
    argv = ("sh", "-c", script, "sh", "--cacert", remote.ca_inside, *options, f"{remote.url}{path}")
    return site.run(*argv, text=f"{token}\n").stdout


def test_curl_with_the_ca_and_a_token_is_the_user(
    site: DevCluster, remote: Remote, alices: str
) -> None:
    assert json.loads(curl(site, remote, "/whoami", alices))["user"] == "alice"
    said = site.run(
        "curl", "-sS", "-o", "/dev/null", f"{remote.url}/", check=False
    )  # without the CA
    assert said.returncode == 60
    codes = [
        site.run(
            *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"),
            *(remote.ca_inside, f"{remote.url}{path}"),
        ).stdout
        for path in ("/", "/health", "/ready", "/whoami", "/jobs")
    ]
    assert codes == ["200", "200", "200", "401", "401"]


def test_a_job_goes_its_whole_way_over_tls_and_is_the_same_on_the_socket(
    site: DevCluster, remote: Remote, alices: str
) -> None:
    job = {
        "cluster": "dev",
        "image": site.image("checksum"),
        "input_files": ["sample-data/reads/sample-2.txt"],
        "output_dir": "results/over-tls",
        "memory": "50MB",
        "runtime": 120,
    }
    with remote.client(alices) as client:
        number = client.submit(job)
        assert client.wait(number, timeout=240).state == "complete"
        log = b"".join(client.follow_log(number, 0))
        assert log == b"checksum: 1 files\n"
        assert client.job(number).output_file_count == 2
    assert site.job(number)["user"] == "alice"
    assert site.run("cts", "logs", number).stdout.encode() == log
    assert curl(site, remote, f"/jobs/{number}/log/0/stdout", alices).encode() == log


def test_the_commands_with_a_url_are_the_user_of_the_token_file(
    site: DevCluster, remote: Remote
) -> None:
    home = site.run("mktemp", "-d").stdout.strip()
    file = f"{home}/token"
    site.run("cts", "token", "create", "--name", "commands", "-o", file)
    options = ("--url", remote.url, "--ca-file", remote.ca_inside, "--token-file", file)
    assert site.run("cts", "whoami", *options).stdout == "alice (user)\n"
    number = site.submit(image=site.image("checksum"))
    site.finish(number)
    for command in (("cts", "show", number), ("cts", "logs", number), ("ctsacct", "-j", number)):
        assert site.run(*command, *options).stdout == site.run(*command).stdout
    assert number in site.run("cts", "jobs", *options).stdout
    site.run("chmod", "644", file)
    refused = site.run("cts", "whoami", *options, check=False)
    assert refused.returncode == 2
    assert f"chmod 600 {file}" in refused.stderr
    site.run("sh", "-c", f"cts token revoke $(cut -d_ -f2 {file}) && rm -r {home}")


def test_bobs_token_sees_nothing_of_alices_job(site: DevCluster, remote: Remote) -> None:
    number = site.submit(image=site.image("checksum"))
    public, bobs = make(site, "bob")
    with httpx.Client(
        base_url=remote.url,
        verify=ssl.create_default_context(cafile=str(remote.ca)),
        headers={"Authorization": f"Bearer {bobs}"},
    ) as http:
        for path in ("", "/status", "/exit_codes", "/containers", "/script", "/log/0/stdout"):
            answer = http.get(f"/jobs/{number}{path}")
            assert (answer.status_code, answer.json()["error"]["appcode"]) == (404, 40040), path
        assert http.put(f"/jobs/{number}/cancel").status_code == 404
        assert number not in [job["id"] for job in http.get("/jobs").json()["jobs"]]
        assert http.get(f"/admin/jobs/{number}").status_code == 403
        assert http.get("/accounting", params={"job": number}).json() == {"rows": []}
    assert site.finish(number)["state"] == "complete"
    site.run("cts", "token", "revoke", public, user="bob")


def test_a_revoked_token_is_refused_at_once_also_by_an_admin(
    site: DevCluster, remote: Remote
) -> None:
    for user, words in (("alice", ("token",)), ("ada", ("admin", "token"))):
        public, text = make(site, "alice")
        with remote.client(text) as client:
            assert client.whoami().user == "alice"
            site.run("cts", *words, "revoke", public, user=user)
            with pytest.raises(Exception, match=f"The token {public} was revoked"):
                client.whoami()


def test_an_admins_token_is_an_admin_by_the_group_on_the_machine(
    site: DevCluster, remote: Remote
) -> None:
    public, text = make(site, "ada")
    with remote.client(text) as client:
        assert client.whoami().roles == ["admin"]
        assert client.jobs(everyone=True, limit=1)
        with pytest.raises(Exception, match="cannot make tokens"):
            client.create_token(user="alice")
    site.run("cts", "token", "revoke", public, user="ada")
    done = site.run("cts", "admin", "token", "list", check=False)
    assert (done.returncode, "20000" in done.stderr) == (3, True)


def test_tokens_outlive_a_restart_of_the_daemon(
    site: DevCluster, remote: Remote, alices: str
) -> None:
    gone, revoked = make(site, "alice")
    site.run("cts", "token", "revoke", gone)
    with remote.client(alices) as client:
        before = client.whoami()
        site.tool("restart", "gateway")
        assert client.whoami() == before
    with remote.client(revoked) as client, pytest.raises(Exception, match="was revoked"):
        client.whoami()


def test_a_hangup_takes_a_new_certificate_while_requests_go_on(
    site: DevCluster, remote: Remote, alices: str
) -> None:
    def serial() -> bytes:
        host, port = remote.url.removeprefix("https://").split(":")
        return ssl.get_server_certificate((host, int(port)), ca_certs=str(remote.ca)).encode()

    first = serial()
    key, certificate = "/etc/cts/tls.key", "/etc/cts/tls.crt"
    request = (
        f"openssl req -x509 -key {key} -days 30 -subj '/CN=renewed' -config /etc/ssl/devcluster/ca.cnf "
        f"-extensions server -CA {remote.ca_inside} -CAkey /etc/ssl/devcluster/ca.key -out {certificate}"
    )
    with remote.client(alices) as client:
        client.whoami()
        site.run("sh", "-c", request, user="root")
        site.tool("kill", "gateway", "--signal", "HUP")
        site.until(lambda: serial() != first)
        assert client.whoami().user == "alice"
    with remote.client(alices) as client:
        assert client.whoami().user == "alice"


def test_no_token_is_in_any_log_or_in_the_database(
    site: DevCluster, remote: Remote, alices: str
) -> None:
    secret = alices.rpartition("_")[2]
    with remote.client(alices) as client:
        client.whoami()
    curl(site, remote, f"/whoami?token={alices}", alices)
    curl(site, remote, f"/tokens/{alices}", alices, "-X", "DELETE")
    curl(site, remote, "/whoami", alices[:-1])
    found = site.run(
        *("grep", "-rlaF", secret, "/var/log", "/var/lib/cts", "/scratch/cts", "/run/devcluster"),
        user="root",
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "")
    known = site.run(
        "grep", "-rlaF", alices.split("_")[1], "/var/lib/cts", user="root", check=False
    )
    assert "cts.db" in known.stdout
