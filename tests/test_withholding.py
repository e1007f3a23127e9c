"""Who gets no mail, and why: each question alone, their order, and how often is often enough."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.mail_options import Withholding
from features.types import DAY_US, HOUR_US, Ragged
from training.policy import Reason
from training.withholding import NEVER_US, Standing, nothing_new, withheld

NOW_US = 1_700_000_000_000_000
ALL = {"just_bought_days": 3, "stale_after_days": 60, "min_events": 2, "mails_per_week": 1}
HELD = {  # reason -> what is true of whom it holds for, in the order in which it is asked
    "forgotten": {"forgotten": True}, "no_email_consent": {"consent_email": False},
    "other_channel": {"other_channel": True}, "frequency_reached": {"mailed": [1]},
    "just_bought": {"last_order_us": NOW_US - DAY_US},
    "stale_profile": {"last_event_us": NOW_US - 61 * DAY_US},
    "low_confidence": {"events": 1},
}  # fmt: skip


def known(mailed=(), per_week=np.nan, **told):
    """One customer of whom all is well, but for what is told; `mailed`: how many days ago."""
    whole = {
        "forgotten": False, "consent_email": True, "other_channel": False,
        "last_event_us": NOW_US - 9 * DAY_US, "last_order_us": NEVER_US, "events": 5, **told,
    }  # fmt: skip
    times = np.array([round(NOW_US - days * DAY_US) for days in mailed], np.int64)
    return Standing(
        **{name: np.array([value]) for name, value in whole.items()},
        mails_per_week=np.array([per_week], np.float32),
        mailed_us=(np.array([0, times.size]), times),
    )


def why(one, **options):
    """The reason for no mail, and the reason for a less personal one; None: there is none."""
    found = withheld(one, Withholding(**options), NOW_US)
    names = [None if code < 0 else Reason(code).name
             for code in (found.reasons[0], found.lowered[0])]  # fmt: skip
    return tuple(names)


class TestEveryReasonAlone:
    def test_of_whom_all_is_well_there_is_none(self):
        strictest = {**ALL, "stale": "suppress", "low_confidence": "suppress"}
        assert why(known(), **strictest) == (None, None)

    @pytest.mark.parametrize("reason", HELD)
    def test_withholds_the_mail(self, reason):
        assert why(known(**HELD[reason]), **ALL, low_confidence="suppress") == (reason, None)

    @pytest.mark.parametrize("reason", ["just_bought", "stale_profile", "low_confidence"])
    def test_is_asked_only_where_the_config_does(self, reason):
        assert why(known(**HELD[reason])) == (None, None)

    @pytest.mark.parametrize("reason", ["stale_profile", "low_confidence"])
    def test_of_what_is_known_may_ask_for_a_less_personal_mail_instead(self, reason):
        options = {**ALL, "stale": "fallback", "low_confidence": "fallback"}
        assert why(known(**HELD[reason]), **options) == (None, reason)

    def test_a_stale_profile_is_said_before_low_confidence(self):
        both = known(**HELD["stale_profile"], **HELD["low_confidence"])
        assert why(both, **ALL, stale="fallback") == (None, "stale_profile")
        assert why(both, **ALL, stale="suppress") == ("stale_profile", None)

    def test_the_moment_itself_is_not_too_early(self):
        bought = known(last_order_us=NOW_US - 3 * DAY_US)
        assert why(bought, **ALL) == (None, None)

    def test_of_whom_nothing_is_known_nothing_is_old(self):
        stranger = known(last_event_us=NEVER_US, events=0)
        assert why(stranger, **ALL) == (None, "low_confidence")

    def test_who_may_not_be_known_is_neither_stale_nor_known_too_little(self):
        unasked = known(last_event_us=NEVER_US, events=np.iinfo(np.int64).max)
        assert why(unasked, **ALL, low_confidence="suppress") == (None, None)


def test_of_several_reasons_the_first_counts():
    left = dict(HELD)
    for reason in HELD:
        told = {name: value for one in left.values() for name, value in one.items()}
        assert why(known(**told), **ALL, low_confidence="suppress")[0] == reason
        del left[reason]


class TestHowOften:
    @pytest.mark.parametrize(
        ("per_week", "ago", "reached"),
        [
            (0, (), True), (0, (400,), True),
            (0.25, (28,), False), (0.25, (27,), True), (0.25, (27.6,), False),
            (0.5, (14,), False), (0.5, (13,), True),
            (1, (), False), (1, (7,), False), (1, (6,), True),
            (1.5, (6,), True),
            (2, (3,), False), (2, (6, 3), True), (2, (7, 3), False), (2, (9, 8), False),
            (7, (1, 2, 3, 4, 5, 6), False), (7, (0.1, 1, 2, 3, 4, 5, 6), True),
        ],
    )  # fmt: skip
    def test_is_as_they_said(self, per_week, ago, reached):
        wanted = "frequency_reached" if reached else None
        assert why(known(sorted(ago, reverse=True), per_week))[0] == wanted

    def test_half_a_day_earlier_than_last_week_is_a_week_later(self):
        assert why(known([7 - 11 / 24], 1))[0] is None
        assert why(known([7 - 13 / 24], 1))[0] == "frequency_reached"

    def test_who_did_not_say_gets_as_many_as_is_usual(self):
        assert why(known([6]), mails_per_week=1)[0] == "frequency_reached"
        assert why(known([6]))[0] is None, "there is no limit"

    def test_what_they_said_goes_before_what_is_usual(self):
        assert why(known([6], 2), mails_per_week=1)[0] is None
        assert why(known([10], 0.5), mails_per_week=7)[0] == "frequency_reached"

    def test_mails_of_others_do_not_count(self):
        """Three customers; the second has had a mail today, the others a month ago and never."""
        three = _together(known([30], 1), known([0.1], 1), known((), 1))
        found = withheld(three, Withholding(), NOW_US)
        assert found.reasons.tolist() == [-1, Reason.frequency_reached, -1]


def _together(*each):
    """Several customers as one batch."""
    ends = np.cumsum([0, *(one.mailed_us[1].size for one in each)])
    times = np.concatenate([one.mailed_us[1] for one in each])
    columns = {one.name: np.concatenate([getattr(who, one.name) for who in each])
               for one in fields(Standing) if one.name != "mailed_us"}  # fmt: skip
    return Standing(**columns, mailed_us=(ends, times))


FLAG = st.booleans()
CUSTOMERS = st.builds(
    known,
    mailed=st.lists(st.floats(0, 40), max_size=4), forgotten=FLAG, consent_email=FLAG,
    other_channel=FLAG, events=st.integers(0, 4),
    per_week=st.sampled_from([np.nan, 0, 0.25, 0.5, 1, 2, 1000]),
    last_event_us=st.integers(0, 90).map(lambda days: NOW_US - days * DAY_US),
    last_order_us=st.sampled_from([NEVER_US, NOW_US - HOUR_US, NOW_US - 9 * DAY_US]),
)  # fmt: skip
OPTIONS = st.fixed_dictionaries({
    "mails_per_week": st.sampled_from([None, 1, 3]), "just_bought_days": st.sampled_from([0, 3]),
    "stale_after_days": st.sampled_from([None, 30]), "min_events": st.integers(0, 3),
    "stale": st.sampled_from(["fallback", "suppress"]),
    "low_confidence": st.sampled_from(["fallback", "suppress"]),
})  # fmt: skip


@given(st.lists(CUSTOMERS, min_size=1, max_size=6), OPTIONS)
def test_everybody_has_one_answer_the_same_alone_as_among_others(each, options):
    found = withheld(_together(*each), Withholding(**options), NOW_US)
    names = [None if code < 0 else Reason(code).name for code in found.reasons.tolist()]
    assert set(names) <= {None, *HELD}
    assert not ((found.reasons >= 0) & (found.lowered >= 0)).any()
    assert names == [why(one, **options)[0] for one in each]


class TestNothingNew:
    def test_is_a_mail_with_fewer_items_than_wanted_that_the_last_one_had_not(self):
        fresh, last = Ragged.of([[1, 2], [1, 2], [1, 2]]), Ragged.of([[2, 1, 3], [2, 5], [7]])
        assert nothing_new(fresh, last, 1).tolist() == [True, False, False]
        assert nothing_new(fresh, last, 2).tolist() == [True, True, False]

    def test_is_never_the_first_mail(self):
        assert nothing_new(Ragged.of([[1]]), Ragged.of([[]]), 3).tolist() == [False]
