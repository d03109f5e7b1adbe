"""Two object stores in one site: one by path over HTTP, one by TLS, under names of its buckets, with a CA and keys of its own."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from devclusterlib.certificates import CA, STORE_CA
from devclusterlib.samples import sample_objects
from devclusterlib.storage import S3_KEYS

from tests.cluster.posting import post
from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster

LARGE = "reads/sample-8.txt"  # of four parts, of 5 MiB each, at the second store
TRUSTING = f"export AWS_CA_BUNDLE={STORE_CA}; "


@dataclass(frozen=True)
class Jobs:
    """Jobs that read from both stores; what they are called says where they write to, or when they read."""

    by_bucket: dict[str, Any]
    by_name: dict[str, Any]
    late: dict[str, Any]


@pytest.fixture(scope="module")
def jobs(site: DevCluster) -> Jobs:
    name = uuid.uuid4().hex
    base = {
        "cluster": "dev",
        "image": site.image("checksum"),
        "memory": "50MB",
        "runtime": 120,
        "input_files": [f"sample-data/{LARGE}", "archive/reads/old.txt"],
        "shared_inputs": ["archive:depot/reads/old.txt"],
        "input_roots": [""],
    }
    places = [{"output_dir": f"{bucket}/{name}"} for bucket in ("archive", "archive:depot")]
    first, second = (each["job_id"] for each in post(site, [base | place for place in places]))
    after = {
        "input_files": [f"archive/{name}/archive/reads/old.txt"],
        "shared_inputs": None,
        "input_globs": ["archive:depot/read?/*.txt"],
        "depends_on": [{"job_id": first}],
        "output_dir": f"results/{name}",
    }
    (late,) = post(site, [{k: v for k, v in (base | after).items() if v is not None}])
    return Jobs(*(site.finish(each) for each in (first, second, late["job_id"])))


def _written(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a job wrote, by the names below its output directory."""
    assert job["state"] == "complete", job["error"]
    top = job["job_input"]["output_dir"]
    found = {each["file"].removeprefix(top): each for each in job["outputs"]}
    return {name: each for name, each in found.items() if not name.startswith("checksums")}


def test_a_job_reads_from_both_stores_and_writes_to_that_of_its_output_directory(
    jobs: Jobs,
) -> None:
    for job, bucket in ((jobs.by_bucket, "archive/"), (jobs.by_name, "archive:depot/")):
        assert job["job_input"]["output_dir"].startswith(bucket)
        written = _written(job)
        assert set(written) == {
            f"sample-data/{LARGE}",
            "archive/reads/old.txt",
            "archive:depot/reads/old.txt",
        }
        copied = written[f"sample-data/{LARGE}"]
        assert copied["size"] == len(sample_objects()[LARGE])
        assert copied["etag"].endswith("-4")


def test_inputs_that_are_yet_to_be_written_or_match_a_pattern_come_from_their_stores(
    jobs: Jobs,
) -> None:
    top = jobs.by_bucket["job_input"]["output_dir"]
    assert set(_written(jobs.late)) == {
        f"{top}archive/reads/old.txt",
        "archive:depot/reads/old.txt",
    }


def test_a_path_has_one_name_and_its_store_is_one_that_is_there(site: DevCluster) -> None:
    base = {"cluster": "dev", "image": site.image("checksum"), "output_dir": "results/x"}
    answers = post(
        site,
        [
            base | {"input_files": ["sample-data/reads/sample-2.txt", "attic:old/x"]},
            base | {"input_files": ["archive/reads/old.txt"], "output_dir": "archive:archive/x"},
        ],
    )
    said = [(each["error"]["appcode"], each["error"]["message"]) for each in answers]
    assert said == [
        (
            30020,
            "input_files[1]: The bucket 'attic:old' names the object store 'attic', which is not there; known: archive.",
        ),
        (
            30020,
            "output_dir: The bucket 'archive:archive' names its object store without need; write 'archive': "
            "it lies in 'archive' by its own name.",
        ),
    ]


