"""`feeds mail`: a mailing from the list to its files, however often it is interrupted."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import command.mail_record
from command.mail_list import read_list
from features.decided import decision_files, read_decisions, salt
from features.home import Home
from features.types import DAY_US, from_us
from serving.mailing.parts import Record, parts
from serving.mailing.recipients import Given
from serving.sqlite_state import SqliteState

PLACES = ("--placement", "newsletter_top", "--placement", "newsletter_products")
CHUNK = 60  # of the 300 customers: five parts
FILES = {"recipients.csv", "mails.jsonl", "blocks.parquet", "summary.json", "mailing.json", "parts"}


@dataclass(frozen=True)
class Mailed:
    """A shop with a home of its own, and what its mailings left behind."""

    config: Path
    home: Home

    def words(self, out: Path, *more: object) -> list[str]:
        """What is said to `feeds` for the usual mailing."""
        asked = ("mail", "-c", self.config, *PLACES, "--out", out, *more)
        return [str(one) for one in asked]

    def shown(self, user_ids) -> dict[str, list]:
        """What the store knows that they were shown."""

        async def ask():
            state = SqliteState(self.home.state, salt(self.home.salt))
            found = await state.recall_all(user_ids)
            await state.close()
            return found

        told = asyncio.run(ask())
        return {user: one.mailed for user, one in zip(user_ids, told, strict=True) if one.mailed}

    def decisions(self):
        """All that were logged."""
        return [one for file in decision_files(self.home.decisions) for one in
                read_decisions(file)]  # fmt: skip


@pytest.fixture(scope="module")
def new_home(trained, tmp_path_factory):
    """Makes a home with the trained model; all of them have one salt."""

    def made() -> Mailed:
        base = tmp_path_factory.mktemp("mailed")
        home, version = Home(base / ".feeds"), trained.home.current()
        home.bundles.mkdir(parents=True)
        (home.bundles / str(version)).symlink_to(trained.home.bundles / str(version))
        home.pointer.write_text(f"{version}\n")
        salt(trained.home.salt)
        shutil.copy(trained.home.salt, home.salt)
        shutil.copy(trained.path, base / "feeds.yaml")
        return Mailed(base / "feeds.yaml", home)

    return made


@pytest.fixture
def mailed(new_home):
    return new_home()


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(command.mail_record, "CHUNK", CHUNK)


@pytest.fixture
def sent(run, new_home, tmp_path_factory, request):
    """The usual mailing, sent once without an interruption, for all tests that only look at it."""
    kept = request.session.__dict__.setdefault("_mailed", {})
    if not kept:
        mailed, out = new_home(), tmp_path_factory.mktemp("sent") / "out"
        assert run(*mailed.words(out))[0] == 0
        kept["sent"] = mailed, out
    return kept["sent"]


def blocks(out):
    """All blocks; without the pseudonyms, which have a part that is drawn by chance."""
    return pq.read_table(out / "blocks.parquet").drop_columns(["pseudonym"]).to_pylist()


def recipients(out):
    with (out / "recipients.csv").open(encoding="utf-8", newline="") as handle:
        return [row["user_id"] for row in csv.DictReader(handle)]


def assert_once_each(out):
    """Everybody is decided once, and whoever gets a mail gets one."""
    each = [(row["user_id"], row["placement"]) for row in blocks(out)]
    assert len(set(each)) == len(each) == 2 * Record.read(out).recipients
    mails = recipients(out)
    assert len(set(mails)) == len(mails) > 0
    assert set(mails) == {row["user_id"] for row in blocks(out) if row["decision"] != "suppress"}


def assert_remembered_once(mailed, out):
    """What the store and the log have is what was written, once."""
    record, rows = Record.read(out), blocks(out)
    told = [(one.decision_id, one.placement, one.reason, one.item_ids)
            for one in mailed.decisions()]  # fmt: skip
    assert sorted(told) == sorted(
        (row["decision_id"], row["placement"], row["reason"], row["item_ids"]) for row in rows
    )
    expected: dict[str, list] = {}
    for row in rows:
        if row["item_ids"]:
            expected.setdefault(row["user_id"], []).append(
                (record.at_us, row["placement"], row["item_ids"])
            )
    found = mailed.shown(sorted({row["user_id"] for row in rows}))
    assert {user: sorted(shown) for user, shown in found.items()} == {
        user: sorted(shown) for user, shown in expected.items()
    }


class TestAMailing:
    def test_decides_for_everybody_once_and_leaves_its_files(self, sent):
        _, out = sent
        assert {one.name for one in out.iterdir()} == FILES
        assert Record.read(out).recipients == 300
        assert len(parts(out)) == 5
        assert_once_each(out)

    def test_is_remembered_once_it_is_done(self, sent):
        assert_remembered_once(*sent)

    def test_asks_who_agreed_and_how_often(self, sent, trained):
        """Beside the shop's own table."""
        _, out = sent
        table = pq.read_table(trained.path.parent / "customers.parquet").to_pylist()
        refused = {row["user_id"] for row in table if row["consent_email"] is False}
        told = {row["user_id"]: row["reason"] for row in blocks(out)}
        assert {told[user] for user in refused & set(told)} == {"no_email_consent"}
        assert not refused & set(recipients(out))

    def test_the_next_one_repeats_nothing_and_asks_for_nobody_s_patience(self, sent, run, tmp_path):
        mailed, out = sent
        own = shutil.copytree(mailed.config.parent, tmp_path / "shop", symlinks=True)
        copy = Mailed(own / "feeds.yaml", Home(own / ".feeds"))
        at_us = Record.read(out).at_us
        first = set(recipients(out))
        found = {}
        for days in (1, 8):
            moment = from_us(at_us + days * DAY_US).replace(tzinfo=None)
            words = copy.words(tmp_path / f"{days}", "--trial", "--at", moment.isoformat())
            assert run(*words)[0] == 0
            found[days] = blocks(tmp_path / f"{days}")
        reasons = {row["user_id"]: row["reason"] for row in found[1]}
        assert {reasons[user] for user in first} == {"frequency_reached"}
        before = {(row["user_id"], row["placement"], item) for row in blocks(out)
                  for item in row["item_ids"]}  # fmt: skip
        after = {(row["user_id"], row["placement"], item) for row in found[8]
                 for item in row["item_ids"]}  # fmt: skip
        assert {user for user, _, _ in after} & first
        again = {place for _, place, _ in before & after}
        assert "newsletter_products" not in again, "it has not_repeated_for_days"

    def test_the_same_command_again_changes_nothing(self, sent, run):
        mailed, out = sent
        before = blocks(out)
        code, told, _ = run(*mailed.words(out))
        assert (code, blocks(out)) == (0, before)
        assert "300 recipients" in told
        assert_remembered_once(mailed, out)


