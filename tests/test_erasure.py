"""A forgotten person is left out of the next build, and everything made before it goes."""

import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SmallShop

from features.config import ConfigError
from features.decided import pseudonym, salt
from features.erasure import Proof, forgotten, what_it_was_like, write_proof
from features.reading import file_digests, read_tables
from features.types import to_us
from serving.sqlite_state import SqliteState
from serving.state import Consent, Event, Forget

DAY = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)
FORGOTTEN = to_us(DAY + timedelta(hours=12))  # at noon


def act(hour, item, **who):
    return {"occurred_at": DAY + timedelta(hours=hour), "event_type": "view", "item_id": item,
            "user_id": None, "visitor_id": None, "session_id": None, **who}  # fmt: skip


LOG = [
    act(1, "lamp", user_id="zoe", visitor_id="phone"),
    act(2, "vase", visitor_id="phone"),  # zoe's, for nobody else was ever signed in there
    act(3, "rug", user_id="bob", visitor_id="tablet"),
    act(4, "sofa", user_id="zoe", visitor_id="tablet"),
    act(5, "chair", visitor_id="tablet"),  # zoe's or bob's: nobody can say
    act(6, "desk", user_id="bob"),
]


@pytest.fixture
def world(shop):
    return World(shop)


@pytest.fixture(scope="module")
def known(new_shop):
    """A world of which a feature set was built."""
    world = World(new_shop())
    world.build()
    return world.shop


@pytest.fixture
def built(known, tmp_path):
    """The same once more, to be changed; to build it opens what is there."""
    shutil.copytree(known.base, tmp_path / "built")
    return World(SmallShop(tmp_path / "built", known.engine))


class World:
    """A shop whose log knows zoe and bob, and who can be forgotten."""

    def __init__(self, shop):
        self.shop, self.home = shop, shop.home
        self.sources = {"events": shop.file("log-1.parquet", LOG) | {"path": "log-*.parquet"}}

    def add(self, table, rows):
        self.sources[table] = self.shop.file(f"{table}.parquet", rows)

    def forget(self, *names, at=FORGOTTEN):
        """By a proof record alone, as where the state was lost."""
        hidden = [pseudonym(salt(self.home.salt), name) for name in names]
        write_proof(self.home, Proof(
            pseudonyms=hidden, forgotten_at="", forgotten_us=at, recorded_at="", by="command",
            erased=[], versions=[], feature_sets=[],
        ))  # fmt: skip

    def tell(self, *facts):
        async def telling():
            state = SqliteState(self.home.state, salt(self.home.salt))
            await state.write(facts)
            await state.close()

        asyncio.run(telling())

    def tables(self, **parts):
        config = self.shop.config(self.sources, **parts)
        return read_tables(config, self.home, file_digests(config, self.shop.base, self.home))

    def rows(self, table="events", column="item_id", **parts):
        files = self.tables(**parts).files[table]
        found = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
        return sorted(row[column] for row in found if row["reasons"] is None)

    def build(self, **parts):
        return self.shop.build(self.sources, now=NOW, **parts)

    def files_with(self, *ids):
        """The files of the home that hold any of the ids, Parquet decoded."""
        return sorted(
            str(file.relative_to(self.home.root)) for file in self.home.root.rglob("*")
            if file.is_file() and any(one.encode() in told(file) for one in ids)
        )  # fmt: skip


def told(file):
    """All that a file says, as bytes."""
    raw = file.read_bytes()
    if file.suffix == ".parquet":
        raw += json.dumps(pq.read_table(file).to_pylist(), default=str).encode()
    return raw


def consent(features, person):
    return bool(features.consent[features.persons.index(person)])


def contact(features, person):
    """What the mails know: consent and first name."""
    rows = pq.read_table(features.directory / "contacts.parquet").to_pylist()
    (own,) = (row for row in rows if row["person_index"] == features.persons.index(person))
    return own["consent_email"], own["first_name"]


