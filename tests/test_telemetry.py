"""What the service tells of itself: metrics of all workers, readiness, a log line per event."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import small_desk
import yaml
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families
from tools import own_port

from command.demo import serve_command
from features.home import Home
from serving import following, health, logs, telemetry
from serving.delivery import Holder
from serving.state import StateUnavailable
from serving.tallies import Tallies

DOCS = Path(__file__).parent.parent / "docs"
WHO, TYPO = "somebody-with-a-name", "some/path/that/is/not/there"


def samples(text):
    """The page of metrics: (name, labels) -> value."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text) for one in family.samples
    }  # fmt: skip


@dataclass
class Service:
    """A real service of two workers on the small shop."""

    home: Home
    client: httpx.Client
    before: dict[str, httpx.Response]  # what it answered before it had a model

    def value(self, name, **labels):
        found = samples(self.client.get("/metrics").text)
        return found.get((f"feeds_{name}", frozenset(labels.items())), 0)

    def log(self):
        text = (self.home.root / "service.log").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def eventually(self, holds):
        """Wait until both workers have noticed."""
        deadline = time.monotonic() + 15
        while not (found := holds()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("telemetry") / "home")
    shutil.copytree(small_desk.directory(), home.bundles / "v1")
    port = own_port(3469)
    command, environment = serve_command(home, port, workers=2)
    with (
        (home.root / "service.log").open("wb") as log,
        subprocess.Popen(command, env={**environment, "FEEDS_LOG": "json"}, stderr=log,
                         stdout=subprocess.DEVNULL) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client,
    ):  # fmt: skip
        try:
            service = Service(home, client, {})
            service.eventually(lambda: answers(client))
            service.before = {
                "live": client.get("/livez"), "ready": client.get("/readyz"),
                "feed": client.post("/feed", json={"placement": "home"}),
            }  # fmt: skip
            home.pointer.write_text("v1\n")
            workers = [{"worker": name} for name in ("w1", "w2")]
            service.eventually(lambda: all(service.value("ready", **one) for one in workers))
            yield service
        finally:
            process.terminate()


def answers(client):
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


class TestReadiness:
    def test_without_a_model_it_lives_and_is_not_ready_and_says_what_to_do(self, service):
        why = {"error": "no model has been promoted yet; run `feeds promote`"}
        assert service.before["live"].status_code == 200
        assert (service.before["ready"].status_code, service.before["ready"].json()) == (503, why)
        assert (service.before["feed"].status_code, service.before["feed"].json()) == (503, why)

    def test_with_a_model_it_is_ready_and_names_it(self, service):
        answer = service.client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() == {"ready": True, "model_version": "v1", "degraded": False}

    def test_without_its_store_it_is_ready_and_says_that_it_is_degraded(self, tmp_path):
        shutil.copytree(small_desk.directory(), tmp_path / "bundles" / "v1")
        (tmp_path / "CURRENT").write_text("v1\n")

        async def away():
            holder = Holder(Home(tmp_path))
            await holder.refresh()
            here = health.standing(holder)
            holder.desk.living.caught_up -= 60  # nothing was heard of it for a minute
            found = health.readiness(holder), here, health.standing(holder)
            await holder.close()
            return found

        (status, told), here, gone = asyncio.run(away())
        assert (status, told["ready"], told["degraded"]) == (200, True, True)
        assert re.match(r"no word from the store for 6\d s: feeds go on", told["why"])
        assert (here.away, gone.away) == (False, True)
        assert gone.lag >= 60
        assert here.bytes > 0

    def test_a_version_that_cannot_be_served_leaves_it_ready_and_is_told(self, service):
        refused, served = service.value("swaps_total", outcome="refused"), {"version": "v1"}
        service.home.pointer.write_text("v9\n")
        gauges = [{"worker": name} for name in ("w1", "w2")]
        try:
            assert service.eventually(
                lambda: all(service.value("version_refused", **one) for one in gauges)
            )
            assert service.client.get("/readyz").json()["refused"] == ["v9"]
            assert service.client.post("/feed", json={"placement": "home"}).status_code == 200
            assert service.value("swaps_total", outcome="refused") == refused + 2  # both workers
            assert service.value("model_info", **served) == 1
        finally:
            service.home.pointer.write_text("v1\n")
        assert service.eventually(
            lambda: not any(service.value("version_refused", **one) for one in gauges)
        )


