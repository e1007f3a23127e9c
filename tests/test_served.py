"""The circle closes: what the service was told and what it showed are part of the next build."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.build import build
from features.config import ConfigError
from features.decided import Decided, pseudonym, salt
from features.engine import engine as open_engine
from features.options import WISHES
from features.reading import file_digests, log_of, own_log, read_tables
from features.types import to_us
from serving.decisions import DecisionLog
from serving.sqlite_state import SqliteState
from serving.state import Answer, Consent, Event, Forget, Link, Met

DAY = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)
LOG = [
    {"occurred_at": DAY, "event_type": "view", "item_id": "lamp", "user_id": "ann",
     "event_id": "e1"},
    {"occurred_at": DAY.replace(hour=5), "event_type": "purchase", "item_id": "vase",
     "user_id": "bob", "event_id": "e2"},
]  # fmt: skip


def at(hour):
    return to_us(DAY.replace(day=2, hour=hour))


@pytest.fixture
def world(shop):
    """A shop with a log of two events, and a service that can be told and show something."""
    return World(shop)


class World:
    def __init__(self, shop):
        self.shop = shop
        self.sources = {"events": shop.file("log.parquet", LOG)}

    def config(self, service=("events", "decisions"), **parts):
        sources = {**self.sources, "service": list(service)}
        return self.shop.config(sources, **{"impressions": ["seen"], **parts})

    def digests(self, config):
        return file_digests(config, self.shop.base, self.shop.home)

    def read(self, table="events", **parts):
        """The accepted rows of a table, the shop's own first."""
        config = self.config(**parts)
        tables = read_tables(config, self.shop.home, self.digests(config))
        rows = pa.concat_tables([pq.read_table(file) for file in tables.files[table]])
        return [row for row in rows.to_pylist() if row["reasons"] is None]

    def build(self, **parts):
        return build(self.config(**parts), self.shop.base, self.shop.home, now=NOW)

    def tell(self, *facts, shown=()):
        async def telling():
            state = SqliteState(self.shop.home.state, salt(self.shop.home.salt))
            for one in shown:
                state.note(one)
            await state.write(facts)
            await state.close()

        asyncio.run(telling())

    def show(self, number, name, items, hour=3, own="5a" * 16, channel="site", **more):
        """Log a decision under the name and its salt, and note it where somebody has a name."""
        person = pseudonym(salt(self.shop.home.salt), name, own) if name else ""
        log = DecisionLog(self.shop.home.decisions, "w1")
        log.write(Decided(
            decision_id=f"d{number}", at_us=at(hour), person=person, placement="home",
            channel=channel, decision="show", reason="ok", rung="segment", model_version="m",
            rules_version="r", latency_us=1, item_ids=items, rungs=["segment"] * len(items),
            rankers=["popularity"] * len(items),
            positions=list(range(1, len(items) + 1)), **more,
        ))  # fmt: skip
        log.close()
        if name:
            self.tell(shown=[Met(salts={name: own})])


def events(features, *columns):
    """The clean log: person, item and `columns` of each event, in the order of time."""
    table = pq.read_table(features.directory / "events.parquet").sort_by(
        [("occurred_us", "ascending"), ("position", "ascending")]
    )
    catalogue = pq.read_table(features.directory / "items.parquet").sort_by("item_index")
    names = catalogue["item_id"].to_pylist()
    persons = features.persons.texts(range(len(features.persons)))
    return [
        (persons[row["person_index"]], names[row["item_index"]], *(row[c] for c in columns))
        for row in table.to_pylist()
    ]


def view(item, hour, **more):
    return Event(item_id=item, event_type="view", occurred_us=at(hour), **more)


def people(rows):
    """Who and what: the ids that a row gives, and its item."""
    ids = ("user_id", "visitor_id", "session_id")
    return [(*(row[one] for one in ids if row[one] is not None), row["item_id"]) for row in rows]


OLD = [("ann", "lamp"), ("bob", "vase")]


class TestABuild:
    def test_knows_all_that_the_service_knows(self, world):
        world.tell(
            view("lamp", 1, user_id="ann", event_id="e1"),  # the log has it too: it is one
            view("lamp", 1, visitor_id="tv"), view("rug", 2, session_id="s1"),
            Link(visitor_id="tv", user_id="ann", at_us=at(2)),
            Consent(personalise=False, at_us=at(1), visitor_id="tv"),
            Consent(personalise=True, at_us=at(1), user_id="bob"),
            Answer(question="topic", answer="art", answered_us=at(1), user_id="eve"),
            Answer(question="mute_category", answer="lamps", answered_us=at(1), user_id="eve"),
        )  # fmt: skip
        world.show(1, "v:tv", ["vase", "lamp"], propensities=[0.25, None])
        artists = {"name": "artists", "declared": "topic", "answers": ["art"]}
        features = world.build(segments=[artists])
        assert events(features, "event_type", "position", "propensity") == [
            ("u:ann", "lamp", "view", None, None),
            ("u:bob", "vase", "purchase", None, None),
            ("u:ann", "lamp", "view", None, None),
            ("s:s1", "rug", "view", None, None),
            ("u:ann", "vase", "seen", 1, 0.25),
            ("u:ann", "lamp", "seen", 2, None),
        ]
        assert features.manifest["rows"]["with_signal"] == 4  # what was shown is no interest
        assert features.manifest["as_of_us"] == at(3)  # but the shop was open
        assert features.manifest["segments"]["artists"] == 1
        assert features.manifest["answers"]["answers"] == 1  # a muted category is none
        names = features.persons.texts(range(len(features.persons)))
        consent = dict(zip(names, features.consent.tolist(), strict=True))
        assert consent == {"s:s1": False, "u:ann": False, "u:bob": True, "u:eve": False}