class TestWhoseRowsGo:
    def test_a_customers_and_what_has_no_customer_on_their_devices(self, world):
        world.forget("u:zoe")
        assert world.rows() == ["desk", "rug"]  # else the chair would be bob's by now

    def test_a_device_that_was_forgotten_by_name(self, world):
        world.forget("v:tablet")
        assert world.rows() == ["desk", "lamp", "vase"]

    def test_where_events_make_no_links_a_device_keeps_what_is_anonymous(self, world):
        world.forget("u:zoe")
        kept = world.rows(identity={"links_from_events": False})
        assert kept == ["chair", "desk", "rug", "vase"]

    def test_what_has_no_customer_in_a_session_of_theirs(self, world):
        world.shop.file("log-2.parquet", [
            act(1, "bed", user_id="zoe", session_id="s1"), act(2, "cup", session_id="s1"),
            act(3, "mug", session_id="s2"),
        ])  # fmt: skip
        world.forget("u:zoe")
        assert world.rows() == ["desk", "mug", "rug"]

    def test_who_comes_back_keeps_what_was_done_since(self, world):
        world.forget("u:zoe", at=to_us(DAY + timedelta(hours=2)))
        assert world.rows() == ["chair", "desk", "rug", "sofa"]

    def test_a_part_that_comes_late_is_read_without_them_too(self, world):
        world.forget("u:zoe")
        world.tables()  # by now nothing says any more that the phone was hers
        world.shop.file("log-2.parquet", [act(7, "bed", user_id="zoe"),
                                          act(8, "cup", visitor_id="phone"),
                                          act(13, "mug", visitor_id="phone")])  # fmt: skip
        assert world.rows() == ["desk", "mug", "rug"]

    def test_only_parts_with_rows_of_theirs_are_written_anew(self, world):
        world.shop.file("log-2.parquet", [act(7, "bed", user_id="bob")])
        world.tables()
        written = {
            file: file.stat().st_mtime_ns for file in world.home.parts.glob("*/rows.parquet")
        }
        world.forget("u:zoe")
        world.tables()
        changed = [pq.read_table(file)["source_file"][0].as_py() for file, when in written.items()
                   if file.stat().st_mtime_ns != when]  # fmt: skip
        assert changed == ["log-1.parquet"]

    def test_links_and_answers_up_to_the_moment_and_all_customers_rows(self, world):
        noon, later = DAY + timedelta(hours=12), DAY + timedelta(hours=13)
        world.add("identities", [
            {"visitor_id": "tv", "user_id": "zoe", "linked_at": noon},
            {"visitor_id": "tv", "user_id": "zoe", "linked_at": later},
            {"visitor_id": "pad", "user_id": "bob", "linked_at": noon},
        ])  # fmt: skip
        world.add("preferences", [
            {"user_id": "zoe", "question": "topic", "answer": "art", "answered_at": noon},
            {"user_id": "zoe", "question": "topic", "answer": "sea", "answered_at": later},
        ])  # fmt: skip
        world.add("customers", [{"user_id": "zoe", "first_name": "Zoe"},
                                {"user_id": "bob", "first_name": "Bob"}])  # fmt: skip
        world.forget("u:zoe")
        assert world.rows("identities", "visitor_id") == ["pad", "tv"]
        assert world.rows("preferences", "answer") == ["sea"]
        files = world.tables().files["customers"]
        left = [row for file in files for row in pq.read_table(file).to_pylist()]
        assert [(row["user_id"], row["first_name"]) for row in left] == [
            ("bob", "Bob"), ("zoe", None),  # who came back, see below
        ]  # fmt: skip

    def test_rows_of_theirs_are_counted_apart(self, world):
        world.forget("u:zoe")
        report = world.tables().report("events")
        assert (report.read, report.accepted, report.forgotten) == (2, 2, 4)


class TestWhoComesBack:
    def test_refuses_to_be_known_whatever_the_shops_table_says(self, world):
        world.add("customers", [{"user_id": "zoe", "consent_personalise": True}])
        world.shop.file("log-2.parquet", [act(13, "bed", user_id="zoe")])
        assert consent(world.build(), "u:zoe")
        world.forget("u:zoe")
        assert not consent(world.build(), "u:zoe")

    def test_gets_no_mails_and_has_no_name_any_more(self, world):
        world.add(
            "customers",
            [
                {"user_id": "zoe", "first_name": "Zoe", "consent_email": True},
                {"user_id": "bob", "first_name": "Bob", "consent_email": True},
            ],
        )
        world.shop.file("log-2.parquet", [act(13, "bed", user_id="zoe")])
        assert contact(world.build(), "u:zoe") == (True, "Zoe")
        world.forget("u:zoe")
        features = world.build()
        assert contact(features, "u:zoe") == (False, None)
        assert contact(features, "u:bob") == (True, "Bob")
        assert world.files_with("Zoe") == []

    def test_where_there_is_no_such_table_either(self, world):
        world.shop.file("log-2.parquet", [act(13, "bed", user_id="zoe")])
        world.forget("u:zoe")
        features = world.build(shop={"consent_default": "yes"})
        assert not consent(features, "u:zoe")
        assert consent(features, "u:bob")

    def test_until_the_service_is_told_otherwise(self, world):
        world.tell(Forget(user_id="zoe", at_us=FORGOTTEN),
                   Consent(user_id="zoe", personalise=True, at_us=FORGOTTEN + 1))  # fmt: skip
        world.shop.file("log-2.parquet", [act(13, "bed", user_id="zoe")])
        assert consent(world.build(), "u:zoe")