class TestMetrics:
    def test_requests_decisions_and_items_add_up_over_the_workers(self, service):
        request = {"endpoint": "feed", "status": "200"}
        got = {"placement": "home", "decision": "show", "rung": "one_for_all", "reason": "stranger"}
        timed = {"endpoint": "feed", "rung": "one_for_all"}
        items = {"placement": "home", "ranker": "popularity"}

        def now():
            return [
                service.value("requests_total", **request), service.value("decisions_total", **got),
                service.value("items_total", **items),
                service.value("request_seconds_count", **timed),
            ]  # fmt: skip

        before, workers = now(), set()
        for _ in range(10):  # each on a connection of its own: whichever worker takes it
            answer = httpx.post(service.client.base_url.join("/feed"), json={"placement": "home"})
            workers.add(answer.headers["x-feeds-worker"])
        assert workers
        assert [after - was for after, was in zip(now(), before, strict=True)] == [10, 10, 40, 10]

    def test_a_request_without_a_feed_has_no_rung(self, service):
        labels = {"endpoint": "questions", "rung": ""}
        before = service.value("request_seconds_count", **labels)
        service.client.post("/questions", json={"visitor_id": "x"})
        assert service.value("request_seconds_count", **labels) == before + 1

    def test_a_dry_run_is_no_decision(self, service):
        def total():
            page = samples(service.client.get("/metrics").text)
            return sum(n for (name, _), n in page.items() if name == "feeds_decisions_total")

        before = total()
        asked = {"endpoint": "feed", "request": {"placement": "home"}}
        assert service.client.post("/validate", json=asked).status_code == 200
        assert total() == before

    @pytest.mark.parametrize(
        ("path", "body", "labels"),
        [
            ("/feed", {"placement": "nowhere"}, {"endpoint": "feed", "status": "400"}),
            ("/feed", {"sise": 1}, {"endpoint": "feed", "status": "400"}),
            (f"/{TYPO}", {}, {"endpoint": "other", "status": "404"}),
        ],
    )
    def test_whatever_is_answered_is_counted_by_its_status(self, service, path, body, labels):
        before = service.value("requests_total", **labels)
        service.client.post(path, json=body)
        assert service.value("requests_total", **labels) == before + 1

    def test_what_the_door_turns_away_is_counted_by_its_reason(self, service):
        before = service.value("refused_total", reason="json")
        service.client.post("/feed", content=b"x", headers={"content-type": "text/plain"})
        assert service.value("refused_total", reason="json") == before + 1

    def test_no_name_and_no_path_gets_into_a_label(self, service):
        service.client.post("/feed", json={"placement": "home", "user_id": WHO})
        service.client.post("/feed", json={"placement": WHO})
        service.client.get(f"/{TYPO}")
        text = service.client.get("/metrics").text
        assert WHO not in text
        assert TYPO not in text

    def test_the_model_and_the_store_are_described(self, service):
        as_of = small_desk.END_US / 1e6
        assert service.value("model_as_of_timestamp_seconds", version="v1") == as_of
        age = service.value("model_age_seconds", version="v1")
        assert age == pytest.approx(time.time() - as_of, abs=60)
        assert service.value("state_bytes") > 0
        for worker in ("w1", "w2"):
            assert service.value("state_lag_seconds", worker=worker) < 5
            assert time.time() - service.value("worker_seen_timestamp_seconds", worker=worker) < 5

    def test_those_in_the_docs_are_those_that_there_are(self, service):
        text = (DOCS / "monitoring.md").read_text()
        told = dict(re.findall(r"^\| `(feeds_\w+)` \| \w+ \|([^|]*)\|", text, re.M))
        service.client.post("/feed", json={"placement": "home"})
        found = {}
        for family in text_string_to_metric_families(service.client.get("/metrics").text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = {label for one in family.samples for label in one.labels} - {"le"}
        assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in told.items()} == found


def alerts():
    groups = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