class TestWhatTheServiceWasTold:
    def test_its_events_follow_those_of_the_log(self, world):
        world.tell(view("rug", 2, session_id="s1"), view("lamp", 1, visitor_id="tv"))
        assert people(world.read()) == [*OLD, ("s1", "rug"), ("tv", "lamp")]

    def test_an_event_keeps_all_that_was_said_of_it(self, world):
        world.tell(view("rug", 2, user_id="ann", value=2.5, quantity=2.0, currency="EUR",
                        decision_id="d1", position=3, placement="home", event_id="e9"))  # fmt: skip
        row = world.read()[-1]
        assert (row["occurred_us"], row["value"], row["quantity"]) == (at(2), 2.5, 2.0)
        assert (row["currency"], row["decision_id"], row["position"]) == ("EUR", "d1", 3)
        assert (row["placement"], row["event_id"]) == ("home", "e9")

    def test_links_and_when_they_ended(self, world):
        world.tell(Link(visitor_id="tv", user_id="ann", at_us=at(2)),
                   Link(visitor_id="pc", user_id="ann", at_us=at(2)),
                   Link(visitor_id="pc", user_id="ann", at_us=at(3), linked=False))  # fmt: skip
        found = world.read("identities")
        times = [(row["visitor_id"], row["linked_us"], row["unlinked_us"]) for row in found]
        assert times == [("pc", at(2), at(3)), ("tv", at(2), None)]

    def test_answers_of_customers_and_visitors(self, world):
        asked = {"question": "topic"}
        world.tell(Answer(**asked, answer="art", answered_us=at(1), user_id="ann"),
                   Answer(**asked, answer="tea", answered_us=at(2), visitor_id="tv"))  # fmt: skip
        found = [(r["user_id"], r["visitor_id"], r["answer"]) for r in world.read("preferences")]
        assert found == [("ann", None, "art"), (None, "tv", "tea")]

    @pytest.mark.parametrize(
        ("hour", "agrees"), [(1, True), (2, False), (3, False)], ids=["before", "with", "after"]
    )
    def test_of_all_names_of_a_customer_the_newest_word_counts(self, world, hour, agrees):
        world.tell(
            Consent(personalise=False, at_us=at(hour), visitor_id="tv"),
            Consent(personalise=True, at_us=at(2), user_id="ann"),
            Link(visitor_id="tv", user_id="ann", at_us=at(1)),
            Consent(personalise=True, at_us=at(1), user_id="bob"),
            Consent(personalise=True, at_us=at(1), visitor_id="nobodys"),
        )
        found = {row["user_id"]: row["consent_personalise"] for row in world.read("customers")}
        assert found == {"ann": agrees, "bob": True}

    @pytest.mark.parametrize("wish", WISHES)
    def test_a_wish_not_to_see_something_is_no_answer(self, world, wish):
        asked = {"user_id": "ann", "answered_us": at(1)}
        world.tell(Answer(**asked, question=wish, answer="art"))
        world.tell(Answer(**asked, question="topic", answer="tea"))
        assert [row["answer"] for row in world.read("preferences")] == ["tea"]

    def test_what_it_was_told_stands_beside_the_tables_of_the_shop(self, world):
        own = {"user_id": "ann", "question": "topic", "answer": "tea", "answered_at": DAY}
        world.sources["preferences"] = world.shop.file("answers.parquet", [own])
        world.tell(Answer(question="topic", answer="art", answered_us=at(1), user_id="ann"))
        assert [row["answer"] for row in world.read("preferences")] == ["tea", "art"]

    def test_items_that_are_derived_from_the_log_come_of_the_log(self, world):
        world.sources["items"] = {"derive_from": "events", "columns": {"title": "upper(item_id)"}}
        world.tell(view("rug", 2, user_id="ann"))
        assert [row["title"] for row in world.read("items")] == ["LAMP", "VASE"]

    def test_what_the_shop_leaves_unread_is_still_said(self, world):
        rows = [{**row, "colour": "red"} for row in LOG]
        world.sources = {"events": world.shop.file("log.parquet", rows)}
        world.tell(view("rug", 2, user_id="ann"))
        config = world.config()
        tables = read_tables(config, world.shop.home, world.digests(config))
        assert (tables.report("events").unused, tables.report("events").read) == (["colour"], 3)

    def test_the_shop_may_turn_it_off(self, world):
        world.tell(view("lamp", 1, visitor_id="tv"))
        world.show(1, "v:tv", ["vase"])
        assert people(world.read(service=[])) == OLD
        assert people(world.read(service=["events"])) == [*OLD, ("tv", "lamp")]
        assert people(world.read(service=["decisions"])) == [*OLD, ("tv", "vase")]

    def test_a_state_of_another_version_stops_the_build_with_what_to_do(self, world):
        world.shop.home.root.mkdir()
        with closing(sqlite3.connect(world.shop.home.state)) as file:
            file.execute("PRAGMA user_version = 7")
        with pytest.raises(ConfigError, match="version 7, this program reads 2"):
            world.read()