class TestRejectedRows:
    def test_theirs_go_and_of_those_without_a_name_only_place_and_reasons_stay(self, world):
        row = {"occurred_at": str(DAY), "event_type": "view", "item_id": None}
        people = ("zoe", "bob", None)
        broken = [{**row, "user_id": who, "note": f"said by {who}"} for who in people]
        text = "".join(json.dumps(row) + "\n" for row in broken)
        world.sources["events"] = world.shop.file(
            "log.jsonl", text + '{"user_id": "zoe", nonsense\n'
        )
        loose = {"contract": {"max_rejected_share": 1.0}}
        world.tables(**loose)
        assert len(pq.read_table(world.home.rejects)) == 4
        world.forget("u:zoe")
        report = world.tables(**loose).report("events")
        left = sorted(pq.read_table(world.home.rejects).to_pylist(), key=lambda r: r["source_row"])
        assert [row["row"] and json.loads(row["row"])["note"] for row in left] == [
            "said by bob", None, None,
        ]  # fmt: skip
        assert all(row["reasons"] for row in left)
        assert (report.rejected, report.forgotten) == (3, 1)
        assert world.files_with("zoe") == []

    def test_the_latter_in_parts_without_rows_of_theirs_too(self, world):
        world.shop.file("log-2.parquet", [act(1, None, user_id="bob"), act(1, None)])
        world.forget("u:zoe")
        world.tables(contract={"max_rejected_share": 1.0})
        rows = pq.read_table(world.home.rejects)["row"].to_pylist()
        assert [row is None for row in rows] == [False, True]


class TestABuild:
    def test_is_another_one_and_the_one_before_it_goes(self, built):
        before = built.build()
        fits = built.home.fits / before.directory.name / "1"
        fits.mkdir(parents=True)
        built.forget("u:zoe", "v:phone")
        after = built.build()
        assert after.digest != before.digest
        assert after.persons.texts(np.arange(len(after.persons))) == ["u:bob"]
        assert after.manifest["forgotten_rows"] == 4
        assert not before.directory.exists()
        assert not fits.exists()
        assert built.files_with("zoe", "phone") == []

    def test_what_the_log_was_like_stays_for_the_gate(self, built):
        before = built.build()
        built.forget("u:zoe")
        built.build()
        kept = what_it_was_like(built.home, before.digest)
        assert kept == {key: before.manifest[key] for key in kept}
        assert kept["profile"]["events"] == 6

    def test_made_without_anybody_who_is_forgotten_is_opened_again(self, world):
        world.forget("u:zoe")
        first, second = world.build(), world.build()
        assert (first.directory, first.digest) == (second.directory, second.digest)

    def test_who_was_never_in_the_log_changes_nothing_of_it(self, built):
        before = built.build()
        built.forget("u:eve")
        after = built.build()
        assert after.manifest["profile"] == before.manifest["profile"]

    def test_a_list_that_lost_somebody_reads_the_sources_again(self, built):
        before = built.build()
        built.forget("u:zoe")
        built.build()
        for file in built.home.proofs.iterdir():
            file.unlink()
        again = built.build()
        assert again.digest == before.digest
        assert again.manifest["profile"] == before.manifest["profile"]

    def test_what_a_killed_build_has_left_goes(self, built):
        built.build()
        half = built.home.parts / ".0123.abc"
        half.mkdir()
        (half / "rows.parquet").write_bytes(b"zoe")
        built.forget("u:zoe")
        built.build()
        assert not half.exists()


class TestTheList:
    def test_is_what_the_state_and_the_proofs_say_together(self, world):
        world.forget("u:zoe", at=FORGOTTEN)
        world.tell(Forget(user_id="zoe", at_us=FORGOTTEN + 5), Forget(user_id="bob", at_us=7))
        found = forgotten(world.shop.config(world.sources), world.home)
        assert found.among(["u:zoe", "u:bob", "u:eve"]) == {"u:zoe": FORGOTTEN + 5, "u:bob": 7}

    def test_counts_whatever_is_read_of_what_the_service_recorded(self, world):
        world.sources["service"] = []
        world.tell(Forget(user_id="zoe", at_us=FORGOTTEN))
        assert world.rows() == ["desk", "rug"]

    def test_without_the_salt_a_build_stops_for_nobody_may_come_back_by_that(self, world):
        world.forget("u:zoe")
        world.home.salt.unlink()
        with pytest.raises(ConfigError, match=r"salt is gone, .* bring it back"):
            world.build()

    def test_a_proof_that_cannot_be_read_stops_it_too(self, world):
        world.forget("u:zoe")
        (file,) = world.home.proofs.iterdir()
        file.write_text("{}")
        with pytest.raises(ConfigError, match=f"{file.name} is no proof record"):
            world.build()

    def test_an_event_of_before_that_the_state_still_has_is_left_out(self, world):
        world.tell(Event(item_id="bed", event_type="view", occurred_us=1, user_id="zoe"))
        world.forget("u:zoe")
        assert "bed" not in world.rows()
