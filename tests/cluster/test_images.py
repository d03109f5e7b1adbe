"""Images on the real site: their platforms, private registries, staging, notes, deletion, and what a registry refuses."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import uuid
from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster

# Looks at all processes, and at what jobs leave on the disk, for a secret, until the file is there that tells it to end.
WATCH = """\
import pathlib, sys, time
stop, secrets = pathlib.Path(sys.argv[1]), [word.encode() for word in sys.argv[2].split()]
me = str(__import__("os").getpid())
builds, found, begin = 0, set(), time.time()
pathlib.Path(sys.argv[1] + ".begun").touch()
while not stop.exists():
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        if process.name == me:
            continue
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        builds += b"apptainer" in words and sys.argv[3].encode() in words
        if any(s in words for s in secrets) and stop.name.encode() not in words:
            found.add("argv of " + words.split(b"\\0")[0].decode())
    jobs = [job for job in pathlib.Path("/scratch/cts/jobs").iterdir() if job.stat().st_mtime >= begin - 1]
    for path in (path for job in jobs for path in job.rglob("*")):
        try:
            if path.is_file() and path.stat().st_size < 1_000_000 and any(s in path.read_bytes() for s in secrets):
                found.add(f"{path.parent.name} {path.stat().st_mode & 0o777:o}")
        except OSError:
            continue
    time.sleep(0.02)
print(builds, *sorted(found), sep="\\n")
"""


def admin(site: DevCluster, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return site.run("cts", "admin", "image", *words, user="ada", check=check)


def shown(site: DevCluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.run("cts", "image", "show", "--json", name).stdout)
    return found


def crane(site: DevCluster, *words: str) -> str:
    """Run crane with the login to the private registry; returns what it prints."""
    login = "DOCKER_CONFIG=/etc/devregistry-docker"
    return site.run("env", login, "crane", *words, "--insecure", user="root").stdout.strip()


def new_image(site: DevCluster, source: str = "argv", program: str = "/bin/sh") -> str:
    """An image that is in no cache yet, whose program is a shell."""
    name = f"{site.registry}/test/made-{uuid.uuid4().hex[:8]}:1.0"
    change_tag(site, source, name, program)
    return name


def change_tag(site: DevCluster, source: str, name: str, program: str = "/bin/sh") -> None:
    """Let a tag be another image."""
    label = f"made={uuid.uuid4().hex}"
    words = ("--entrypoint", program, "--label", label, "--tag", name)
    crane(site, "mutate", f"{site.registry}/test/{source}:1.0", *words)


def result(site: DevCluster, job_id: str) -> dict[str, Any]:
    """What the node told of a job's container."""
    read = (
        "import sqlite3, sys; database = sqlite3.connect('/var/lib/cts/cts.db');"
        "print(database.execute('SELECT result FROM container WHERE job_id=?', sys.argv[1:]).fetchone()[0])"
    )
    text = site.run("python3", "-c", read, job_id, user="ctsd").stdout
    found: dict[str, Any] = json.loads(text)
    return found


def test_an_index_runs_as_what_it_is_for_the_sites_platform(site: DevCluster) -> None:
    name = site.image("multi")
    child = crane(site, "digest", name, "--platform=linux/amd64")
    index = crane(site, "digest", name)
    assert child != index
    image = shown(site, name)
    assert (image["digest"], image["platforms"]) == (index, ["linux/amd64", "linux/arm64"])
    job = site.finish(site.submit(image=name, params={"args": ["x"]}))
    assert job["state"] == "complete", job["error"]
    assert (job["image"]["digest"], job["image"]["platform_digest"]) == (index, child)
    assert job["image"]["platform"] == "linux/amd64"
    assert job["image"]["entrypoint"] == ["/bin/argv"]  # that for arm64 is another
    assert json.loads(site.run("cts", "logs", job["id"]).stdout)["argv"] == ["x"]
    sif = f"/scratch/cts/images/{child.replace(':', '-')}.sif"
    assert site.run("test", "-s", sif, user="root", check=False).returncode == 0
    assert f"Runs      {child} (linux/amd64)" in site.run("cts", "show", job["id"]).stdout


def test_an_image_for_another_platform_alone_is_refused_at_submission(site: DevCluster) -> None:
    body = {"cluster": "dev", "image": site.image("arm64"), "output_dir": "results/x"}
    body["input_files"] = ["sample-data/reads/sample-2.txt"]  # type: ignore[assignment]
    done = site.run("cts", "submit", "-", text=json.dumps(body), check=False)
    assert done.returncode == 2
    assert "image: the image" in done.stderr
    assert (
        "has nothing for linux/amd64, which the nodes of dev run, but for linux/arm64"
        in done.stderr
    )
    assert "(appcode 30001)" in done.stderr
    nowhere = admin(site, "stage", body["image"]).stdout
    assert nowhere == "staged nowhere: no active site runs linux/arm64\n"


