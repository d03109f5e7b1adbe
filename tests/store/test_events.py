"""Ids of transitions become visible in their order, however many write: who reads on from an id misses none."""

from __future__ import annotations

import threading
import time

from gateway.store import events as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Job, Transition


def test_who_reads_on_from_the_last_id_misses_none_while_many_write(database: Database) -> None:
    with database.write() as session:
        session.add(
            Job(
                id=1, user="alice", site="dev", phase="run", created=now(), updated=now(), job_input={}, image={},
                token="", num_containers=1, cpus=1, memory=1, runtime=1, input_file_count=1, input_bytes=1, output_dir="a/b/",
            )
        )  # fmt: skip
    writing = 8

    def write(who: int) -> None:
        for turn in range(12):
            with database.write() as session:
                for _ in range(2):
                    session.add(Transition(job_id=1, container=who, phase="run", time=now()))
                    session.flush()  # its id is taken here, and is seen only after the commit
                    if turn % 4 == 0:
                        time.sleep(0.002)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(writing)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads) or not seen or _more(database, seen[-1]):
        with database.read() as session:
            found = store.between(session, seen[-1] if seen else 0, None, 50)
        seen += [row.id for row in found]
    assert len(seen) == writing * 12 * 2
    assert seen == sorted(set(seen))


def _more(database: Database, last: int) -> bool:
    with database.read() as session:
        return store.newest(session) > last
