"""Who asks: whose history a request brings, by the ids that it gives."""

import numpy as np
import pytest

from training.bundle import open_bundle
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
