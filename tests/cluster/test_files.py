"""A newcomer with no S3 key: files in, a job, files out, over the socket and over TLS, on the real object store."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster

# As alice, in a directory of her own, with no credentials of S3 anywhere.
NEWCOMER = """
set -eu
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
export AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=/dev/null HOME=$(mktemp -d)
cd "$HOME"
mkdir -p reads/deep
echo hello > 'reads/a b.txt'; : > reads/empty; head -c 80000000 /dev/urandom > reads/deep/big
cts put --json reads "$TARGET" > put.json
cts put --json reads "$TARGET" > again.json
cmp put.json again.json
python3 -c '
import json, os
files = [row["file"] for row in json.load(open("put.json"))]
print(json.dumps({"cluster": "dev", "image": os.environ["IMAGE"], "input_files": files, "num_containers": 2,
                  "output_dir": os.environ["OUTPUT"], "memory": "50MB", "runtime": 120}))' > job.json
job=$(cts submit job.json)
cts wait "$job"
cts get "$job" out --match 'a b.txt' --match big >&2
test "$(ls -A out | wc -l)" = 2
for name in 'a b.txt' deep/big; do cmp "reads/$name" "out/$(basename "$name")"; done
export CTS_URL=$URL CTS_CA_FILE=/etc/ssl/devcluster/ca.pem CTS_TOKEN_FILE=$HOME/token
env -u CTS_URL cts token create -o token --expires 1h >&2
cts put 'reads/a b.txt' "$TARGET/tls" >&2
cts get "$job" over-tls >&2
cmp over-tls/big reads/deep/big
cp put.json out.json
echo "$job"
cat put.json
"""


def test_a_newcomer_without_an_s3_key_does_all_of_a_job(site: DevCluster) -> None:
    name = uuid.uuid4().hex
    url = json.loads(site.tool("env").stdout)["url"]
    variables = {
        "TARGET": f"sample-data/{name}",
        "OUTPUT": f"results/test-{name}",
        "IMAGE": site.image("checksum"),
        "URL": url,
    }
    given = [f"{key}={value}" for key, value in variables.items()]
    done = site.run("env", *given, "bash", "-s", text=NEWCOMER)
    job, _, rows = done.stdout.partition("\n")
    stored = {row["file"]: row for row in json.loads(rows)}
    assert set(stored) == {
        f"sample-data/{name}/reads/{n}" for n in ("a b.txt", "empty", "deep/big")
    }
    for row in stored.values():
        assert row["crc64nvme"]
    assert stored[f"sample-data/{name}/reads/deep/big"]["etag"].endswith("-2")
    head = site.run(
        *("aws", "s3api", "head-object", "--bucket", "sample-data", "--checksum-mode", "ENABLED"),
        *("--key", f"{name}/reads/deep/big"),
    ).stdout
    seen = json.loads(head)
    assert seen["ContentLength"] == 80_000_000
    assert seen["ChecksumCRC64NVME"] == stored[f"sample-data/{name}/reads/deep/big"]["crc64nvme"]
    outputs = {row["file"]: row["etag"] for row in site.job(job)["outputs"]}
    assert (
        outputs[f"results/test-{name}/a b.txt"]
        == stored[f"sample-data/{name}/reads/a b.txt"]["etag"]
    )
    # What is alice's is no job of bob's, who could read the store himself.
    refused = site.run("cts", "get", job, "/tmp/none", user="bob", check=False)
    assert (refused.returncode, "40040" in refused.stderr) == (3, True)
