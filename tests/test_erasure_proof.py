"""The proof by search: after a retraining no file of the home holds a forgotten person's id."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tools import own_port

from features.decided import Decided, decision_files, pseudonym, read_decisions
from features.home import Home
from simulation import SimulationConfig, simulate

USER, DEVICE, TOLD = "zq-customer-7741", "zq-device-7741", "zq-device-told"
OTHER = "zq-customer-8852"
TRAINING = """
training:
  rankers: [popularity, repeat, neighbours, als]
  als: {factors: 8, sweeps: 2}
  bootstrap_draws: 100
"""


def renamed(base: Path, names: dict[str, str]) -> None:
    """Give some people of the simulated log other ids, in every table."""
    for file in base.glob("*.parquet"):
        table = pq.read_table(file)
        for place, name in enumerate(table.column_names):
            if name in ("user_id", "visitor_id", "session_id"):
                known = [names.get(one, one) for one in table[name].to_pylist()]
                table = table.set_column(place, name, pa.array(known, pa.string()))
        pq.write_table(table, file)


def chosen(base: Path) -> dict[str, str]:
    """The two customers with the most events, and the device of the first: old id -> new id."""
    events = pq.read_table(base / "events.parquet")
    counts = events.filter(pc.is_valid(events["user_id"])).group_by("user_id").aggregate(
        [("item_id", "count")]).sort_by([("item_id_count", "descending")])  # fmt: skip
    first, second = counts["user_id"].to_pylist()[:2]
    own = events.filter(pc.equal(events["user_id"], first))
    devices = {one for one in own["visitor_id"].to_pylist() if one}
    sessions = {one for one in own["session_id"].to_pylist() if one}
    return (
        {first: USER, second: OTHER}
        | {one: f"{DEVICE}-{place}" for place, one in enumerate(sorted(devices))}
        | {one: f"zq-session-{place}" for place, one in enumerate(sorted(sessions))}
    )


def texts(file: Path) -> Iterator[bytes]:
    """All that a file says: its bytes and, decoded, its columns or tables."""
    yield file.read_bytes()
    if file.suffix == ".parquet":
        yield json.dumps(pq.read_table(file).to_pylist(), default=str).encode()
    if file.suffix == ".npy":
        array = np.load(file, allow_pickle=False)
        yield array.tobytes().replace(b"\0", b"")
    if file.read_bytes().startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in found.fetchall():
                rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
                yield repr(rows).encode()


def holding(home: Home, word: str) -> list[str]:
    """Files of the home in which, or in whose name, the word occurs."""
    return sorted(
        str(file.relative_to(home.root)) for file in home.root.rglob("*")
        if word in file.name
        or (file.is_file() and any(word.encode() in text for text in texts(file)))
    )  # fmt: skip


def use(url: str, user: str, device: str) -> None:
    """What a visit tells the service, and what it is shown."""
    with httpx.Client(base_url=url, timeout=20) as client:
        for endpoint, body in (
            ("identify", {"user_id": user, "visitor_id": device}),
            ("preferences", {"user_id": user, "personalise": True,
                             "answers": [{"question": "favourite_topic", "answer": "garden"}]}),
            ("events", {"events": [
                {"item_id": "SKU-00001", "event_type": "view", "visitor_id": device,
                 "session_id": f"{device}-session", "event_id": f"{device}-1"},
                {"item_id": "SKU-00002", "event_type": "view", "user_id": user},
            ]}),
            ("feed", {"placement": "home", "user_id": user, "visitor_id": device}),
            ("feed", {"placement": "magazine", "visitor_id": device}),
        ):  # fmt: skip
            answer = client.post(endpoint, json=body)
            assert answer.status_code in (200, 202), answer.text


def whose(home: Home, names: list[str]) -> set[str]:
    """The names of whom any decision can be said to be, by whoever has all of the home."""
    key = home.salt.read_bytes()
    with closing(sqlite3.connect(home.state)) as state:
        salts = [row[0] for row in state.execute("SELECT salt FROM met")]
    people = {one.person for file in decision_files(home.decisions)
              for one in read_decisions(file) if isinstance(one, Decided)}  # fmt: skip
    return {name for name in names
            if any(pseudonym(key, name, own) in people for own in [*salts, None])}  # fmt: skip


@pytest.mark.long
def test_no_file_of_the_home_holds_a_forgotten_person(tmp_path, run):
    from command.demo import served

    simulate(SimulationConfig(customers=120, items=80, days=60, events=6_000), tmp_path)
    renamed(tmp_path, chosen(tmp_path))
    config, home = tmp_path / "feeds.yaml", Home(tmp_path / ".feeds")
    config.write_text(config.read_text() + TRAINING)
    assert run("retrain", "-c", config)[0] == 0
    with served(home, own_port(3467), workers=1, config=config) as url:
        use(url, USER, TOLD)
        use(url, OTHER, "zq-device-8852")
        time.sleep(1.5)  # until decisions are on the disk
        run("report", "data", "-c", config)
        assert run("train", "-c", config)[0] == 0  # what was told is in a model by now
        assert {USER, OTHER} == {name[2:] for name in whose(home, [f"u:{USER}", f"u:{OTHER}"])}
        before = {file.split("/")[0] for file in holding(home, USER)}
        assert {"features", "bundles", "artifacts", "log", "served"} <= before

        code, out, err = run("forget", "-c", config, USER)
        assert code == 0, err
        code, out, err = run("retrain", "-c", config)
        assert code == 0, f"{out}\n{err}"
        assert "PROOFS THAT STAY OPEN" not in out
        assert whose(home, [f"u:{USER}", f"u:{OTHER}"]) == {f"u:{OTHER}"}
        time.sleep(1.5)  # until the write-ahead log is emptied, and decisions are on the disk
        for word in (USER, DEVICE, TOLD, "zq-session-"):
            assert holding(home, word) == [], word
        assert holding(home, OTHER)
    for word in (USER, DEVICE, TOLD, "zq-session-"):  # and after the service has stopped
        assert holding(home, word) == [], word
    (proof,) = (json.loads(file.read_text()) for file in home.proofs.iterdir())
    assert (proof["versions"], proof["free_version"]) == (["v1", "v2"], "v3")
    assert proof["closed_at"] is not None
