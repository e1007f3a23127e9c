"""The log of decisions: nothing is lost but what a death or a full disk takes, and that is said."""

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from features.decided import Decided, Torn, decision_files, pseudonym, read_decisions, salt
from serving.decisions import DecisionLog


def decided(number, **more):
    return Decided(
        decision_id=f"d{number}", at_us=number, person="p", placement="home", channel="site",
        decision="show", reason="ok", rung="segment", model_version="m", rules_version="r",
        latency_us=900, item_ids=["a", "b"], rungs=["segment", "context"],
        rankers=["popularity", "live"], positions=[1, 2], **more,
    )  # fmt: skip


def logged(directory):
    """What the files hold, line by line, the oldest file first."""
    return [one for file in decision_files(directory) for one in read_decisions(file)]


def names(directory):
    return [one.decision_id for one in logged(directory)]


class TestTheLog:
    def test_a_decision_comes_back_as_it_was(self, tmp_path):
        full = decided(
            1, arms={"purpose": "holdout"}, propensities=[0.5, None], marks=[["pin"], []]
        )
        log = DecisionLog(tmp_path, "w1")
        log.write(full)
        log.close()
        assert logged(tmp_path) == [full]

    def test_it_is_on_the_disk_within_a_second_and_writing_waits_for_nothing(self, tmp_path):
        async def life():
            log = DecisionLog(tmp_path, "w1")
            log.write(decided(1))
            before = logged(tmp_path)
            began = time.monotonic()
            while not names(tmp_path) and time.monotonic() < began + 10:
                await asyncio.sleep(0.05)
            assert time.monotonic() - began < 3  # a busy machine may take longer than a second
            return before, names(tmp_path), log

        before, after, log = asyncio.run(life())
        assert (before, after) == ([], ["d1"])
        assert [file.suffix for file in tmp_path.iterdir()] == [".open"]
        log.close()
        assert [file.suffix for file in tmp_path.iterdir()] == [".jsonl"]

    def test_a_full_file_is_finished_and_the_next_begins(self, tmp_path):
        for number in range(3):
            log = DecisionLog(tmp_path, "w1", most_bytes=1)
            log.write(decided(number))
            log.close()
        assert (len(list(tmp_path.iterdir())), names(tmp_path)) == (3, ["d0", "d1", "d2"])

    def test_every_hour_has_its_own_file(self, tmp_path, monkeypatch):
        clock = [7200.0]
        monkeypatch.setattr("serving.decisions.time.time", lambda: clock[0])
        log = DecisionLog(tmp_path, "w1", flush_seconds=0.01)
        for number in (1, 2):
            log.write(decided(number))
            while len(names(tmp_path)) < number:
                pass
            clock[0] += 3600
        log.close()
        assert len(list(tmp_path.iterdir())) == 2

    def test_workers_write_beside_one_another(self, tmp_path):
        logs = [DecisionLog(tmp_path, worker) for worker in ("w1", "w2")]
        for number, log in enumerate(logs):
            log.write(decided(number))
            log.close()
        assert sorted(names(tmp_path)) == ["d0", "d1"]


class TestTroubles:
    def test_what_a_dead_process_left_is_read_but_for_the_torn_line(self, tmp_path):
        log = DecisionLog(tmp_path, "w1")
        log.write(decided(1))
        log.close()
        (file,) = tmp_path.iterdir()
        left = file.rename(file.with_suffix(".jsonl.open"))
        with left.open("ab") as handle:
            handle.write(b'{"decision_id":"d2","at_us":2,"per')
        assert names_and_torn(tmp_path) == ["d1", Torn(left, 2)]
        DecisionLog(tmp_path, "w2").close()
        assert [one.suffix for one in tmp_path.iterdir()] == [".open"]  # it may live
        DecisionLog(tmp_path, "w1").close()
        assert [one.suffix for one in tmp_path.iterdir()] == [".jsonl"]

    def test_hosts_that_share_a_directory_finish_only_what_the_gone_left(self, tmp_path):
        workers = ("pod-1.w1", "pod-2.w1")
        pods = [DecisionLog(tmp_path, worker, flush_seconds=0.01) for worker in workers]
        for number, log in enumerate(pods):
            log.write(decided(number))
        while len(names(tmp_path)) < 2:
            pass
        gone, quiet = (tmp_path / f"20260101T000000.000000Z-{pod}.w1.jsonl.open"
                       for pod in ("pod-3", "pod-4"))  # fmt: skip
        for left, hours in ((gone, 2.1), (quiet, 1.9)):
            left.touch()
            os.utime(left, (time.time() - hours * 3600,) * 2)
        DecisionLog(tmp_path, "1.w1").close()  # a name that others end in
        assert {one.name.partition("-")[2] for one in tmp_path.iterdir()} == {
            "pod-1.w1.jsonl.open", "pod-2.w1.jsonl.open", "pod-3.w1.jsonl", "pod-4.w1.jsonl.open",
        }  # fmt: skip
        pods[0].close()
        again = DecisionLog(tmp_path, "pod-1.w1")
        pods[1].write(decided(2))
        for log in (pods[1], again):
            log.close()
        assert sorted(names(tmp_path)) == ["d0", "d1", "d2"]

    def test_a_killed_process_loses_at_most_its_last_second(self, tmp_path):
        code = (
            "import sys, time; from pathlib import Path; import msgspec\n"
            "from features.decided import Decided; from serving.decisions import DecisionLog\n"
            "one = msgspec.json.decode(sys.stdin.read(), type=Decided)\n"
            "log = DecisionLog(Path(sys.argv[1]), 'w1')\n"
            "log.write(one); time.sleep(2); print('kept', flush=True); time.sleep(60)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        process.stdin.write(msgspec.json.encode(decided(1)).decode())
        process.stdin.close()
        assert process.stdout.readline() == "kept\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert names(tmp_path) == ["d1"]

    @pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
    def test_a_full_disk_drops_lines_loudly_and_the_log_goes_on(self, tmp_path, caplog):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        log = DecisionLog(tmp_path, "w1", flush_seconds=0.01)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))  # a line and a half
            with caplog.at_level(logging.ERROR, "feeds.decisions"):
                for number in range(3):
                    log.write(decided(number))
                while not log.dropped:
                    pass
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        log.write(decided(9))
        log.close()
        assert log.dropped == 3
        assert "3 decisions were not logged" in caplog.text
        assert [type(one) for one in logged(tmp_path)] == [Decided, Torn, Decided]


def names_and_torn(directory):
    return [one.decision_id if isinstance(one, Decided) else one for one in logged(directory)]


class TestPseudonyms:
    def test_the_same_person_has_one_and_another_key_makes_another(self, tmp_path):
        key = salt(tmp_path / "salt")
        assert salt(tmp_path / "salt") == key
        assert pseudonym(key, "u:ann") == pseudonym(key, "u:ann") != pseudonym(key, "v:ann")
        assert pseudonym(salt(tmp_path / "other"), "u:ann") != pseudonym(key, "u:ann")

    def test_only_the_owner_can_read_the_key(self, tmp_path):
        salt(tmp_path / "salt")
        assert (tmp_path / "salt").stat().st_mode & 0o777 == 0o600
