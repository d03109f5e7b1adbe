"""Logs over HTTP: pieces, their headers, and large ones in bounded memory."""

from __future__ import annotations

from tests.api.gateway_fake import FakeGateway


def _job(fake: FakeGateway, data: bytes, phase: str = "run") -> int:
    job = fake.jobs.add(phase=phase)
    fake.jobs.rows[job].logs[0, "stdout"] = data
    return job


def test_a_log_is_a_text_attachment_that_tells_its_size_and_whether_more_may_come(
    fake: FakeGateway,
) -> None:
    answer = fake.http.get(f"/jobs/{_job(fake, b'hello')}/log/0/stdout")
    assert answer.content == b"hello"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"] == 'attachment; filename="1_0.stdout"'
    assert (answer.headers["x-log-size"], answer.headers["x-log-final"]) == ("5", "false")
    ended = fake.http.get(f"/jobs/{_job(fake, b'', 'complete')}/log/0/stdout")
    assert (ended.content, ended.headers["x-log-final"]) == (b"", "true")


def test_seek_and_length_cut_a_piece_out_and_past_the_end_there_is_nothing(
    fake: FakeGateway,
) -> None:
    url = f"/jobs/{_job(fake, b'0123456789')}/log/0/stdout"
    assert fake.http.get(f"{url}?seek=3").content == b"3456789"
    assert fake.http.get(f"{url}?seek=3&length=2").content == b"34"
    assert fake.http.get(f"{url}?length=0").content == b""
    assert fake.http.get(f"{url}?seek=10").content == b""
    assert fake.http.get(f"{url}?seek=999&length=5").content == b""


def test_a_log_of_many_mebibytes_is_read_in_pieces_and_comes_whole(fake: FakeGateway) -> None:
    data = bytes(range(256)) * (5 * 4096 + 1)
    job = _job(fake, data)
    answer = fake.http.get(f"/jobs/{job}/log/0/stdout")
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))
    lengths = [what[1] for name, what in fake.jobs.calls if name == "log"]
    assert len(lengths) == 6
    assert max(lengths) == 1 << 20


def test_a_log_that_shrinks_while_it_is_sent_breaks_the_connection_and_not_the_length(
    fake: FakeGateway,
) -> None:
    import httpx
    import pytest

    job = _job(fake, b"x" * (3 << 20))
    row = fake.jobs.rows[job]
    plain = fake.jobs.log

    def shrinking(*arguments: object) -> object:
        piece = plain(*arguments)  # type: ignore[arg-type]
        row.logs[0, "stdout"] = b"x" * (1 << 20)
        return piece

    fake.jobs.log = shrinking  # type: ignore[assignment, method-assign]
    with pytest.raises(httpx.RemoteProtocolError):
        fake.http.get(f"/jobs/{job}/log/0/stdout")
    assert fake.http.get("/health").status_code == 200
