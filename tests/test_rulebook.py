"""The rules are followed while the service runs: real files, a real model, a real store."""

import asyncio
import logging
import sys
import threading

import numpy as np
import pytest
from at_the_desk import opened
from readers import trained
from shelves import NOW_US, rulings

from features.types import DAY_US, HOUR_US, from_us
from training.rulings import KEPT

CONFIG = """sources: {events: {path: log.parquet}}
signals: {read: {weight: 1}}
placements: {home: {}}
rules:
"""


@pytest.fixture(scope="module")
def model(new_shop):
    return trained(new_shop())


def with_rules(model, directory, work, rules="  - {hide: \"item_id = 'a'\"}\n"):
    """What `work(rulebook, file)` says of a worker that follows this file."""
    file = directory / "feeds.yaml"
    file.write_text(CONFIG + rules)

    async def done():
        async with opened(model, directory, file) as desk:
            return work(desk.rulebook, file)

    return asyncio.run(done())


def hidden(book):
    """The ids that the rules of the home page hide."""
    made = book.ruling("home", book.living.newest_us)
    return [] if made is None else book.living.catalogue.texts(
        np.flatnonzero(made.closed["hidden"]).astype(np.int32)
    )  # fmt: skip


def test_a_changed_file_holds_without_a_restart(model, tmp_path):
    def work(book, file):
        first, version = hidden(book), book.version
        file.write_text(CONFIG + "  - {hide: \"item_id IN ('b', 'c')\"}\n")
        return first, version, book.refresh(), hidden(book), book.version

    first, old, turned, then, new = with_rules(model, tmp_path, work)
    assert (first, turned, then) == (["a"], True, ["b", "c"])
    assert old != new


def test_a_file_that_says_the_same_changes_nothing(model, tmp_path):
    def work(book, file):
        before, version = book.ruling("home", 0), book.version
        file.write_text(f"# a comment\n{file.read_text()}")
        return book.refresh(), book.version == version, book.ruling("home", 0) is before

    assert with_rules(model, tmp_path, work) == (False, True, True)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (CONFIG + "  - {hide: \"itm = 'a'\"}\n", ":5: rules.0.hide: an item has no column 'itm'"),
        (CONFIG + "  - {hide: [\n", "feeds.yaml:6"),
        (None, "does not exist"),
    ],
)
def test_a_broken_file_leaves_the_old_rules_and_says_so(model, tmp_path, caplog, broken, told):
    def work(book, file):
        version = book.version
        file.unlink() if broken is None else file.write_text(broken)
        turned = book.refresh()
        again = book.refresh()  # told once, not every second
        return turned, again, hidden(book), book.version == version

    assert with_rules(model, tmp_path, work) == (False, False, ["a"], True)
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 1
    assert told in errors[0]


def test_a_file_that_is_broken_from_the_start_leaves_the_rules_of_the_model(
    model, tmp_path, caplog
):
    found = with_rules(model, tmp_path, lambda book, _: book.version, rules="  - {hid: x}\n")
    assert found == "none"
    assert "rules.0.hid: is not a key of the config" in caplog.text


def test_a_pin_of_an_unknown_item_is_a_warning_with_its_line(model, tmp_path, caplog):
    rules = "  - pin:\n    - {item: a, position: 1}\n    - {item: nope, position: 2}\n"
    with_rules(model, tmp_path, lambda book, _: None, rules=rules)
    assert "feeds.yaml:7: rules.0.pin.1.item: there is no item 'nope'" in caplog.text
    assert "item 'a'" not in caplog.text


def test_a_rule_for_what_the_served_model_does_not_know_is_a_warning(model, tmp_path, caplog):
    file = CONFIG.replace("{home: {}}", "{home: {}, app: {}}")

    def work(book, path):
        path.write_text(file + "  - {placement: app, rotate: 0.5}\n")
        return book.refresh(), book.ruling("home", 0)

    assert with_rules(model, tmp_path, work) == (True, None)
    assert "there is no placement ['app']" in caplog.text


def test_an_item_that_changes_is_judged_anew(model, tmp_path):
    def work(book, _):
        before, catalogue = hidden(book), book.living.catalogue
        catalogue.tell(1, price=99.0)
        book.changed(np.array([1], np.int32))
        return before, hidden(book)

    rules = '  - {hide: "price > 50"}\n'
    assert with_rules(model, tmp_path, work, rules) == ([], ["b"])


def test_items_grow_older_while_the_rules_stay(model, tmp_path, caplog):
    def work(book, _):
        before = hidden(book)
        book.living.newest_us += 60 * DAY_US
        return before, book.refresh(), len(hidden(book))

    rules = '  - {hide: "age_days > 50"}\n'
    caplog.set_level(logging.INFO, "feeds.rules")
    assert with_rules(model, tmp_path, work, rules) == ([], False, 6)
    assert caplog.text.count("follow") == 1, "the rules of the file follow those of the model"


def test_only_where_a_rule_asks_it_matters_what_was_seen(model, tmp_path):
    rules = "  - {placement: home, seen: {times: 3}}\n"
    asks = [with_rules(model, tmp_path, lambda book, _: book.asks_what_was_seen("home"), one)
            for one in (rules, "  - {rotate: 0.1}\n")]  # fmt: skip
    assert asks == [True, False]


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_what_changes_while_the_rules_are_worked_out_anew_is_not_lost(model, tmp_path, hasty):
    """A thread looks at all items, as every hour, and prices move all the while."""

    def work(book, _):
        catalogue, random, lost = book.living.catalogue, np.random.default_rng(0), 0
        for _ in range(800):
            book.living.newest_us += HOUR_US
            hour = threading.Thread(target=book.refresh)
            hour.start()
            while hour.is_alive():
                item = int(random.integers(6))
                catalogue.tell(item, price=random.choice([1.0, 99.0]))
                book.changed(np.array([item], np.int32))
            hour.join()
            closed = book.ruling("home", 0).closed["hidden"][:6]
            lost += int((closed != (catalogue.prices[:6] > 50)).sum())
        return lost

    rules = '  - {hide: "price > 50 AND age_days > -9"}\n'
    assert with_rules(model, tmp_path, work, rules) == 0


def test_rulings_that_nobody_asks_for_any_more_are_dropped():
    """A rule that starts every day: other rules hold from day to day."""
    starts = [from_us(NOW_US + day * DAY_US).isoformat() for day in range(KEPT + 2)]
    held = rulings(*({"starts": start, "rotate": 0.1} for start in starts))
    first, second, *_ = (held.ruling("home", NOW_US + day * DAY_US) for day in range(KEPT))
    assert held.ruling("home", NOW_US) is first  # asked for again: the second is the oldest now
    held.ruling("home", NOW_US + KEPT * DAY_US)
    assert len(held.made) == KEPT
    assert held.ruling("home", NOW_US) is first
    assert held.ruling("home", NOW_US + DAY_US) is not second
