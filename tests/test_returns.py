"""Returns: what came back was no success, and is not counted."""

from dirty_log import START, answers, full
from hypothesis import given, settings
from hypothesis import strategies as st

from features import returns

SAME = {"occurred_us": START}
RETURNS = ("return",)


def fates(log, gone=RETURNS):
    return returns.net_returns(log, ["buy"], list(gone))[0]


def changes(log, gone=RETURNS):
    return returns.net_returns(log, ["buy"], list(gone))[1]


def rest(log, gone=RETURNS):
    return returns.applied(log, changes(log, gone)).select("row", "quantity", "value")


def netted(engine, *rows, gone=RETURNS):
    """(fate, quantity, value) of each row; fate None: it stays."""
    log = full(*rows)
    fate = dict(answers(engine, fates, log, gone))
    return [(fate.get(row), *left) for row, *left in sorted(answers(engine, rest, log, gone))]


def buy(quantity, value=None, **other):
    return {"quantity": quantity, "value": value, **other}


def back(quantity, **other):
    return {"event_type": "return", "quantity": quantity, **other}


BACK, GONE = "return", "purchase returned in full"


def fates_of(engine, *rows):
    return [fate for fate, _, _ in netted(engine, *rows)]


class TestReturns:
    def test_take_the_newest_purchase_first(self, engine):
        assert fates_of(engine, buy(1), buy(1), back(1)) == [None, GONE, BACK]

    def test_leave_the_rest_of_a_purchase_with_its_share_of_the_value(self, engine):
        assert netted(engine, buy(4, 20.0), back(1))[0] == (None, 3.0, 15.0)

    def test_go_on_to_the_purchase_before(self, engine):
        found = netted(engine, buy(4, 8.0), buy(2, 6.0), back(3))
        assert found[:2] == [(None, 3.0, 6.0), (GONE, 2.0, 6.0)]

    def test_without_a_purchase_take_nothing(self, engine):
        assert fates_of(engine, back(1), buy(1, item_id="b")) == [BACK, None]

    def test_before_a_purchase_do_not_take_it(self, engine):
        assert fates_of(engine, back(1), buy(1)) == [BACK, None]

    def test_of_more_than_was_bought_take_nothing_from_what_is_bought_later(self, engine):
        found = netted(engine, buy(1), back(5), buy(4, 8.0), back(1))
        assert found[0][0] == GONE
        assert found[2] == (None, 3.0, 6.0)

    def test_concern_the_same_person_and_item_only(self, engine):
        rows = [buy(1), buy(1, user_id="w"), buy(1, item_id="b"), back(1)]
        assert fates_of(engine, *rows) == [GONE, None, None, BACK]

    def test_leave_what_is_no_purchase_alone(self, engine):
        assert fates_of(engine, buy(1), {"event_type": "view"}, back(1)) == [GONE, None, BACK]

    def test_count_one_where_no_quantity_is_given(self, engine):
        assert netted(engine, buy(None), buy(None), back(None)) == [
            (None, None, None), (GONE, None, None), (BACK, None, None),
        ]  # fmt: skip
        assert netted(engine, buy(2, 4.0), back(None))[0] == (None, 1.0, 2.0)

    def test_at_the_moment_of_the_purchase_follow_the_order_of_the_log(self, engine):
        assert fates_of(engine, buy(1, **SAME), back(1, **SAME)) == [GONE, BACK]
        assert fates_of(engine, back(1, **SAME), buy(1, **SAME)) == [BACK, None]
        late, early = back(1, **SAME, sequence=2), buy(1, **SAME, sequence=1)
        assert fates_of(engine, late, early) == [BACK, GONE]

    def test_name_only_the_purchases_that_they_change(self, engine):
        log = full(buy(4, 8.0), buy(1), back(2), buy(3, item_id="b"))
        assert answers(engine, changes, log) == [(0, 6.0, 3.0)]

    def test_of_a_log_without_any_change_nothing(self, engine):
        assert netted(engine, buy(2, 3.0), buy(1), gone=()) == [(None, 2.0, 3.0), (None, 1.0, None)]


@settings(max_examples=20, deadline=None)
@given(moves=st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1, max_size=12))
def test_returns_do_what_a_pile_of_purchases_would_do(engine, moves):
    rows = [back(n) if is_return else buy(n) for is_return, n in moves]
    left = [0 if fate else quantity for fate, quantity, _ in netted(engine, *rows)]
    assert left == pile(moves)


def pile(moves):
    """What is left of each move when returns take from the top of a pile."""
    left = [0 if is_return else n for is_return, n in moves]
    for place, (is_return, n) in enumerate(moves):
        for top in range(place - 1, -1, -1) if is_return else ():
            taken = min(n, left[top])
            left[top], n = left[top] - taken, n - taken
    return left