class TestAlerts:
    def test_ask_for_metrics_and_labels_that_there_are(self, service):
        service.client.post("/feed", json={"placement": "home"})
        known = {}
        for name, labels in samples(service.client.get("/metrics").text):
            known.setdefault(name, set()).update(label for label, _ in labels)
        for rule in alerts():
            asked = re.findall(r"\b(feeds_\w+)(?:\{([^}]*)\})?", rule["expr"])
            assert asked, rule["alert"]
            for name, matchers in asked:
                assert name in known, rule["alert"]
                assert set(re.findall(r"(\w+)(?:=|!=)", matchers)) <= known[name], rule["alert"]

    @pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
    def test_say_what_is_wrong_and_what_to_do(self, rule):
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "do"}
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")")

    def test_are_those_of_the_docs(self):
        told = re.findall(r"^\| `(Feeds\w+)` \|", (DOCS / "monitoring.md").read_text(), re.M)
        assert told == [rule["alert"] for rule in alerts()]


COUNTS = """
import os, sys
from serving import telemetry
telemetry.begin(sys.argv[1])
for _ in range(int(sys.argv[2])):
    telemetry.refused("key")
telemetry.stands(telemetry.Standing({sys.argv[3]: 1_000_000}, False, 0.0, False, 0, 0.0))
if len(sys.argv) > 4:  # and then another version
    telemetry.stands(telemetry.Standing({sys.argv[4]: 1_000_000}, False, 0.0, False, 0, 0.0))
os.kill(os.getpid(), 9)
"""


class TestWorkersTogether:
    """Processes that count, and are killed; what remains is read as the service reads it."""

    @pytest.fixture
    def count(self, tmp_path):
        def _count(*words):
            environment = {**os.environ, telemetry.DIRECTORY: str(tmp_path)}
            subprocess.run([sys.executable, "-c", COUNTS, *words], env=environment, check=False)

        return _count

    @pytest.fixture
    def page(self, tmp_path, monkeypatch):
        monkeypatch.setenv(telemetry.DIRECTORY, str(tmp_path))
        return lambda: samples(telemetry.page().decode())

    def test_counts_add_up_and_a_successor_counts_on(self, count, page, tmp_path):
        count("w1", "3", "v1")
        count("w2", "4", "v1")
        files = len(list(tmp_path.iterdir()))
        count("w1", "5", "v1")
        refused = ("feeds_refused_total", frozenset({("reason", "key")}))
        assert page()[refused] == 12
        assert len(list(tmp_path.iterdir())) == files

    def test_one_that_is_just_starting_is_no_obstacle(self, count, page, tmp_path):
        count("w1", "3", "v1")
        for name in ("counter_w2.db", "gauge_all_w2.db", "gauge_liveall_w2.db"):
            (tmp_path / name).touch()
        assert page()["feeds_refused_total", frozenset({("reason", "key")})] == 3

    def test_a_version_is_told_while_a_worker_serves_it(self, count, page):
        def versions():
            return {dict(labels)["version"]: value for (name, labels), value in page().items()
                    if name == "feeds_model_info"}  # fmt: skip

        count("w1", "0", "v1", "v2")
        assert versions() == {"v2": 1}
        count("w2", "0", "v1")
        assert versions() == {"v1": 1, "v2": 1}
        count("w1", "0", "v3")  # whatever the one before of this name was like
        assert versions() == {"v1": 1, "v3": 1}

    def test_one_that_has_fallen_silent_only_says_since_when(self, count, page, monkeypatch):
        count("w1", "3", "v1")
        assert page()["feeds_ready", frozenset({("worker", "w1")})] == 1
        monkeypatch.setattr(telemetry, "SILENT_SECONDS", -1)
        found = page()
        assert {name for name, labels in found if dict(labels).get("worker")} == {
            "feeds_worker_seen_timestamp_seconds"
        }
        assert found["feeds_refused_total", frozenset({("reason", "key")})] == 3


FILLS = """
import os, sys
from contextlib import suppress
from pathlib import Path
from serving import tallies, telemetry
tallies.AGAIN_SECONDS = 0
telemetry.begin("w1")
telemetry.Asked("feed").answered(200)
full = Path(sys.argv[1]) / "full"
with suppress(OSError), full.open("wb", buffering=0) as file:
    while True:
        file.write(bytes(4096))
for number in range(60):  # pages of numbers that there is no room for
    telemetry.Asked(f"endpoint-{number}").answered(503)
print(telemetry.page().decode().count("endpoint-59"), flush=True)
full.unlink()
telemetry.Asked("feed").answered(200)
print(telemetry.page().decode())
"""