class TestWhatItShowed:
    def test_every_shown_item_is_an_impression_of_its_person(self, world):
        world.show(1, "v:tv", ["vase", "lamp"], propensities=[0.25, None])
        columns = ("visitor_id", "item_id", "event_type", "occurred_us", "position", "propensity",
                   "decision_id", "placement", "channel")  # fmt: skip
        assert [tuple(row[c] for c in columns) for row in world.read()[2:]] == [
            ("tv", "vase", "seen", at(3), 1, 0.25, "d1", "home", "site"),
            ("tv", "lamp", "seen", at(3), 2, None, "d1", "home", "site"),
        ]

    def test_a_block_of_a_mail_is_none_for_nobody_knows_who_opens_it(self, world):
        world.show(1, "u:ann", ["vase"], channel="email", mailing="week")
        world.show(2, "u:ann", ["vase"], channel="email")
        assert people(world.read()) == OLD
        world.show(3, "v:tv", ["lamp"], channel="app")
        assert people(world.read())[2:] == [("tv", "lamp")]

    def test_whom_the_state_does_not_know_or_has_forgotten_stays_a_stranger(self, world):
        world.show(1, "v:tv", ["vase"])
        world.show(2, "", ["vase"])
        assert people(world.read())[2:] == [("tv", "vase"), ("d2", "vase")]
        world.tell(Forget(at_us=at(5), visitor_id="tv"))
        tv = pseudonym(salt(world.shop.home.salt), "v:tv", "5a" * 16)
        assert people(world.read())[2:] == [(tv, "vase"), ("d2", "vase")]

    def test_who_comes_back_has_what_was_shown_since(self, world):
        world.show(1, "v:tv", ["vase"], hour=3)
        world.show(2, "v:tv", ["vase"], hour=5)
        world.tell(Forget(at_us=at(5), visitor_id="tv"))
        world.tell(Consent(personalise=True, at_us=at(6), visitor_id="tv"))
        world.show(3, "v:tv", ["lamp"], hour=6, own="6b" * 16)
        tv = pseudonym(salt(world.shop.home.salt), "v:tv", "5a" * 16)
        assert people(world.read())[2:] == [(tv, "vase"), (tv, "vase"), ("tv", "lamp")]
        world.tell(Forget(at_us=at(7), visitor_id="tv"))
        new = pseudonym(salt(world.shop.home.salt), "v:tv", "6b" * 16)
        assert people(world.read())[2:] == [(tv, "vase"), (tv, "vase"), (new, "lamp")]

    def test_where_the_config_has_no_word_for_it_it_is_left_out(self, world):
        world.show(1, "v:tv", ["vase"])
        assert people(world.read(impressions=[])) == OLD

    def test_a_file_that_is_still_open_counts_but_for_its_torn_line(self, world, caplog):
        world.show(1, "v:tv", ["vase"])
        (file,) = world.shop.home.decisions.iterdir()
        left = file.rename(file.with_suffix(".jsonl.open"))
        with left.open("ab") as handle:
            handle.write(b'{"decision_id": "d2", "at')
        with caplog.at_level(logging.WARNING, "feeds.served"):
            assert people(world.read())[2:] == [("tv", "vase")]
        assert "open:2: no decision; left out" in caplog.text

    def test_many_of_them_are_no_change_of_the_log(self, world):
        world.tell(view("lamp", 2, user_id="ann"))
        world.show(1, "v:tv", ["lamp", "vase"] * 100)
        config = world.config()
        tables = read_tables(config, world.shop.home, world.digests(config))
        with open_engine(world.shop.home.scratch(), config.engine) as engine:
            told = log_of(engine, tables)
            assert len(engine.collect(told)) == 203
            own, last_us = own_log(engine, tables, told, at(9))
            assert len(engine.collect(own)) == 2
        assert last_us == to_us(LOG[-1]["occurred_at"])


class TestAShopWithoutAService:
    def test_reads_the_same_files_as_ever(self, world):
        config = world.config()
        own = file_digests(config, world.shop.base)
        assert world.digests(config) == own
        world.tell()  # a state of which nothing is known
        assert world.digests(config) == own

    def test_what_did_not_change_is_not_read_again(self, world):
        def parts():
            return {one.name: one.stat().st_mtime_ns for one in world.shop.home.parts.iterdir()}

        world.show(1, "v:tv", ["vase"])
        world.read()
        before = parts()
        world.tell(view("lamp", 2, user_id="ann"))
        world.read()
        assert len(before) == 2
        assert before.items() <= parts().items()