class TestATrial:
    def test_has_all_files_and_leaves_no_trace(self, mailed, run, tmp_path):
        out, people = tmp_path / "out", tmp_path / "list.csv"
        people.write_text("user_id\nu0000001\nu0000002\nu0000003\n")
        code, told, _ = run(*mailed.words(out, "--trial", "--html", "--recipients", people))
        assert code == 0
        assert "nothing of it is remembered" in told
        assert {one.name for one in out.iterdir()} - {"html"} == FILES
        assert mailed.decisions() == []
        assert mailed.shown(["u0000001", "u0000002", "u0000003"]) == {}
        assert b"u0000001" not in mailed.home.state.read_bytes()


class TestAPreview:
    def test_is_a_page_and_leaves_no_trace(self, mailed, run, tmp_path):
        code, told, _ = run(*mailed.words(tmp_path / "out", "--preview"))
        assert code == 0
        assert "preview.html" in told
        assert [one.name for one in (tmp_path / "out").iterdir()] == ["preview.html"]
        assert mailed.decisions() == []


class TestTheList:
    def test_says_who_and_what_is_known_of_them(self, mailed, run, tmp_path):
        people = tmp_path / "list.csv"
        people.write_text(
            "user_id,first_name,language,consent_email,email_frequency_per_week\n"
            "007,Zoe,de,yes,\nu0000001,,,no,\nu0000002,,,,0\nstranger,,,YES,2\n"
        )
        code, _, _ = run(*mailed.words(tmp_path / "out", "--trial", "--recipients", people))
        assert code == 0
        rows = {row["user_id"]: row for row in blocks(tmp_path / "out")[::2]}
        assert list(rows) == ["007", "u0000001", "u0000002", "stranger"]
        assert rows["u0000001"]["reason"] == "no_email_consent"
        assert rows["007"]["reason"] == "unknown_user"
        assert (rows["007"]["language"], rows["007"]["headline"]) == (
            "de", "Hallo Zoe, das ist für Sie",
        )  # fmt: skip
        assert rows["stranger"]["headline"] == "Hello there, this is for you"
        assert rows["u0000002"]["reason"] in ("frequency_reached", "no_email_consent")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("name\nu1\n", "no column user_id"),
            ("user_id\nu1\nu2\nu1\n", "row 3: 'u1' is in row 1 already"),
            ("user_id,language\nu1,\n,de\n", "row 2: user_id is empty"),
            ("user_id,consent_email\nu1,yes\nu2,perhaps\n", "row 2: consent_email 'perhaps'"),
            ("user_id,email_frequency_per_week\nu1,-1\n", "row 1: email_frequency_per_week '-1'"),
            ("user_id,email_frequency_per_week\nu1,often\n", "'often' is no number"),
            ("user_id\n", "names nobody"),
            ("user_id,language\nu1\n", "is neither Parquet nor"),
        ],
    )  # fmt: skip
    def test_that_is_wrong_is_refused_with_its_row(self, tmp_path, text, told):
        people = tmp_path / "list.csv"
        people.write_text(text)
        with pytest.raises(ValueError, match=re.escape(told)):
            read_list(people)

    def test_may_be_parquet_with_numbers_and_truths(self, tmp_path):
        columns = {"user_id": [7.0, 8.0], "consent_email": [True, None],
                   "email_frequency_per_week": [0.5, None]}  # fmt: skip
        pq.write_table(pa.table(columns), tmp_path / "list.parquet")
        found = read_list(tmp_path / "list.parquet")
        assert found.user_ids == ["7", "8"]
        assert found.given == [Given(consent_email=True, mails_per_week=0.5), Given()]