def test_an_image_of_a_private_registry_runs_and_its_login_is_seen_nowhere(
    site: DevCluster,
) -> None:
    registry = json.loads(site.tool("env").stdout)["private_registry"]
    name = f"{registry}/lab/made-{uuid.uuid4().hex[:8]}:1.0"
    words = ("--entrypoint", "/bin/sh", "--label", f"made={name}")
    site.run(
        "sh", "-c", 'f=$(mktemp -d) && crane mutate --insecure "$1" "$2" "$3" "$4" "$5" --output $f/i && '
        'DOCKER_CONFIG=/etc/devregistry-docker crane push --insecure $f/i "$6" && rm -r $f',
        "sh", f"{site.registry}/test/argv:1.0", *words, name, user="root",
    )  # fmt: skip
    admin(site, "approve", name)
    text = site.run("cat", "/etc/devregistry-docker/config.json", user="root").stdout
    word = json.loads(text)["auths"][registry]["auth"]
    password = base64.b64decode(word).decode().partition(":")[2]
    stop = f"/run/devcluster/seen-{uuid.uuid4().hex}"
    seen: list[str] = []
    watch = ("python3", "-c", WATCH, stop, f"{password} {word}", name.rpartition(":")[0])
    watcher = threading.Thread(
        target=lambda: seen.extend(site.run(*watch, user="root").stdout.splitlines())
    )
    watcher.start()
    begun = ("test", "-e", f"{stop}.begun")
    site.until(lambda: site.run(*begun, user="root", check=False).returncode == 0)
    try:
        params = {"args": ["-c", "env; echo done > /output_files/x"]}
        job = site.finish(site.submit(image=name, params=params))
    finally:
        site.run("touch", stop, user="root")
        watcher.join(60)
        site.run("rm", "-f", stop, f"{stop}.begun", user="root")
    assert job["state"] == "complete", job["error"]
    assert result(site, job["id"])["image_cached"] is False
    builds, *found = seen
    assert int(builds) > 0  # it looked while the image was fetched
    # The answer to the node is there for a moment, for the jobs' user alone.
    assert set(found) <= {"grants 600"}
    assert password not in site.run("cts", "logs", job["id"]).stdout
    where = ("/scratch/cts", "/var/log/devcluster", "/var/lib/cts", "/tmp")
    left = site.run("grep", "-rlaF", "-e", password, "-e", word, *where, user="root", check=False)
    assert left.stdout == ""


def test_what_is_staged_is_there_when_a_job_wants_it(site: DevCluster) -> None:
    name = new_image(site)
    said = admin(site, "approve", name, "--stage").stdout
    assert "staged at dev (created)" in said
    site.until(lambda: shown(site, name)["statuses"][0]["state"] == "complete")
    at = shown(site, name)["statuses"][0]
    staging = site.job(at["job_id"], user="ada")
    assert (staging["user"], staging["state"]) == ("(images)", "complete")
    assert len(staging["slurm_jobs"]) == 1
    job = site.finish(site.submit(image=name, params={"args": ["-c", "echo x > /output_files/x"]}))
    assert job["state"] == "complete", job["error"]
    assert result(site, job["id"])["image_cached"] is True
    admin(site, "stage", name, "--site", "dev")  # again: it is there, and no job is made
    site.until(lambda: shown(site, name)["statuses"][0]["state"] == "complete")
    assert shown(site, name)["statuses"][0]["job_id"] is None


def test_a_staging_that_fails_says_why(site: DevCluster) -> None:
    name = new_image(site)
    admin(site, "approve", name)
    digest = shown(site, name)["digest"]
    crane(site, "delete", f"{name.rpartition(':')[0]}@{digest}")
    admin(site, "stage", name)
    site.until(lambda: shown(site, name)["statuses"][0]["state"] == "error")
    assert "could not be fetched or converted" in shown(site, name)["statuses"][0]["error"]
    admin(site, "delete", name)