@pytest.fixture
def small_disk(tmp_path):
    """300 kB that are a disk of their own."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "feeds", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a tmpfs, so root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


class TestAFullDisk:
    def test_ends_no_worker_and_nothing_is_forgotten(self, small_disk):
        run = subprocess.run(
            [sys.executable, "-c", FILLS, str(small_disk)], capture_output=True, text=True,
            env={**os.environ, telemetry.DIRECTORY: str(small_disk)}, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr  # a mapped page would be a bus error: -7
        meanwhile, _, after = run.stdout.partition("\n")
        assert meanwhile == "0"
        for metric in ("feeds_requests_total", "feeds_request_seconds_count"):
            counted = {dict(labels)["endpoint"]: value for (name, labels), value
                       in samples(after).items() if name == metric}  # fmt: skip
            assert counted == {"feed": 2} | {f"endpoint-{n}": 1 for n in range(60)}
        assert run.stderr.count("metrics wait in memory") >= 1

    def test_a_file_of_the_client_is_taken_up_and_its_reader_reads_ours(self, tmp_path):
        file = str(tmp_path / "counter_w1.db")
        theirs = MmapedDict(file)
        for length in range(1, 18):  # every rest of 8
            theirs.write_value("k" * length, float(length), 0.5)
        theirs.close()
        ours = Tallies(file)
        assert ours.read_value("kkk") == (3.0, 0.5)
        ours.write_value("kkk", 33.0, 1.5)
        for length in range(18, 35):
            ours.write_value("é" * length, float(length), 2.5)
        ours.close()
        found = {key: (value, at) for key, value, at, _ in
                 MmapedDict.read_all_values_from_file(file)}  # fmt: skip
        expected = {"k" * n: (float(n), 0.5) for n in range(1, 18)} | {"kkk": (33.0, 1.5)}
        assert found == expected | {"é" * n: (float(n), 2.5) for n in range(18, 35)}


class TestLog:
    def test_is_json_with_a_line_for_each_start_and_swap_and_refusal(self, service):
        lines = service.log()
        keys = {"time", "level", "logger", "worker", "model", "message"}
        assert {frozenset(line) for line in lines} == {frozenset(keys)}
        assert all(line["time"].endswith("+00:00") for line in lines)
        for worker in ("w1", "w2"):
            own = [line for line in lines if line["worker"] == worker]
            assert sum("started as process" in line["message"] for line in own) == 1
            assert sum("serving v1 instead of nothing" in line["message"] for line in own) == 1
            assert sum("cannot serve v9; v1 stays" in line["message"] for line in own) <= 1
        assert {line["model"] for line in lines} == {None, "v1"}

    def test_has_no_line_per_request_and_nobody_in_it(self, service):
        before = len(service.log())
        for _ in range(20):
            service.client.post("/feed", json={"placement": "home", "user_id": WHO})
            service.client.post("/feed", json={"placement": WHO, "user_id": WHO, "size": WHO})
        assert len(service.log()) == before
        assert WHO not in json.dumps(service.log())

    def test_is_text_where_that_is_asked_for(self):
        lines = logs.Lines("w1", lambda: "v3", as_json=False)
        record = logging.LogRecord("feeds.x", logging.INFO, "", 0, "a %s", ("b",), None)
        assert re.fullmatch(r"\S+\+00:00 INFO feeds\.x \[w1 v3\] a b", lines.format(record))


def test_what_goes_wrong_again_and_again_is_told_once_and_so_is_its_end(caplog):
    caplog.set_level(logging.INFO)
    outcomes = [True, False, False, False, True, True]

    async def catch_up():
        if not outcomes:
            raise asyncio.CancelledError
        if not outcomes.pop(0):
            raise StateUnavailable("away")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(following.again(0, catch_up))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "catch_up failed 1 times; trying again", "catch_up works again, after 3 failures",
    ]  # fmt: skip
