"""/metrics: for whoever is known here, over both listeners; requests by route, whatever the path was."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.api.gateway_fake import FakeGateway, until


def requests_of(fake: FakeGateway) -> dict[tuple[str, str, str], float]:
    """How many there were, by method, route and status."""
    families = text_string_to_metric_families(fake.http.get("/metrics").text)
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "cts_http_request_seconds_count"
    }


def test_it_is_text_for_prometheus_and_needs_to_know_who_asks(fake: FakeGateway) -> None:
    answer = fake.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    with fake.over_tcp() as http:
        assert http.get("/metrics").status_code == 401
    assert fake.http.post("/metrics").status_code == 405


def test_requests_are_told_by_route_and_no_path_makes_a_label(fake: FakeGateway) -> None:
    fake.http.get("/jobs/1")
    fake.http.get("/jobs/999999")
    fake.http.get("/jobs/999998")
    for number in range(20):
        fake.http.get(f"/none/{number}")
    fake.http.request("BREW", "/jobs")
    until(lambda: requests_of(fake).get(("GET", "none", "404")) == 20)
    found = requests_of(fake)
    assert found["GET", "/jobs/{job_id}", "404"] >= 2
    assert not any("999999" in key[1] for key in found)
    methods = {key[0] for key in found}
    assert "BREW" not in methods