class TestAWrongCall:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--placement", "newsletter"], "no placement with `channel: email` has this name"),
            (["--placement", "home"], "there are ['newsletter_top', 'newsletter_products']"),
            (["--placement", "newsletter_top", "--placement", "newsletter_top"], "named twice"),
            (["--placement", "newsletter_top", "--recipients", "none.csv"], "none.csv does not"),
            (["--placement", "newsletter_top", "--model", "v99"], "v99"),
            (["--placement", "newsletter_top", "--mailing", "w" * 257], "at most 256 characters"),
        ],
    )  # fmt: skip
    def test_says_what_to_do_and_writes_nothing(self, mailed, run, tmp_path, words, told):
        out = tmp_path / "out"
        code, _, error = run("mail", "-c", mailed.config, "--out", out, *words)
        assert code != 0
        assert told in " ".join(error.split())
        assert not out.exists()

    @pytest.mark.parametrize("way", [[], ["--preview"]])
    def test_of_blocks_that_can_show_nothing_says_what_they_lack(
        self, mailed, run, tmp_path, way
    ):  # fmt: skip
        asked = re.sub(r"(?m)^  site: .*\n", "", mailed.config.read_text())
        mailed.config.write_text(asked)
        code, _, error = run(*mailed.words(tmp_path / "out", *way))
        assert code != 0
        assert "lack url" in " ".join(error.split())
        assert "relative addresses need mail.site" in " ".join(error.split())
        assert not (tmp_path / "out").exists()

    def test_does_not_write_between_other_files(self, mailed, run, tmp_path):
        (tmp_path / "diary.txt").write_text("dear diary")
        code, _, error = run(*mailed.words(tmp_path))
        assert code != 0
        assert "is not empty and holds no mailing" in " ".join(error.split())

    @pytest.mark.parametrize(
        ("words", "what"),
        [
            (["--mailing", "another"], "--mailing"), (["--trial"], "--trial"),
            (["--recipients"], "the list"), (["--placement", "newsletter_top"], "--placement"),
        ],
    )  # fmt: skip
    def test_does_not_go_on_with_another_mailing(self, sent, run, tmp_path, words, what):
        mailed, out = sent
        people = tmp_path / "list.csv"
        people.write_text("user_id\nu0000001\n")
        asked = mailed.words(out, *words, *([people] if words == ["--recipients"] else []))
        if what == "--placement":
            asked = ["mail", "-c", str(mailed.config), "--out", str(out), *words]
        code, _, error = run(*asked)
        assert code != 0
        assert f"and {what}" in " ".join(error.split())

    def test_does_not_begin_while_another_is_made(self, mailed, run, tmp_path):
        with mailed.home.locked("mail.lock"):
            code, _, error = run(*mailed.words(tmp_path / "out"))
        assert code != 0
        assert "another mailing of this shop is being made" in " ".join(error.split())

    def test_has_a_moment_of_its_own_only_where_the_clock_is_as_of(self, mailed, run, tmp_path):
        config = mailed.config.read_text().replace("clock: as_of", "clock: now")
        mailed.config.write_text(config)
        code, _, error = run(*mailed.words(tmp_path / "out", "--at", "2026-03-01T00:00:00"))
        assert code != 0
        assert "--at is for shops with `clock: as_of`" in " ".join(error.split())


