"""A document of very many values is refused before a mistake in each of them can cost memory."""

from __future__ import annotations

import json
import resource

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.document import MAX_VALUES, load_json


@pytest.mark.parametrize("value", ['""', "[]", "{}", "0", "null", '"a,b"'])
def test_a_body_of_millions_of_values_is_refused_at_no_cost(value: str) -> None:
    body = f'{{"per_container_args": [[{",".join([value] * 2_000_000)}]]}}'.encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GatewayError, match="more than 100,000 values") as caught:
        load_json(body)
    assert caught.value.code is AppCode.REQUEST_VALIDATION
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_the_largest_job_is_read_and_commas_in_names_do_not_count() -> None:
    files = [
        {"file": f"bucket/{',' * 20}{n}", "crc64nvme": "AAAAAAAAAAA=", "data_id": str(n)}
        for n in range(10_000)
    ]
    assert load_json(json.dumps({"input_files": files}).encode()) == {"input_files": files}


def test_the_bound_is_exact() -> None:
    assert len(load_json(b"[" + b"0," * MAX_VALUES + b"0]")) == MAX_VALUES + 1  # type: ignore[arg-type]
    with pytest.raises(GatewayError):
        load_json(b"[" + b"0," * (MAX_VALUES + 1) + b"0]")