def test_files_go_to_and_from_a_store_with_a_ca_of_its_own_or_it_is_told_that_it_is_not_trusted(
    site: DevCluster, jobs: Jobs
) -> None:
    name, job = uuid.uuid4().hex, jobs.by_name["id"]
    steps = f"cd && echo {name} > {name} && cts put {name} archive:depot/put"
    refused = site.run("sh", "-c", steps, check=False)
    assert refused.returncode != 0
    host = r"depot\.s3\.cts\.test:\d+"
    assert re.search(rf"certificate of the storage at {host} is not trusted: ", refused.stderr)
    done = site.run("sh", "-c", f"{TRUSTING}{steps} && cts get {job} {name}.d --match 'archive*'")
    path = f"archive:depot/put/{name}"
    assert path in done.stdout
    got = site.run("sh", "-c", f"cat {name}.d/archive:depot/reads/old.txt; rm -r {name}*")
    assert got.stdout == "kept since long ago\n"
    # What was put there is staged as reference data, by a job that knows the store, too.
    site.run("cts", "admin", "refdata", "register", path, user="ada")

    def staged() -> bool:
        found = json.loads(site.run("cts", "refdata", path, "--json").stdout)
        states = {each["state"] for each in found[0]["statuses"] if each["cluster"] == "dev"}
        assert "error" not in states
        return states == {"complete"}

    site.until(staged)


def test_the_keys_of_no_store_are_at_the_site(site: DevCluster, jobs: Jobs) -> None:
    assert jobs.by_name["state"] == "complete"
    search = ("grep", "-rlF", *(f"-e{secret}" for _, secret in S3_KEYS.values()), "/scratch/cts")
    assert site.run(*search, user="root", check=False).stdout == ""


@pytest.fixture
def folder(site: DevCluster) -> Iterator[str]:
    """A directory of ctsd's own."""
    path = site.run("mktemp", "-d", "/tmp/check-XXXXXX", user="ctsd").stdout.strip()
    yield path
    site.run("rm", "-r", path, user="ctsd")


def test_check_tells_of_each_store_what_is_wrong_with_it(site: DevCluster, folder: str) -> None:
    facts = json.loads(site.tool("env").stdout)
    plain, named = facts["s3_endpoint"], facts["store_url"]
    port = named.rpartition(":")[2]
    keys = 'credentials_file = "/etc/cts/s3-credentials"'
    config = f"""
[s3]
endpoint_url = "{plain}"
{keys}
check_prefix = "results/check"
[s3.stores.other-ca]
endpoint_url = "{named}"
{keys}
ca_file = "{CA}"
[s3.stores.no-ca]
endpoint_url = "https://localhost:{port}"
{keys}
ca_file = "{STORE_CA}"
[s3.stores.open]
endpoint_url = "https://127.0.0.1:{port}"
{keys}
profile = "archive"
insecure = true
check_prefix = "private-data"
[s3.stores.keys]
endpoint_url = "{plain}"
credentials_file = "{folder}/keys"
[sites.dev]
work_dir = "{folder}/work"
backend = "cli"
"""
    write = f"umask 077; cat > {folder}/c.toml; printf '[default]\naws_access_key_id = CTSACCESSKEY\naws_secret_access_key = no\n' > {folder}/keys"
    site.run("sh", "-c", write, user="ctsd", text=config)
    done = site.run("ctsd", "check", "--config", f"{folder}/c.toml", user="ctsd", check=False)
    assert done.returncode == 1
    lines = dict(re.findall(r"^((?:ok|FAIL) +s3.*?)  +(.*) \(\d+ ms\)$", done.stdout, re.M))
    told = {" ".join(name.split()): text for name, text in lines.items()}
    assert re.fullmatch(r"\d+ buckets listed", told.pop("ok s3"))
    assert told.pop("ok s3: objects") == (
        "written and removed at results/check: ETags are MD5, the sizes of parts are known"
    )
    for name, store in (("other-ca", "issuer certificate"), ("no-ca", "match")):
        text = told.pop(f"FAIL s3 {name}")
        assert text.startswith("The certificate is not trusted, or there is no TLS (")
        assert store in text
        assert text.endswith(f"Name the CA, PEM, in s3.stores.{name}.ca_file.")
    assert "buckets listed" in told.pop("ok s3 open")
    assert "The gateway may not write to 'private-data/" in told.pop("FAIL s3 open: objects")
    assert told.pop("FAIL s3 keys").endswith(
        "They are those of s3.stores.keys.credentials_file, profile s3.stores.keys.profile."
    )
    assert told == {}
    assert "warning: s3.stores.open.insecure is true: whoever is in between" in done.stderr
    listed = site.run("aws", "s3", "ls", "--recursive", "s3://results/check", check=False)
    assert listed.stdout == ""
