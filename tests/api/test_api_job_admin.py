"""The routes of admins about one job: what they take, what they hand on."""

from __future__ import annotations

import json

import pytest

from tests.api.gateway_fake import FakeGateway


def test_each_call_reaches_the_service_as_it_was_meant(fake_admin: FakeGateway) -> None:
    job = fake_admin.jobs.add("alice")
    http, at = fake_admin.http, f"/admin/jobs/{job}"
    assert http.get(at).json()["directory"] == f"/work/jobs/{job}"
    assert http.get(f"{at}/runner_status?container=7").json()["controller"] == {
        "jobs": [{"job_id": 77}]
    }
    body = {"set_fields": {"a": "x", "b": 1, "c": 1.5, "d": True}, "unset_keys": ["e"]}
    assert http.put(f"{at}/meta", json=body).status_code == 204
    assert http.delete(f"{at}/clean").status_code == 204
    assert http.delete(f"{at}/clean?force=true").status_code == 204
    assert http.put(f"{at}/notify?state=complete").status_code == 204
    assert http.put(f"{at}/notify").status_code == 204
    assert fake_admin.job_admin.asked == [
        ("runner_status", job, 7),
        ("set_meta", job, {"a": "x", "b": 1, "c": 1.5, "d": True}, ["e"]),
        ("clean", job, False),
        ("clean", job, True),
        ("notify", job, "complete"),
        ("notify", job, None),
    ]
    assert [type(value) for value in fake_admin.job_admin.asked[1][2].values()] == [str, int, float, bool]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        '{"set": {}}',
        '{"set_fields": {"with space": 1}}',
        '{"set_fields": {"": 1}}',
        '{"set_fields": {"a": null}}',
        '{"set_fields": {"a": [1]}}',
        '{"set_fields": {"a": {"b": 1}}}',
        '{"set_fields": {"a": NaN}}',
        '{"set_fields": {"a": 1e999}}',
        '{"set_fields": {"a": 9007199254740993}}',
        '{"set_fields": {"a": "\\u0000"}}',
        '{"set_fields": {"a": "\\ud800"}}',
        '{"unset_keys": "a"}',
        '{"unset_keys": [1]}',
        json.dumps({"set_fields": {"a": "x" * 1001}}),
        json.dumps({"set_fields": {f"k{n}": n for n in range(101)}}),
    ],
)
def test_notes_that_are_no_plain_values_are_refused(fake_admin: FakeGateway, body: str) -> None:
    job = fake_admin.jobs.add()
    headers = {"Content-Type": "application/json"}
    answer = fake_admin.http.put(f"/admin/jobs/{job}/meta", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["appcode"]) == (400, 30010), answer.text
    assert fake_admin.job_admin.asked == []
