"""What is of the SQLite state alone: its file, its processes, and what a crash can lose."""

import asyncio
import logging
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from test_state import KEY, LIFE, SALT, items, link, view

from features.decided import pseudonym
from serving.sqlite_state import SqliteState
from serving.state import Answer, Consent, Forget, Met, Recalled, Shown, StateUnavailable

CALLED = pseudonym(KEY, "u:ann-zq7", SALT)


@pytest.fixture
def told(tmp_path):
    """Tell a new state some facts, then ask it: `told(facts, ask)`; it stays between calls."""

    def run(facts, ask=None):
        async def main():
            state = SqliteState(tmp_path / "state.db", KEY)
            try:
                new = await state.write(facts) if facts else []
                return new if ask is None else await ask(state)
            finally:
                await state.close()

        return asyncio.run(main())

    return run


class TestWhatIsForgotten:
    def test_is_remembered_by_pseudonyms_alone(self, told, tmp_path):
        told([*LIFE, Forget(at_us=9, user_id="ann")])
        with closing(sqlite3.connect(tmp_path / "state.db")) as file:
            found = dict(file.execute("SELECT * FROM forgotten").fetchall())
        assert found == {pseudonym(KEY, "u:ann"): 9, pseudonym(KEY, "v:tv"): 9}

    def test_somebody_who_reads_for_long_holds_up_no_write_after_it(self, told, tmp_path):
        """As a build does, which reads all tables of one moment."""

        async def life(state):
            await state.write([view("a", user_id="ann")])
            with closing(sqlite3.connect(tmp_path / "state.db")) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM events").fetchall()
                await state.write([Forget(at_us=9, user_id="ann")])
                begin = time.monotonic()
                for number in range(5):
                    await state.write([view(str(number), user_id="bob")])
                return time.monotonic() - begin

        assert told([], life) < 2, "each would wait two seconds"

    def test_no_byte_of_the_names_is_left_in_the_file_or_its_log(self, told, tmp_path):
        met, shown = Met(salts={"u:ann-zq7": SALT}), Shown(
            decision_id="d", name="u:ann-zq7", placement="home", item_ids=["a"], at_us=1
        )  # fmt: skip

        async def life(state):
            for one in (met, shown):
                state.note(one)
            life = [view("a", visitor_id="tv-zq7"), link("tv-zq7", "ann-zq7"),
                    Answer(question="topic", answer="tea", answered_us=1, user_id="ann-zq7"),
                    Consent(personalise=True, at_us=1, user_id="ann-zq7")]  # fmt: skip
            await state.write(life)
            await state.once("u:ann-zq7", "welcome", b"zq7 is told", 60)
            assert await state.whose(CALLED) == "u:ann-zq7"
            assert "zq7 is told" in read()
            await state.write([Forget(at_us=9, user_id="ann-zq7")])
            for _ in range(100):  # the log is emptied right after the answer
                if "zq7" not in read():
                    break
                await asyncio.sleep(0.05)
            assert "zq7" not in read()
            assert SALT not in read()
            assert CALLED not in read()

        def read():
            files = tmp_path.glob("state.db*")
            return b"".join(file.read_bytes() for file in files).decode(errors="replace")

        told([], life)


WRITER = """
import asyncio, sys
from pathlib import Path
from serving.sqlite_state import SqliteState
from serving.state import Event

async def main(path, worker, rounds):
    state = SqliteState(Path(path), b"key")
    for n in range(int(rounds)):
        batch = [Event(item_id=f"{n}-{k}", event_type="view", occurred_us=n, user_id="ann",
                       event_id=f"{n}-{k}") for k in range(50)]
        print(n, sum(await state.write(batch)), flush=True)
    await state.close()

asyncio.run(main(*sys.argv[1:]))
"""


