"""Reference data on the real site: registered, staged by a real Slurm job, read by jobs, recovered, cleaned."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster

# Packs and puts the archive into S3.
PACK = """\
import gzip, io, os, subprocess, sys, tarfile
kind, target = sys.argv[1:]
def add(tar, name, data=b"", type=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = type, len(data), link, 0o6777
    tar.addfile(info, io.BytesIO(data))
with tarfile.open(f"/tmp/pack-{os.getpid()}.tar", "w") as tar:
    add(tar, "db/genome.fa", b"ACGT\\n" * 1000)
    add(tar, "current", type=tarfile.SYMTYPE, link="db")
    if kind == "many":
        for n in range(250_000):  # long enough to be caught at it, on a busy machine too
            add(tar, f"many/{n % 100}/{n}")
    if kind == "absolute":
        add(tar, "/tmp/escaped", b"x")
    if kind == "dotdot":
        add(tar, "../../escaped", b"x")
    if kind == "link":
        add(tar, "out", type=tarfile.SYMTYPE, link="/etc")
    if kind == "hardlink":
        add(tar, "out", type=tarfile.LNKTYPE, link="../../jobs")
    if kind == "device":
        add(tar, "out", type=tarfile.CHRTYPE)
    if kind == "bomb":
        bomb = tarfile.TarInfo("bomb")
        bomb.size = 100 << 30
        tar.fileobj.write(bomb.tobuf())
packed = open(f"/tmp/pack-{os.getpid()}.tar", "rb").read()
if kind == "zst":
    from compression import zstd
    packed = zstd.compress(packed)
elif kind != "plain":
    packed = gzip.compress(packed, 1)
subprocess.run(["aws", "s3", "cp", "--only-show-errors", "-", f"s3://{target}"], input=packed, check=True)
"""

# Waits until reference data begins to be unpacked, and stops the job that does it right there.
CATCH = """\
until ls -d /scratch/cts/refdata/."$1"-*.tmp >/dev/null 2>&1; do sleep 0.02; done
pkill -STOP -f " batch .*/jobs/$2/job.json "
"""


@dataclass(frozen=True)
class Data:
    """Reference data that is registered."""

    site: DevCluster
    id: str
    path: str

    def at(self) -> dict[str, Any]:
        """What is known of it at the site."""
        text = self.site.run("cts", "refdata", self.id, "--json", user="bob").stdout
        statuses = json.loads(text)["statuses"]
        found: dict[str, Any] = statuses[0] if statuses else {"state": "", "job_id": None}
        return found

    def until(self, state: str) -> dict[str, Any]:
        """Wait until it has come to a state."""
        self.site.until(lambda: self.at()["state"] == state)
        return self.at()

    def on_disk(self) -> list[str]:
        """What of it is on the site's disk."""
        names = self.site.run("ls", "-A", "/scratch/cts/refdata", user="root", check=False).stdout
        return [name for name in names.split() if name.lstrip(".").startswith(f"{self.id}-")]

    def admin(self, *words: str, check: bool = True) -> Any:
        """Do something to it as an admin."""
        command = ("cts", "admin", "refdata", words[0], self.id, "dev", *words[1:])
        return self.site.run(*command, user="ada", check=check)

    def image(self, mount_point: str | None = "/refdata") -> str:
        """An approved image whose program is a shell, and that has this data."""
        name = f"{self.site.registry}/test/refdata-{uuid.uuid4().hex[:8]}:1.0"
        source = f"{self.site.registry}/test/argv:1.0"
        shell = ("--entrypoint", "/bin/sh", "--tag", name)
        self.site.run("crane", "mutate", "--insecure", source, *shell, user="root")
        where = ("--refdata-mount-point", mount_point) if mount_point else ()
        self.site.run("cts", "admin", "image", "approve", name, "--refdata", self.id, *where, user="ada")  # fmt: skip
        return name


def _put(site: DevCluster, kind: str, ending: str = "tar.gz") -> str:
    path = f"results/refdata-{uuid.uuid4().hex[:8]}/db.{ending}"
    site.run("python3", "-c", PACK, kind, path)
    return path


def _register(site: DevCluster, kind: str, ending: str = "tar.gz") -> Data:
    path = _put(site, kind, ending)
    done = site.run("cts", "admin", "refdata", "register", path, "--unpack", user="ada")
    return Data(site, done.stdout.strip(), path)


def _script(text: str) -> dict[str, Any]:
    return {"args": ["-c", text]}


def test_it_is_staged_by_a_slurm_job_and_a_job_reads_it_and_cannot_change_it(
    site: DevCluster,
) -> None:
    data = _register(site, "good")
    at = data.until("complete")
    assert [step["state"] for step in at["transition_times"]] == [
        "created",
        "download_submitted",
        "complete",
    ]
    staging = site.job(at["job_id"], user="ada")
    assert (staging["user"], staging["state"]) == ("(refdata)", "complete")
    assert len(staging["slurm_jobs"]) == 1
    assert at["unpacked_bytes"] == 5000
    job = site.finish(
        site.submit(
            image=data.image(),
            params=_script(
                "wc -l < /refdata/current/genome.fa; ls -l /refdata/db;"
                "echo x > /refdata/new; echo x >> /refdata/db/genome.fa; rm -f /refdata/db/genome.fa;"
                "chmod 777 /refdata/db; grep refdata /proc/mounts; echo done > /output_files/x"
            ),
        )
    )
    assert job["state"] == "complete", job["error"]
    assert job["image"]["refdata_id"] == data.id
    out = site.run("cts", "logs", job["id"]).stdout
    assert out.startswith("1000\n")
    assert "-r-xr-xr-x" in out
    assert " ro," in out
    errors = site.run("cts", "logs", "--stderr", job["id"]).stdout
    assert errors.count("Read-only file system") == 3
    assert errors.count("Permission denied") == 1  # the file's own mode goes before
    again = site.run("wc", "-l", f"/scratch/cts/refdata/{data.on_disk()[0]}/db/genome.fa", user="root")  # fmt: skip
    assert again.stdout.startswith("1000 ")


def test_a_job_says_where_it_wants_the_data_or_is_told_to(site: DevCluster) -> None:
    data = _register(site, "good")
    data.until("complete")
    image = data.image(mount_point=None)
    body = {
        "cluster": "dev",
        "image": image,
        "input_files": ["sample-data/reads/sample-2.txt"],
        "output_dir": "results/refdata",
    }
    done = site.run("cts", "submit", "-", text=json.dumps(body), check=False)
    assert done.returncode == 2
    assert "(appcode 30000)" in done.stderr
    params = _script("cat /my/place/db/genome.fa > /output_files/copy")
    job = site.finish(site.submit(image=image, params={**params, "refdata_mount_point": "/my/place"}))  # fmt: skip
    assert job["state"] == "complete", job["error"]
    assert [o["size"] for o in job["outputs"]] == [5000]


@pytest.mark.parametrize(("kind", "ending"), [("zst", "tar.zst"), ("plain", "tar")])
def test_other_kinds_of_archive_are_unpacked_as_well(
    site: DevCluster, kind: str, ending: str
) -> None:
    data = _register(site, kind, ending)
    assert data.until("complete")["unpacked_bytes"] == 5000


def test_a_killed_staging_job_publishes_nothing_and_a_job_waits_until_it_is_recovered(
    site: DevCluster,
) -> None:
    data = _register(site, "many")
    site.until(lambda: data.at()["job_id"] is not None)
    site.run("sh", "-c", CATCH, "sh", data.id, data.at()["job_id"], user="root")
    image = data.image()
    params = _script("ls /refdata/many | wc -l > /output_files/count")
    job_id = site.submit(image=image, params=params)
    unwanted = site.submit(image=image, params=params)
    assert [name.endswith(".tmp") for name in data.on_disk()] == [True]
    waits = site.job(job_id)
    assert waits["state"] == "created"
    assert waits["reason"].startswith(f"waits for reference data {data.id}, which is being staged")
    site.run("cts", "cancel", unwanted)
    job = site.finish(unwanted)
    assert (job["state"], job["cancel_by"], job["slurm_jobs"]) == ("canceled", "alice", [])
    (slurm,) = site.job(data.at()["job_id"], user="ada")["slurm_jobs"]
    site.run("scancel", "--signal=KILL", "--full", slurm, user="root")
    failed = data.until("error")
    assert f"(job {failed['job_id']}) failed" in failed["error"]
    assert data.on_disk() == []
    refused = data.admin("clean", check=False)
    assert "30400" in refused.stderr
    assert job_id in refused.stderr
    site.until(lambda: "cts admin refdata recover" in (site.job(job_id)["reason"] or ""))
    assert site.job(job_id)["state"] == "created"
    data.admin("recover")
    assert data.until("complete")["job_id"] != failed["job_id"]
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1
    data.admin("clean")  # so many files are in nobody's way
    site.until(lambda: data.on_disk() == [])


def test_clean_frees_the_disk_and_jobs_wait_until_it_is_staged_again(site: DevCluster) -> None:
    data = _register(site, "good")
    data.until("complete")
    refused = data.admin("recover", check=False)
    assert "30400" in refused.stderr
    data.admin("clean")
    site.until(lambda: data.on_disk() == [])
    assert data.at()["error"] == "it was removed from the site by ada"
    job_id = site.submit(image=data.image(), params=_script("cp /refdata/db/* /output_files"))
    site.until(lambda: "removed from the site by ada" in (site.job(job_id)["reason"] or ""))
    data.admin("recover")
    assert site.finish(job_id)["state"] == "complete"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("absolute", "'/tmp/escaped' has an absolute path"),
        ("dotdot", "the member '../../escaped' has '..' in its path"),
        ("link", "'out' is a link to '/etc'"),
        ("hardlink", "'out' is a hard link to '../../jobs' has '..'"),
        ("device", "'out' is a character device"),
        ("bomb", "more than 50000000000 bytes"),
    ],
)
def test_an_archive_that_would_do_harm_is_refused_and_nothing_of_it_is_there(
    site: DevCluster, kind: str, says: str
) -> None:
    data = _register(site, kind)
    assert says in data.until("error")["error"]
    assert data.on_disk() == []
    for place in ("/scratch/escaped", "/tmp/escaped"):
        assert site.run("ls", place, user="root", check=False).returncode != 0


def test_only_admins_register_and_the_same_content_once(site: DevCluster) -> None:
    path = _put(site, "good")
    register = ("cts", "admin", "refdata", "register", path)
    denied = site.run(*register, user="bob", check=False)
    assert denied.returncode == 3
    assert "20000" in denied.stderr
    wrong = site.run(*register, "--crc64nvme", "AAAAAAAAAAA=", user="ada", check=False)
    assert "30030" in wrong.stderr
    first = site.run(*register, user="ada").stdout.strip()
    again = site.run(*register, user="ada", check=False)
    assert again.returncode == 2
    assert f"as {first}" in again.stderr
    assert "50100" in again.stderr
    assert site.run(*register, "--force", user="ada").stdout.strip() != first
    listed = json.loads(site.run("cts", "refdata", path, "--json", user="bob").stdout)
    assert len(listed) == 2