def test_a_tag_that_has_moved_runs_what_was_approved_and_a_deleted_image_goes_on_in_its_jobs(
    site: DevCluster,
) -> None:
    name = new_image(site)
    bare = name.rpartition(":")[0]
    notes = ("--link", "https://example.org/tool", "--usage-notes", "a shell\nwith arguments")
    admin(site, "approve", name, *notes)
    old = shown(site, name)
    change_tag(site, "argv", name)
    new = crane(site, "digest", name)
    assert new != old["digest"]
    job_id = site.submit(image=name, params={"args": ["-c", "sleep 3; echo x > /output_files/x"]})
    again = admin(site, "approve", name, check=False).stderr
    assert "(appcode 50000)" in again
    assert old["digest"] in again
    assert f"or first delete the old one: cts admin image delete {name}" in again
    both = admin(site, "approve", f"{name}@{old['digest']}", check=False).stderr
    assert f"is {new} in its registry, not {old['digest']} as given" in both
    admin(site, "approve", f"{bare}@{new}", "--from", name)
    taken = shown(site, f"{bare}@{new}")
    assert (taken["urls"], taken["usage_notes"]) == (old["urls"], old["usage_notes"])
    listed = [i["name"] for i in json.loads(site.run("cts", "images", "--json").stdout)]
    assert listed == sorted(listed)
    assert listed.count(bare) == 2
    admin(site, "delete", name)
    admin(site, "delete", f"{bare}@{new}")
    gone = site.run("cts", "image", "show", name, check=False)
    assert "(appcode 40030)" in gone.stderr
    refused = admin(site, "delete", name, check=False)
    assert (refused.returncode, "(appcode 40030)" in refused.stderr) == (3, True)
    admin(site, "approve", name)  # the tag is free again
    assert shown(site, name)["digest"] == new
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert (job["image"]["digest"], job["image"]["tag"]) == (old["digest"], "1.0")
    query = "SELECT count(*) FROM audit WHERE action='image.delete' AND target=? AND result='ok'"
    read = f'import sqlite3,sys; print(sqlite3.connect("/var/lib/cts/cts.db").execute("{query}", sys.argv[1:]).fetchone()[0])'  # fmt: skip
    assert site.run("python3", "-c", read, name, user="ctsd").stdout == "1\n"


def test_each_trouble_with_a_registry_is_told_apart(site: DevCluster) -> None:
    facts = json.loads(site.tool("env").stdout)
    private = facts["private_registry"].rpartition(":")[2]
    for name, says, appcode in (
        (f"{site.registry}/test/argv:none", "in its registry (manifest unknown)", 30050),
        (f"localhost:{private}/lab/secret:1.0", "(unauthorized), and the gateway has no login", 30050),
        ("127.0.0.1:1/a/b:1", "cannot be reached; try again later", 30050),
        ("nohost.invalid/a/b:1", "There is no host of that name", 30050),
        (f"{facts['s3_endpoint'].partition('://')[2]}/a/b:1", "is no image registry", 30050),
        (f"{site.registry}/test/argv@md5:{'a' * 32}", "a digest is sha256: and 64", 30040),
        (f"{site.registry}/Test/argv:1.0", "has upper-case letters in 'Test'", 30040),
    ):  # fmt: skip
        done = admin(site, "approve", name, check=False)
        assert done.returncode == 2, name
        assert says in done.stderr, name
        assert f"(appcode {appcode})" in done.stderr, name


def test_a_login_that_the_registry_does_not_take_and_a_crane_that_is_not_there_are_told(
    site: DevCluster,
) -> None:
    """By the real crane, with a configuration of the test's own, beside the daemon."""
    registry = json.loads(site.tool("env").stdout)["private_registry"]
    look = """\
import json, pathlib, sys, tempfile
from gateway.config import ImagesSection
from gateway.errors import GatewayError
from gateway.images.crane import Crane
folder = pathlib.Path(tempfile.mkdtemp())
auths = {sys.argv[1]: {"username": "puller", "password": "wrong"}}
(folder / "config.json").write_text(json.dumps({"auths": auths}))
for crane in ("crane", "/none/crane", "/etc/passwd"):
    settings = ImagesSection(crane=crane, docker_config_dir=folder, insecure_registries=(sys.argv[1],))
    try:
        Crane(settings).digest(f"{sys.argv[1]}/lab/secret:1.0")
    except GatewayError as exc:
        print(exc.message)
"""
    said = site.run("/opt/cts/bin/python", "-c", look, registry).stdout.splitlines()
    assert "with the login that the gateway has for it: that is wrong" in said[0]
    assert "install crane there, or name its place in images.crane" in said[1]
    assert "let the daemon's user execute it" in said[2]


def test_a_client_sees_and_changes_images_by_its_own_calls(site: DevCluster) -> None:
    name = new_image(site)
    script = """\
import sys
from gateway.client import Client
with Client() as client:
    made = client.approve_image(sys.argv[1], urls=["https://example.org"], usage_notes="x", stage=False)
    print(made.platforms, made.urls)
    print([at.cluster for at in client.stage_image(sys.argv[1], clusters=["dev"]).statuses])
    client.delete_image(sys.argv[1])
    print(any(image.name == made.name for image in client.images()))
"""
    done = site.run("/opt/cts/bin/python", "-c", script, name, user="ada")
    assert done.stdout.splitlines() == [
        "['linux/amd64'] ['https://example.org']",
        "['dev']",
        "False",
    ]
