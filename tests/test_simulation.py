"""The simulated shop: what the log promises, what the truth says, what dirt is in it."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import DirtConfig, SimulationConfig, SimulationReport, simulate
from simulation.appeal import click_probability
from simulation.buying import sales_of_a_look, site_events
from simulation.log import EventType
from simulation.names import item_ids
from simulation.pictures import GLYPHS, draw_item
from simulation.words import tree
from simulation.world import make_world

SMALL = SimulationConfig(customers=300, items=160, days=60, events=30_000, seed=7)
TIME, TEXT, NUMBER = "timestamp[us, tz=UTC]", "string", "double"
COLUMNS = {
    "events": {
        "occurred_at": TIME, "event_type": TEXT, "item_id": TEXT, "user_id": TEXT,
        "visitor_id": TEXT, "session_id": TEXT, "channel": TEXT, "value": NUMBER,
        "currency": TEXT, "quantity": "int64", "duration_seconds": NUMBER, "placement": TEXT,
        "event_id": TEXT,
    },
    "items": {
        "item_id": TEXT, "kind": TEXT, "title": TEXT, "text": TEXT, "category": TEXT,
        "brand": TEXT, "price": NUMBER, "list_price": NUMBER, "currency": TEXT, "url": TEXT,
        "image_url": TEXT, "language": TEXT, "published_at": TIME, "available": "bool",
        "available_until": TIME, "sensitive": "bool",
    },
    "customers": {
        "user_id": TEXT, "first_name": TEXT, "language": TEXT, "joined_at": TIME,
        "country": TEXT, "consent_personalise": "bool", "consent_email": "bool",
        "email_frequency_per_week": NUMBER,
    },
    "identities": {"visitor_id": TEXT, "user_id": TEXT, "linked_at": TIME, "unlinked_at": TIME},
    "preferences": {
        "user_id": TEXT, "visitor_id": TEXT, "question": TEXT, "answer": TEXT,
        "answered_at": TIME,
    },
}  # fmt: skip
NOT_PRODUCTS = ["SHIPPING", "GIFT-1"]


class Shop:
    """One simulated shop, read back from its files."""

    def __init__(self, out: Path, config: SimulationConfig) -> None:
        self.out, self.config = out, config
        self.report: SimulationReport = simulate(config, out)
        self.events, self.items = self.read("events"), self.read("items")

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.out / f"{name}.parquet")

    def files(self) -> dict[str, bytes]:
        paths = (path for path in self.out.rglob("*") if path.is_file())
        return {str(path.relative_to(self.out)): path.read_bytes() for path in paths}

    def clean(self) -> pd.DataFrame:
        """The events that keep the contract, with their items, spelled as in the catalogue."""
        known = self.events.dropna(subset=["occurred_at", "item_id"]).drop_duplicates("event_id")
        known = known[~known.item_id.isin(NOT_PRODUCTS)]
        return known.assign(item_id=known.item_id.str.upper()).merge(self.items, on="item_id")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"), SMALL)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_does_not(shop, tmp_path):
    again, other = Shop(tmp_path / "a", SMALL), Shop(tmp_path / "b", replace(SMALL, seed=8))
    assert again.files() == shop.files()
    same = {name for name, content in other.files().items() if shop.files().get(name) == content}
    assert {name for name in same if name.endswith(".parquet")} <= {"truth/robots.parquet"}


@pytest.mark.parametrize("events", [3_000, 60_000])
@pytest.mark.parametrize("customers", [40, 900])
def test_the_wanted_number_of_events_is_met_within_a_tenth(events, customers, tmp_path):
    report = simulate(replace(SMALL, events=events, customers=customers), tmp_path)
    assert report.events == pytest.approx(events, rel=0.1)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_has_the_columns_and_types_of_the_contract(name, shop):
    schema = pq.read_schema(shop.out / f"{name}.parquet")
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == COLUMNS[name]


def test_the_config_reads_every_table_and_none_of_the_truth(shop):
    config = yaml.safe_load((shop.out / "feeds.yaml").read_text())
    paths = {name: source["path"] for name, source in config["sources"].items()}
    assert paths == {name: f"{name}.parquet" for name in COLUMNS}
    assert set(config["signals"]) <= set(shop.events.event_type)


def test_the_report_counts_what_is_in_the_file(shop):
    assert shop.report.events == len(shop.events)
    assert shop.report.by_type == shop.events.event_type.value_counts().to_dict()


def test_nothing_happens_to_an_item_before_it_is_published_or_outside_the_window(shop):
    clean = shop.clean()
    assert (clean.occurred_at >= clean.published_at).all()
    assert clean.occurred_at.min() >= SMALL.start
    assert clean.occurred_at.max() < SMALL.start + pd.Timedelta(days=SMALL.days)


def test_new_items_arrive_on_the_way_and_articles_age_fast(shop):
    clean, half = shop.clean(), SMALL.start + pd.Timedelta(days=SMALL.days / 2)
    new = clean[clean.published_at.between(SMALL.start, half)]  # seen for 30 days at least
    age = (new.occurred_at - new.published_at).dt.days
    reads, views = (age[new.event_type == kind] for kind in ("read", "view"))
    assert (shop.items.published_at > SMALL.start).mean() > 0.2
    assert (reads < 8).sum() > 2 * reads.between(8, 15).sum()
    assert (views < 8).sum() < 2 * views.between(8, 15).sum()


def test_products_are_viewed_and_bought_and_articles_are_read(shop):
    kinds = shop.clean().groupby("event_type").kind.unique().map(set).to_dict()
    assert kinds["read"] == {"article"}
    assert all(kinds[name] == {"product"} for name in ("view", "cart", "purchase", "return"))


def test_a_return_follows_its_purchase_by_2_to_20_days(shop):
    clean = shop.clean()
    person = clean.user_id.fillna(clean.visitor_id)
    clean = clean.assign(person=person)[["person", "item_id", "occurred_at", "event_type", "value"]]
    bought = clean[clean.event_type == "purchase"].drop(columns="event_type")
    back = clean[clean.event_type == "return"].reset_index(names="row")
    pairs = back.merge(bought, on=["person", "item_id", "value"], suffixes=("", "_bought"))
    days = (pairs.occurred_at - pairs.occurred_at_bought).dt.total_seconds() / 86_400
    assert len(back) > 10
    assert set(pairs.row[days.between(2, 20)]) == set(back.row)


def test_people_log_in_halfway_and_the_link_starts_there(shop):
    site = shop.clean().sort_values("occurred_at").dropna(subset=["session_id", "visitor_id"])
    site = site[site.user_id != ""]
    known = site.user_id.notna()
    login = known.groupby(site.session_id).agg(["first", "last"])
    assert (~login["first"])[login["last"]].mean() > 0.1
    assert not (login["first"] & ~login["last"]).any()
    links = shop.read("identities").set_index(["visitor_id", "user_id"]).linked_at
    first = site[known].groupby(["visitor_id", "user_id"]).occurred_at.min()
    assert (links.reindex(first.index) <= first).all()


def test_some_visitors_never_log_in_and_some_devices_are_shared(tmp_path):
    shop = Shop(tmp_path, replace(SMALL, shared_device_share=0.2))
    links = shop.read("identities")
    strangers = set(shop.events.visitor_id.dropna()) - set(links.visitor_id)
    assert len(strangers) > 100
    assert links.groupby("visitor_id").user_id.nunique().max() == 2


def test_nobody_is_known_by_name_before_joining(shop):
    known = shop.clean().merge(shop.read("customers"), on="user_id")
    assert (known.occurred_at >= known.joined_at).all()


def test_a_session_is_mostly_about_one_category(shop):
    looks = shop.clean()
    looks = looks[~looks.visitor_id.isin(shop.read("truth/robots").visitor_id)]
    counts = pd.crosstab(looks.session_id, looks.category).to_numpy()
    counts = counts[counts.sum(axis=1) >= 4]
    assert np.median(counts.max(axis=1) / counts.sum(axis=1)) > 0.6


def test_customers_look_most_at_what_they_truly_like(shop):
    tastes = shop.read("truth/tastes").set_index("person_id")
    looks = shop.clean().query("event_type in ('view', 'read') and user_id != ''")
    seen = pd.crosstab(looks.user_id, looks.category, normalize="index")
    true = tastes.reindex(index=seen.index, columns=seen.columns)
    at_favourite = seen.to_numpy()[np.arange(len(seen)), true.to_numpy().argmax(axis=1)]
    assert at_favourite.mean() > 4 * seen.to_numpy().mean()


def test_newsletter_clicks_come_from_true_taste(shop):
    tastes = shop.read("truth/tastes").rename(columns={"person_id": "user_id"})
    tastes = tastes.melt("user_id", var_name="category", value_name="taste")
    mail = shop.clean().query("channel == 'email'").merge(tastes, on=["user_id", "category"])
    clicked, sent = (mail.loc[mail.event_type == f"email_{x}", "taste"] for x in ("click", "send"))
    assert clicked.mean() > 1.5 * sent.mean()


def test_newsletters_are_clicked_as_often_as_the_true_probabilities_say(tmp_path):
    config = replace(SMALL, click_scale=0.5)  # many clicks, so that chance matters little
    world, clean = make_world(config), Shop(tmp_path, config).clean()
    rows = {item: row for row, item in enumerate(item_ids(world.catalogue))}
    sends = clean[clean.event_type == "email_send"]
    person, item = sends.user_id.str[1:].astype(int) - 1, sends.item_id.map(rows)
    at_us = sends.occurred_at.astype("int64").to_numpy()
    chance = click_probability(world.shelf, world.people, person.to_numpy(), item.to_numpy(), at_us)
    clicks, expected = int((clean.event_type == "email_click").sum()), float(chance.sum())
    assert expected > 250  # else the next line could hardly fail
    assert clicks == pytest.approx(expected, abs=3 * expected**0.5)


def test_looks_bring_as_much_as_is_said_of_them():
    world = make_world(SMALL)
    person = np.repeat(np.arange(SMALL.customers), 40)
    log = site_events(world, np.random.default_rng(0), person)
    log = log[(log["session"] >= 0) & (log["session"] < len(person))]  # no refills, no returns
    views = log[np.isin(log["event_type"], (EventType.VIEW, EventType.READ))]
    known = np.ones(len(person), dtype=bool)
    known[views["session"][views["user"] < 0]] = False  # who it was is known of every look
    views, log = views[known[views["session"]]], log[known[log["session"]]]
    bought = log[log["event_type"] == EventType.PURCHASE]
    expected = sales_of_a_look(world, views["user"], views["item"])
    assert not expected[world.catalogue.article[views["item"]]].any()
    assert len(bought) > 1000  # so that three standard errors are about a tenth
    noise = 3 * np.square(bought["value"]).sum() ** 0.5
    assert noise < 0.15 * expected.sum()
    assert bought["value"].sum() == pytest.approx(expected.sum(), abs=noise)


def test_progress_is_told_to_the_end(tmp_path):
    told: list[tuple[str, float]] = []
    config = replace(SMALL, chunk_events=10_000)
    simulate(config, tmp_path, progress=lambda *step: told.append(step))
    assert [share for stage, share in told if stage == "events"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert told[-1][1] == 1


def test_knowing_tastes_beats_popularity_and_popularity_beats_chance(shop):
    chance = shop.read("truth/click_probabilities").pivot_table(
        index="user_id", columns="item_id", values="probability"
    )
    seen = shop.clean().query("event_type == 'view'").item_id.value_counts()
    popular = chance[seen.index[:10]].to_numpy().mean()
    personal = np.sort(chance.to_numpy(), axis=1)[:, -10:].mean()
    assert chance.to_numpy().max() <= 0.5
    assert personal > 1.5 * popular > 1.5 * 1.5 * chance.to_numpy().mean()


def test_questionnaires_agree_with_the_truth_mostly_but_not_always(shop):
    tastes = shop.read("truth/tastes").set_index("person_id").T
    favourite = tastes.groupby(tastes.index.str.split("/").str[0]).sum().idxmax()
    answers = shop.read("preferences").dropna(subset=["user_id"])
    honest = answers.answer.to_numpy() == favourite[answers.user_id].to_numpy()
    assert 0.7 < honest.mean() < 1


def test_robots_see_more_of_the_catalogue_than_people_at_a_steady_beat(shop):
    robots = shop.read("truth/robots").visitor_id
    looks = shop.events.dropna(subset=["occurred_at"]).drop_duplicates("event_id")
    looks = looks[~looks.user_id.notna()].sort_values("occurred_at")
    breadth = looks.groupby("visitor_id").item_id.nunique().sort_values()
    assert set(breadth.index[-len(robots) :]) == set(robots)
    gaps = looks[looks.visitor_id.isin(robots)].groupby("session_id").occurred_at.diff()
    gaps = gaps.dt.total_seconds().dropna()
    assert gaps.quantile(0.6) - gaps.quantile(0.4) < 0.1


def found_dirt(events: pd.DataFrame) -> dict[str, int]:
    """Each kind of dirt, counted from the rows of one chunk alone."""
    once = events.drop_duplicates("event_id")
    timed = events.occurred_at.dropna()
    views = once[(once.event_type == "view") & once.occurred_at.notna() & once.item_id.notna()]
    who = ["session_id", "item_id", "user_id", "visitor_id"]
    views = views.sort_values("occurred_at")
    again = views.groupby(who, dropna=False).occurred_at.diff() <= pd.Timedelta(seconds=1)
    return {
        "duplicates": int(events.duplicated().sum()),
        "double_clicks": int(again.sum()),
        "letter_case": int((events.item_id != events.item_id.str.upper()).sum())
        - int(events.item_id.isna().sum()),
        "shipping": int((events.item_id == "SHIPPING").sum()),
        "gift": int((events.item_id == "GIFT-1").sum()),
        "null_item": int(events.item_id.isna().sum()),
        "missing_time": int(events.occurred_at.isna().sum()),
        "empty_user": int((events.user_id == "").sum()),
        "bad_quantity": int((events.quantity <= 0).sum()),
        "late_events": int((timed < timed.cummax()).sum()),
    }


def test_all_planted_dirt_is_found_in_the_file_and_counted_right(shop):
    assert shop.report.chunks == 1
    assert found_dirt(shop.events) == shop.report.dirt
    assert min(shop.report.dirt.values()) > 0


def test_less_than_one_row_in_a_hundred_breaks_the_contract(shop):
    events = shop.events
    broken = events.item_id.isna() | events.occurred_at.isna() | (events.quantity <= 0)
    assert 0 < broken.mean() < 0.01


def test_without_dirt_there_is_none(tmp_path):
    nothing = dict.fromkeys((name for name in vars(DirtConfig()) if "share" in name), 0.0)
    clean = Shop(tmp_path, replace(SMALL, dirt=DirtConfig(**nothing)))
    assert set(found_dirt(clean.events).values()) == {0}
    assert set(clean.report.dirt.values()) == {0}
    assert clean.report.robots == 0


def test_a_log_in_many_chunks_is_the_same_log_but_for_chance(shop, tmp_path):
    cut = Shop(tmp_path, replace(SMALL, chunk_events=2_500))
    assert pq.ParquetFile(cut.out / "events.parquet").num_row_groups == cut.report.chunks == 12
    assert cut.report.events == pytest.approx(shop.report.events, rel=0.05)
    for name in ("items", "customers", "truth/tastes", "truth/click_probabilities"):
        pd.testing.assert_frame_equal(cut.read(name), shop.read(name))
    for column in ("user_id", "item_id"):
        counts = [s.clean()[column].value_counts() for s in (cut, shop)]
        assert counts[0].corr(counts[1]) > 0.9


def test_ids_stay_unique_across_chunks(tmp_path):
    cut = Shop(tmp_path, replace(SMALL, chunk_events=2_500))
    once = cut.events.drop_duplicates()
    assert once.event_id.is_unique
    users = once[~once.user_id.isin([""])].groupby("session_id").user_id.nunique()
    assert users.max() == 1
    assert not cut.read("identities").duplicated(["visitor_id", "user_id"]).any()


def test_pictures_are_small_valid_svg_and_exist_for_every_item(shop):
    for path in shop.items.image_url:
        picture = (shop.out / path).read_text()
        assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
        assert len(picture) < 2_000


def test_pictures_are_shared_where_there_are_too_many_items(tmp_path):
    many = Shop(tmp_path, replace(SMALL, pictures=100))
    assert len(list((tmp_path / "images").iterdir())) == 2 * many.items.category.nunique()
    assert all((tmp_path / path).exists() for path in many.items.image_url)


def test_every_drawing_is_known_and_titles_are_escaped():
    assert {leaf.glyph for leaf in tree()} == set(GLYPHS)
    svg = draw_item(tree()[0], "Salt & <pepper>", article=False, tint=0.5)
    assert ElementTree.fromstring(svg)[0].text == "Salt & <pepper>"


def test_items_have_titles_of_their_own_and_texts_that_name_their_category(shop):
    assert not shop.items.duplicated(["category", "title"]).any()
    assert shop.items.text.str.count(r"\.").between(1, 5).all()
    assert not shop.items.text.str.contains("[{}]").any()


@pytest.mark.parametrize("wrong", [{"items": 3}, {"events": 0}, {"customers": -1}])
def test_a_shop_that_cannot_be_is_refused_with_a_reason(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SMALL, **wrong)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32), customers=st.integers(1, 40), items=st.integers(4, 60),
    days=st.integers(1, 30), events=st.integers(1, 1_500),
)  # fmt: skip
def test_a_shop_of_any_size_refers_only_to_what_it_has(**sizes):
    with TemporaryDirectory() as folder:
        small = Shop(Path(folder), SimulationConfig(**sizes))
        clean, customers = small.clean(), set(small.read("customers").user_id)
        spelled = small.events.item_id.dropna()
        assert set(spelled.str.upper()) <= set(small.items.item_id) | set(NOT_PRODUCTS)
        assert set(small.events.user_id.dropna()) <= customers | {""}
        assert set(small.read("identities").user_id) <= customers
        assert (clean.occurred_at >= clean.published_at).all()
