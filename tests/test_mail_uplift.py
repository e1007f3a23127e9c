"""What mails bring: of whom a mailing had a mail for, some are held out, and both are counted."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from itertools import count, islice

import logged
import mailed
import pytest
from logged import START, did

from features.decided import pseudonym, salt
from features.experiments import Experiment, assign
from features.home import Home
from features.types import DAY_US, to_us
from serving.decisions import DecisionLog
from serving.mailing.blocks import Mailing
from serving.mailing.parts import Record, write_part
from serving.mailing.run import remember
from serving.mailing.sent import decisions_of
from serving.sqlite_state import SqliteState
from serving.state import Forget, Met
from training.evaluation.experiment_log import readings
from training.evaluation.exposure import NEVER
from training.evaluation.online_evidence import online_evidence

MAILS = {"name": "mails", "placements": ["top", "more"], "starts": "2026-03-11T00:00:00Z",
         "arms": {"holdout": {"share": 0.4, "mail": False}}}  # fmt: skip
PLACES = {one: {"channel": "email"} for one in ("top", "more", "news")}
OWN = "5a" * 16  # everybody's salt
SHOW, HELD = "ab", {"reasons": "holdout"}


def dealt(arm, many):
    """The first customers c0, c1, … in this arm."""
    names = (f"c{n}" for n in count())
    return list(islice((one for one in names if assign(Experiment(**MAILS), one) == arm), many))


(ANN, BOB, CID, DAN), (EVE, FAY) = dealt("usual", 4), dealt("holdout", 2)


def block(home, user_id, placement="top", items="", **told):
    """A block as a mailing decides it: under the pseudonym, in the arm of the hash."""
    arms = {"mails": assign(Experiment(**MAILS), user_id)} if placement != "news" else {}
    who = pseudonym(salt(home.salt), f"u:{user_id}", OWN)
    return mailed.block(user_id, placement, items, pseudonyms=who, **{"arms": arms, **told})


def send(home, day, *rows, placements=("top",)):
    """A mailing is decided and remembered, as `feeds mail` does."""
    at_us = to_us(START + timedelta(days=day))
    blocks = mailed.blocks(*rows)
    out = home.root / f"out{day}"
    record = Record(
        mailing=f"day {day}", model_version="v1", rules_version="none", as_of="", at_us=at_us,
        placements=placements, recipients=len(set(blocks.user_ids)), chunk=len(blocks),
    )  # fmt: skip
    write_part(out, 0, blocks)

    async def told(state):
        await state.keep([Met(salts={f"u:{one}": OWN for one in blocks.user_ids})])
        await remember(state, home, record, out)

    asked(home, told)


def asked(home, work):
    async def working():
        state = SqliteState(home.state, salt(home.salt))
        await work(state)
        await state.close()

    asyncio.run(working())


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def read(tmp_path):
    """The one reading of the experiment, of a log of these events."""

    def _read(*rows, **parts):
        told = logged.config(MAILS, placements=PLACES, **parts)
        everybody = [did(f"u:{one}", 1) for one in (ANN, BOB, CID, DAN, EVE, FAY)]
        world = logged.world(tmp_path, [*everybody, *rows, did("u:last", 60)], told)
        (found,) = readings(world, world.config.experiments[0])
        return found

    return _read


def entered(found):
    """Day after 2026-03-01 and arm of everybody who is counted."""
    seen = found.observed
    days = ((seen.first_us - to_us(START)) / DAY_US).tolist()
    return sorted(zip(days, (found.design.arms[arm] for arm in seen.arm), strict=True))


class TestWhoEntered:
    def test_who_got_a_mail_and_who_was_held_out_alike(self, home, read):
        send(home, 12, block(home, ANN, items=SHOW), block(home, EVE, **HELD),
             block(home, BOB, items=SHOW, decisions="fallback"))  # fmt: skip
        found = read()
        assert found.source == "decisions"
        assert entered(found) == [(12, "holdout"), (12, "usual"), (12, "usual")]

    def test_at_the_first_mailing_that_had_a_mail_for_them(self, home, read):
        not_asked = {"reasons": "no_email_consent"}
        send(home, 12, block(home, ANN, **not_asked), block(home, EVE, **not_asked),
             block(home, BOB, items=SHOW), block(home, FAY, **HELD))  # fmt: skip
        send(home, 19, block(home, ANN, items=SHOW), block(home, EVE, **HELD),
             block(home, BOB, items=SHOW), block(home, FAY, **HELD))  # fmt: skip
        assert entered(read()) == [(12, "holdout"), (12, "usual"), (19, "holdout"), (19, "usual")]

    def test_who_gets_none_for_another_reason_has_not_in_either_arm(self, home, read):
        none = {"reasons": "nothing_new"}
        send(home, 12, block(home, ANN, **none), block(home, EVE, **none), block(home, BOB))
        found = read()
        assert (entered(found), found.first_over_us) == ([], None)

    def test_a_mail_is_asked_as_a_whole(self, home, read):
        """Eve's mail would have had the block of `news` alone; so has Ann's."""
        send(home, 12, block(home, ANN), block(home, ANN, "news", SHOW),
             block(home, EVE, **HELD), block(home, EVE, "news", **HELD),
             block(home, BOB), block(home, BOB, "news"), placements=("top", "news"))  # fmt: skip
        assert entered(read()) == [(12, "holdout"), (12, "usual")]

    def test_a_mail_without_blocks_of_the_experiment_is_none_of_its(self, home, read):
        send(home, 12, block(home, ANN, "news", SHOW), placements=("news",))
        assert entered(read()) == []

    def test_a_mail_before_it_was_dealt_is_none_of_its(self, home, read):
        send(home, 12, block(home, EVE, items=SHOW, arms={}), block(home, ANN, items=SHOW, arms={}))
        send(home, 19, block(home, EVE, **HELD), block(home, ANN, items=SHOW))
        assert entered(read()) == [(19, "holdout"), (19, "usual")]

    def test_and_none_before_its_start(self, home, read):
        send(home, 5, block(home, ANN, items=SHOW))
        assert entered(read()) == []

    def test_who_has_never_done_anything_counts_with_nothing(self, home, read):
        """Else those whom the mail brings would be counted, and others would not."""
        new, held = dealt("usual", 30)[-1], dealt("holdout", 30)[-1]
        send(home, 12, block(home, new, items=SHOW), block(home, held, **HELD),
             block(home, ANN, items=SHOW))  # fmt: skip
        found = read(did(f"u:{ANN}", 13))
        assert entered(found) == [(12, "holdout"), (12, "usual"), (12, "usual")]
        assert sorted(found.observed.outcome.tolist()) == [0, 0, 1]

    def test_of_whom_nothing_is_known_they_are_the_group(self, home, tmp_path):
        new, held = dealt("usual", 30)[-1], dealt("holdout", 30)[-1]
        send(home, 12, block(home, new, items=SHOW), block(home, held, **HELD),
             block(home, ANN, items=SHOW))  # fmt: skip
        told = logged.config(MAILS, placements=PLACES)
        rows = [did(f"u:{ANN}", 1), did("u:late", 40), did("u:last", 60)]
        world = logged.world(tmp_path, rows, told, agree=True)
        logged.stood(world, 10, "loyal")
        (found,) = readings(world, world.config.experiments[0])
        assert found.cells == (("unknown", "unknown"),)
        assert sorted(found.observed.cell.tolist()) == [-1, 0, 0]  # one loyal is no group

    def test_who_was_forgotten_is_nobody(self, home, read):
        send(home, 12, block(home, ANN, items=SHOW), block(home, BOB, items=SHOW))
        asked(home, lambda state: state.write([Forget(at_us=to_us(START), user_id=ANN)]))
        assert entered(read()) == [(12, "usual")]

    def test_triggered_mails_too_in_the_log_of_the_service(self, home, read):
        send(home, 12, block(home, EVE, **HELD))
        rows = mailed.blocks(block(home, EVE, **HELD), block(home, EVE, "more", **HELD),
                             block(home, FAY, **HELD))  # fmt: skip
        log = DecisionLog(home.decisions, "w1")
        asked(home, lambda state: state.keep([Met(salts={f"u:{FAY}": OWN})]))
        for one in decisions_of(rows, mailed_at(11), ("v1", "none")):
            log.write(one)
        log.close()
        assert entered(read()) == [(11, "holdout"), (11, "holdout")]

    def test_impressions_are_not_asked_as_nobody_held_out_has_any(self, home, read):
        send(home, 12, block(home, ANN, items=SHOW), block(home, EVE, **HELD))
        found = read(did(f"u:{BOB}", 12, "seen", placement="top"), impressions=["seen"])
        assert entered(found) == [(12, "holdout"), (12, "usual")]

    def test_without_any_mailing_nobody_has(self, read):
        assert read().first_over_us is None
        assert NEVER not in read().observed.first_us

    def test_a_torn_line_is_left_out_and_named(self, home, read, caplog):
        send(home, 12, block(home, ANN, items=SHOW))
        (file,) = home.decisions.iterdir()
        file.write_bytes(b'{"at_us": 3, "per\n' + file.read_bytes())
        assert entered(read()) == [(12, "usual")]
        assert f"{file.name}:1: no decision; left out" in caplog.text


def mailed_at(day):
    return Mailing("hello", ("top", "more"), to_us(START + timedelta(days=day)))


def test_an_arm_without_mails_says_nothing_of_rungs(home, tmp_path):
    """Who gets no mail has a lower rung too: that mails are missed is no word on rungs."""
    people = [f"c{n}" for n in range(400)]
    arms = {one: assign(Experiment(**MAILS), one) for one in people}
    mails = {"usual": {"items": SHOW}, "holdout": HELD}
    send(home, 12, *(block(home, one, **mails[arms[one]]) for one in people))
    rows = [did(f"u:{one}", day) for one in people for day in ((1, 13) if arms[one] == "usual"
                                                               else (1,))]  # fmt: skip
    holdout = {"share": 0.4, "mail": False, "highest_rung": "segment"}
    told = logged.config({**MAILS, "arms": {"holdout": holdout}}, placements=PLACES)
    world = logged.world(tmp_path, [*rows, did("u:last", 60)], told)
    (found,) = readings(world, world.config.experiments[0])
    assert [row.verdict for _, row in found.rows] == ["better"]
    assert online_evidence(world) == []


def test_the_report_finds_what_mails_bring(run, shop):
    """Of 400 customers 300 come once; who gets the mail comes twice. The others sleep on."""
    people = [f"c{n}" for n in range(400)]
    arms = {one: assign(Experiment(**MAILS), one) for one in people}
    usual, held = ([one for one in people if arms[one] == arm] for arm in ("usual", "holdout"))

    def view(who, day):
        at = START + timedelta(days=day)
        return {"occurred_at": at, "event_type": "view", "item_id": "i", "user_id": who}

    awake = people[:300]
    visits = [view(one, day) for one in awake for day in ((13, 14) if one in usual else (13,))]
    log = shop.file("events.parquet", [view("first", 1), *visits, view("last", 40)])
    shop.config({"events": log}, experiments=[MAILS], placements=PLACES, objective="clicks")
    shop.home.root.mkdir()
    mails = {"usual": {"items": SHOW}, "holdout": HELD}
    send(shop.home, 12, *(block(shop.home, one, **mails[arms[one]]) for one in people))
    asked_for = ("-c", shop.base / "feeds.yaml", "--home", shop.home.root)
    code, out, _ = run("report", "uplift", *asked_for)
    said = " ".join(out.split())
    come = [len(set(arm) & set(awake)) / len(arm) for arm in (usual, held)]
    assert code == 0
    assert f"usual does better than holdout: {2 * come[0]:.2f} clicks a person" in said
    assert f"against {come[1]:.2f}" in said
    assert "holdout (40.0%: no mails); usual (60.0%: what everybody gets)" in said
    assert re.search(rf"holdout\W+{len(held)}\W+160\b", said)
    assert re.search(rf"usual\W+{len(usual)}\W+240\b", said)
    page = (shop.home.root / "reports" / "uplift.html").read_text("utf-8")
    assert "for whom a mailing had a mail, whether they got it or were held out" in page