DIES = """
import os, signal, sys
import command.mail_record, feeds
from serving.mailing import parts, run, workers, writing

left = int(sys.argv[3])

def dies(*words, **more):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return real(*words, **more)

module = {"run": run, "writing": writing, "workers": workers, "parts": parts.pq}[sys.argv[1]]
real = getattr(module, sys.argv[2])
setattr(module, sys.argv[2], dies)
command.mail_record.CHUNK = int(sys.argv[4])
sys.argv = ["feeds", *sys.argv[5:]]
feeds.main()
"""
KILLS = [  # module, what it is about to do, how often it has done so
    ("run", "write_part", 2),  # two parts are there
    ("parts", "write_table", 1),  # a third, and a fourth is being written
    ("writing", "write", 0),  # all parts, no files
    ("run", "decisions_of", 1),  # all files; what was shown in two parts is kept, one is logged
    ("run", "shown_of", 2),  # two more
]
SEVERAL = [("workers", "wait", 1), ("workers", "wait", 3), *KILLS[2:]]  # processes that decide


def killed(words, module, name, times, chunk=CHUNK):
    """Run the command in a process of its own that ends by kill -9 at this point."""
    told = (module, name, times, chunk, *words)
    cores = {"OMP_NUM_THREADS": "2"}  # a run that may use one core decides in one process
    ended = subprocess.run(
        [sys.executable, "-c", DIES, *map(str, told)], env={**os.environ, **cores},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


class TestInterrupted:
    def test_by_kill_it_goes_on_where_it_was(self, mailed, sent, run, tmp_path):
        out = tmp_path / "out"
        killed(mailed.words(out), *KILLS[0])
        assert len(parts(out)) == 2
        assert mailed.decisions() == []
        assert mailed.shown(list({row["user_id"] for row in blocks(sent[1])})) == {}
        stamps = [one.stat().st_mtime_ns for one in parts(out)]
        assert run(*mailed.words(out))[0] == 0
        assert [one.stat().st_mtime_ns for one in parts(out)[:2]] == stamps, "decided once"
        assert blocks(out) == blocks(sent[1])
        assert_once_each(out)
        assert_remembered_once(mailed, out)

    def test_parts_that_are_lost_are_decided_again_to_the_same_words(
        self, mailed, sent, run, tmp_path
    ):
        """Before anything is remembered."""
        out = tmp_path / "out"
        shutil.copytree(sent[1], out)
        for number in (1, 3):
            parts(out)[number].unlink()
            (out / "parts" / f".{number:05}.parquet.torn").write_bytes(b"half")
        assert run(*mailed.words(out))[0] == 0
        assert blocks(out) == blocks(sent[1])
        assert_once_each(out)

    @pytest.mark.long
    @pytest.mark.parametrize(("chunk", "kills"), [(CHUNK, KILLS), (16, SEVERAL)],
                             ids=["one process", "several"])  # fmt: skip
    def test_by_five_kills_everybody_is_decided_and_remembered_once(
        self, mailed, sent, run, tmp_path, chunk, kills, monkeypatch
    ):
        """With more parts several processes decide: they end when the one that began them does."""
        out = tmp_path / "out"
        monkeypatch.setattr(command.mail_record, "CHUNK", chunk)
        for module, name, times in kills:
            killed(mailed.words(out), module, name, times, chunk)
            if name not in ("decisions_of", "shown_of"):
                assert mailed.decisions() == []
        assert run(*mailed.words(out))[0] == 0
        assert blocks(out) == blocks(sent[1])
        assert_once_each(out)
        assert_remembered_once(mailed, out)
