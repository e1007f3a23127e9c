"""For an item: the customers who are most likely to care, and everybody for one thing only."""

from __future__ import annotations

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import feeds
from features.build import build
from features.config import Config, load_config
from features.home import Home
from features.messages import Message, in_order
from training.audience import AUDIENCE, Target, audience, message_audience, write
from training.bundle import open_bundle
from training.jobs import train

LIKES = {"garden": ["hose", "spade", "seeds", "pot", "rake"],
         "kitchen": ["pan", "knife", "bowl", "plate", "cup"]}  # fmt: skip
CONFIG = {
    "shop": {"consent_default": "yes"},
    "sources": {
        "events": {"path": "log.csv", "columns": {"occurred_at": "at", "event_type": "'view'",
                   "item_id": "item", "user_id": "person", "channel": "'email'"}},
        "items": {"path": "items.csv"}, "customers": {"path": "customers.csv"},
    },
    "signals": {"view": {"weight": 1}}, "repeat": {"product": "exclude"},
    "training": {"rankers": ["popularity", "ease"], "test_days": 10, "evidence": {"periods": 2}},
    "segments": [{"name": "gardeners", "rule": "favourite_category = 'garden'"}],
    "messages": [
        {"name": "hello", "text": "hello"},
        {"name": "spring", "text": "time to dig", "segment": "gardeners"},
        {"name": "gone", "text": "too late", "ends": "2020-01-01T00:00:00Z"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Twenty people like the garden, twenty the kitchen; each has seen all of it but one item."""
    base, random = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    lines = ["at,item,person"]
    for number in range(40):
        items = LIKES["garden" if number < 20 else "kitchen"]
        seen = [one for place, one in enumerate(items) if place != number % 5]
        for day, one in zip(np.sort(random.choice(60, 4, replace=False)), seen, strict=True):
            stamp = f"2026-{1 + day // 28:02}-{1 + day % 28:02}T10:{number:02}:00Z"
            lines.append(f"{stamp},{one},p{number:02}")
    (base / "log.csv").write_text("\n".join(lines))
    items = [f"{one},product,{path}" for path, own in LIKES.items() for one in own]
    (base / "items.csv").write_text("\n".join(["item_id,kind,category", *items]))
    people = [f"p{n:02},{'false' if n == 5 else 'true'}" for n in range(40)]
    (base / "customers.csv").write_text("\n".join(["user_id,consent_personalise", *people]))
    (base / "feeds.yaml").write_text(yaml.safe_dump(CONFIG))
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    build(config, base, home)
    train(config, base, home)
    return base, open_bundle(home, None)


def people(found, target):
    rows = found.table.to_pylist()
    return [row["user_id"] for row in rows if row["target"] == target]


def test_those_of_the_taste_who_do_not_have_it_come_first(shop):
    _, bundle = shop
    found = audience(bundle, [Target.item(bundle, "hose")], 3)
    assert set(people(found, "hose")) <= {"p00", "p10", "p15"}  # p05 has not agreed
    assert len(people(found, "hose")) == 3
    assert found.table["place"].to_pylist() == [1, 1, 1]


def test_who_has_it_or_has_not_agreed_is_never_asked(shop):
    _, bundle = shop
    found = audience(bundle, [Target.item(bundle, "hose")], 1000)
    have = {f"p{n:02}" for n in range(20) if n % 5 != 0}
    assert not have & set(people(found, "hose"))
    assert "p05" not in people(found, "hose")
    assert found.left_out["no consent"] == 1


def test_everybody_is_told_of_one_thing(shop):
    _, bundle = shop
    both = [Target.category(bundle, "garden"), Target.category(bundle, "Kitchen/")]
    found = audience(bundle, both, 1000)
    garden, kitchen = people(found, "garden"), people(found, "Kitchen/")
    assert len({*garden, *kitchen}) == len(garden) + len(kitchen)
    assert set(garden) == {f"p{n:02}" for n in range(20) if n != 5}
    assert set(kitchen) == {f"p{n:02}" for n in range(20, 40)}


def test_no_more_than_asked_for_the_nearest_first(shop):
    _, bundle = shop
    found = audience(bundle, [Target.category(bundle, "garden")], 7)
    lifts = found.table["lift"].to_pylist()
    assert len(lifts) == 7
    assert lifts == sorted(lifts, reverse=True)


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda b: Target.item(b, "anvil"), "does not know 'anvil'"),
     (lambda b: Target.category(b, "smithy"), "no available item is in 'smithy'")],
)  # fmt: skip
def test_what_nobody_can_be_told_of_is_refused(shop, make, said):
    with pytest.raises(ValueError, match=said):
        make(shop[1])


def test_is_written_as_the_name_says(shop, tmp_path):
    _, bundle = shop
    found = audience(bundle, [Target.item(bundle, "pan")], 5)
    write(found, tmp_path / "a.parquet")
    write(found, tmp_path / "a.csv")
    assert pq.read_table(tmp_path / "a.parquet").schema.equals(AUDIENCE)
    assert pyarrow.csv.read_csv(tmp_path / "a.csv").num_rows == found.table.num_rows
    with pytest.raises(ValueError, match=r"should end in .parquet or .csv"):
        write(found, tmp_path / "a.xlsx")


def test_the_command_says_how_many_and_who_is_left_out(shop, tmp_path):
    base, _ = shop
    out, at = tmp_path / "a.csv", ["audience", "-c", str(base / "feeds.yaml")]
    asked = [*at, "--item", "hose", "--category", "kitchen", "--size", "20", "--out", str(out)]
    told = CliRunner().invoke(feeds.app, asked)
    assert told.exit_code == 0, told.output
    assert "kitchen: 20 customers" in told.output
    assert "left out, no consent: 1" in told.output
    rows = pyarrow.csv.read_csv(out).to_pylist()
    kitchen = {row["user_id"] for row in rows if row["target"] == "kitchen"}
    assert kitchen == {f"p{n:02}" for n in range(20, 40)}
    assert CliRunner().invoke(feeds.app, [*at, "--out", str(out)]).exit_code == 2


class TestMessages:
    def test_each_is_told_the_one_message_that_asks_for_most(self, shop):
        _, bundle = shop
        found = message_audience(bundle, bundle.config.messages, ["hello", "spring"], 100)
        assert set(people(found, "spring")) == {f"p{n:02}" for n in range(20)} - {"p05"}
        assert set(people(found, "hello")) == {f"p{n:02}" for n in range(20, 40)}
        assert found.left_out["no consent"] == 1
        assert set(found.table["place"].to_pylist()) == {None}

    def test_whoever_is_most_alive_comes_first_and_no_more_are_told(self, shop):
        _, bundle = shop
        found = message_audience(bundle, bundle.config.messages, ["hello"], 5)
        lift = found.table["lift"].to_pylist()
        assert len(lift) == 5
        assert lift == sorted(lift, reverse=True)

    def test_who_is_in_none_of_the_segments_is_told_nothing(self, shop):
        _, bundle = shop
        found = message_audience(bundle, bundle.config.messages, ["spring"], 100)
        assert found.left_out["in no segment, stage and language of these"] == 20

    def test_translations_share_an_audience_and_nobody_is_told_what_they_do_not_read(self, shop):
        _, bundle = shop  # all read English, the shop's language: nobody said otherwise
        german, english = (Message(name="hi", text="h", language=one) for one in ("de", "en"))
        found = message_audience(bundle, [german, english], ["hi"], 30)
        assert found.table["target"].to_pylist() == ["hi"] * 30
        assert message_audience(bundle, [german], ["hi"], 30).table.num_rows == 0

    @pytest.mark.parametrize(
        ("name", "said"), [("farewell", "no message 'farewell'"), ("gone", "is not told at")]
    )
    def test_what_is_not_told_is_refused(self, shop, name, said):
        _, bundle = shop
        with pytest.raises(ValueError, match=said):
            message_audience(bundle, bundle.config.messages, [name], 100)

    def test_the_command_writes_them(self, shop, tmp_path):
        base, _ = shop
        out = tmp_path / "a.csv"
        words = ["audience", "-c", str(base / "feeds.yaml"), "--message", "spring"]
        done = CliRunner().invoke(feeds.app, [*words, "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert pyarrow.csv.read_csv(out).num_rows == 19

    def test_a_priority_comes_before_what_asks_for_more(self):
        plain, special = Message(text="a", priority=1), Message(text="b", segment="s", stage="new")
        assert in_order([special, plain]) == [plain, special]
        both = [Message(text="c"), special]
        assert in_order(both) == both[::-1]

    @pytest.mark.parametrize(
        ("messages", "said"),
        [
            ([{"text": "a", "segment": "gardners"}], "no segment 'gardners'.*gardeners"),
            ([{"text": "a"}, {"text": "b"}], "given twice"),
            ([{"text": "a", "starts": "2026-01-02T00:00:00Z", "ends": "2026-01-01T00:00:00Z"}],
             "must be after"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_by_the_config(self, messages, said):
        told = {**CONFIG, "messages": messages}
        with pytest.raises(ValueError, match=said):
            Config.model_validate(told)