def writer(path, rounds):
    command = [sys.executable, "-c", WRITER, str(path), "w", str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class TestProcesses:
    def test_two_processes_that_say_the_same_keep_it_once(self, tmp_path):
        both = [writer(tmp_path / "state.db", 20) for _ in range(2)]
        told = [process.communicate()[0].split() for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert sum(int(new) for answer in told for new in answer[1::2]) == 20 * 50

    def test_what_was_acknowledged_survives_the_death_of_the_writer(self, tmp_path):
        process = writer(tmp_path / "state.db", 100_000)
        acknowledged = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        with closing(sqlite3.connect(tmp_path / "state.db")) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = file.execute("SELECT occurred_us, count(*) FROM events GROUP BY 1").fetchall()
        assert {count for _, count in kept} == {50}  # no call was kept in part
        assert {int(line.split()[0]) for line in acknowledged} <= {n for n, _ in kept}


class TestTroubles:
    def test_a_commit_that_fails_is_told_and_leaves_nothing_and_reads_go_on(self, told, tmp_path):
        async def locked(state):
            with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                both = [state.write([view(i, user_id="ann")]) for i in "bc"]
                answers = await asyncio.gather(*both, return_exceptions=True)
                during = items(await state.recall("ann", None))
            await state.write([view("d", user_id="ann")])
            return answers, during, items(await state.recall("ann", None))

        answers, during, after = told([view("a", user_id="ann")], locked)
        assert [type(one) for one in answers] == [StateUnavailable] * 2
        assert "locked" in str(answers[0])
        assert (during, after) == (["a"], ["a", "d"])

    def test_a_full_disk_is_told_and_leaves_nothing(self, told):
        async def full(state):
            writing = state._writer.filing.connection
            pages = writing.execute("PRAGMA page_count").fetchone()[0]
            writing.execute(f"PRAGMA max_page_count = {pages}")
            many = [view(f"i{n}", user_id="ann") for n in range(1000)]
            with pytest.raises(StateUnavailable, match="full"):
                await state.write(many)
            writing.execute("PRAGMA max_page_count = 100000")
            return [await state.write(many[:1]), items(await state.recall("ann", None))]

        assert told([], full) == [[True], ["i0"]]

    def test_a_note_that_fills_the_disk_fails_the_writes_beside_it(self, told, caplog):
        async def full(state):
            writing = state._writer.filing.connection
            pages = writing.execute("PRAGMA page_count").fetchone()[0]
            writing.execute(f"PRAGMA max_page_count = {pages}")
            state.note(Shown(decision_id="d", name="u:ann", placement="home",
                             item_ids=["a" * 1000] * 1000, at_us=1))  # fmt: skip
            with pytest.raises(StateUnavailable, match="full"):
                await state.write([view("a", user_id="ann")])
            return await state.recall("ann", None)

        with caplog.at_level(logging.WARNING, "feeds.state"):
            assert told([], full) == Recalled(customer="ann")
        assert "that were not kept: 1 (database or disk is full)" in caplog.text

    def test_a_state_of_before_mails_goes_on_being_used(self, told, tmp_path):
        async def met(state):
            return await state.keep([Met(salts={"u:ann-zq7": SALT, "v:tv": SALT})])

        told([view("a", user_id="ann-zq7")], met)
        with closing(sqlite3.connect(tmp_path / "state.db")) as file:
            file.execute("DROP TABLE whose")
            file.execute("DROP TABLE answered")
            file.execute("DROP TABLE mailed")
        assert told([], lambda state: state.whose(CALLED)) == "u:ann-zq7"
        assert told([], lambda state: state.once("u:ann-zq7", "m", b"one", 60)) == b"one"

        async def mailed(state):
            await state.keep([Shown(decision_id="d", name="u:ann-zq7", placement="top",
                                    item_ids=["a"], at_us=1, mail=True)])  # fmt: skip
            return await state.recall("ann-zq7", None)

        found = told([], mailed)
        assert (items(found), found.mailed) == (["a"], [(1, "top", ["a"])])

    def test_a_state_of_another_version_is_refused_with_what_to_do(self, tmp_path):
        with closing(sqlite3.connect(tmp_path / "state.db")) as file:
            file.execute("PRAGMA user_version = 7")
        with pytest.raises(ValueError, match=r"version 7, .* keeps version 2; .*move it"):
            SqliteState(tmp_path / "state.db", KEY)

    def test_what_is_no_database_is_refused(self, tmp_path):
        (tmp_path / "state.db").write_text("no database, only words of some length" * 30)
        with pytest.raises(ValueError, match="not a database; move it away"):
            SqliteState(tmp_path / "state.db", KEY)
