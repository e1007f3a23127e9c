"""Who asks: whose history a request brings, by the ids that it gives."""

import numpy as np
import pandas as pd
import pytest

from features.config import load_config
from features.home import Home
from training.bundle import open_bundle
from training.jobs import train
from training.people import people_of

NOTHING = np.empty(0, dtype=np.int32)


@pytest.fixture(scope="module")
def bundle(trained):
    return open_bundle(trained.home, None)


@pytest.fixture(scope="module")
def device(bundle):
    """A visitor whose customer has a past, and that customer."""
    past = np.diff(bundle.timelines.indptr)
    place = int(np.argmax(past[bundle.devices.rows]))
    return bundle.devices.ids.text(place), bundle.persons.text(int(bundle.devices.rows[place]))


def histories(bundle, ids):
    found = people_of(bundle, [ids], [NOTHING]).queries.histories
    return found.items.tolist()


def test_a_linked_visitor_brings_the_history_of_its_customer(bundle, device):
    visitor, customer = device
    assert histories(bundle, [visitor]) == histories(bundle, [customer]) != []


def test_another_customer_on_the_same_device_keeps_their_own(bundle, device):
    visitor, customer = device
    past = np.diff(bundle.timelines.indptr)
    others = np.flatnonzero((past > 0) & np.char.startswith(bundle.persons.ids, b"u:"))
    other = next(bundle.persons.text(int(row)) for row in others
                 if bundle.persons.text(int(row)) != customer)  # fmt: skip
    assert histories(bundle, [other, visitor]) == histories(bundle, [other]) != []


def test_a_customer_nobody_knows_gets_nobodys_history_on_it(bundle, device):
    assert histories(bundle, ["u:just registered", device[0]]) == []


@pytest.fixture(scope="module")
def tablet(tmp_path_factory):
    base = tmp_path_factory.mktemp("shared")
    rows = [("2026-01-01", "a", None, "tablet"), ("2026-01-02", "b", None, "tablet")]
    rows += [(f"2026-01-{day:02}", "c", "carol", None) for day in range(1, 9)]
    rows += [("2026-01-05", "d", "alice", None), ("2026-01-05", "d", "bob", None)]
    columns = ["occurred_at", "item_id", "user_id", "visitor_id"]
    pd.DataFrame(rows, columns=columns).to_csv(base / "events.csv", index=False)
    links = [("tablet", "alice", "2026-01-06"), ("tablet", "bob", "2026-01-07")]
    pd.DataFrame(links, columns=["visitor_id", "user_id", "linked_at"]).to_csv(
        base / "links.csv", index=False)  # fmt: skip
    (base / "feeds.yaml").write_text(
        "sources:\n  events: {path: events.csv, columns: {occurred_at: occurred_at, "
        "event_type: \"'view'\", item_id: item_id, user_id: user_id, "
        "visitor_id: visitor_id}}\n  identities: {path: links.csv}\n"
        "shop: {clock: as_of, consent_default: yes}\nsignals: {view: {weight: 1}}\n"
        "training: {rankers: [popularity], bootstrap_draws: 100}\n"
    )
    config, home = load_config(base / "feeds.yaml"), Home(base / ".feeds")
    train(config, base, home)
    return open_bundle(home, None)


class TestASharedDevice:
    """Two customers were seen on one device; what it did when nobody was known is nobody's."""

    def test_is_known_as_such(self, tablet):
        assert tablet.shared.texts(np.arange(len(tablet.shared))) == ["v:tablet"]

    def test_gives_a_customer_nobody_knows_no_history(self, tablet):
        people = people_of(tablet, [["u:dave", "v:tablet"]], [NOTHING])
        assert people.queries.histories.items.size == 0

    def test_gives_its_own_visits_to_who_does_not_say_a_name(self, tablet):
        people = people_of(tablet, [["v:tablet"]], [NOTHING])
        assert people.queries.histories.items.size == 2
