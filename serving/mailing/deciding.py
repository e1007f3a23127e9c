"""What goes into mails, and whether there is one: many recipients at once, or a batch of one.

A mailing and a triggered mail are decided here. First it is asked whether a person gets a mail at
all (`training.withholding`); then all of its blocks are filled by the one policy, no item twice;
last it is looked whether the mail says anything new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.experiments import Treatment, arms_of, terms_of
from features.types import Bool, Int64, Ragged, from_us
from serving.desk import Desk
from serving.mailing.batches import batches
from serving.mailing.mailer import Mailer
from serving.mailing.recipients import Recipients, by_row
from training.policy import Decision, Feeds, Reason
from training.several import decide_several, shown
from training.withholding import Withheld, nothing_new, withheld

Deal = tuple[dict[str, str], Treatment]  # the arms of one person at one place, and what they mean


@dataclass(frozen=True)
class Mails:
    """The blocks of n recipients.

    feeds: one per placement, n rows; of whoever gets no mail they say why
    deals: per placement of every recipient
    """

    recipients: Recipients
    placements: Sequence[str]
    feeds: list[Feeds]
    deals: list[list[Deal]]


def decide_mails(mailer: Mailer, recipients: Recipients, placements: Sequence[str]) -> Mails:
    """Decide for everybody; `placements` in the order of the mail, of which the first choose first.

    The same recipients, known alike at the same moment, get the same mails.
    """
    deals = [_deals(mailer.desk, recipients, place) for place in placements]
    options = mailer.dressing.mail.withhold
    found = withheld(recipients.standing, options, recipients.now_us)
    feeds = [_none(mailer.desk, place, found) for place in placements]
    treatments = [[treatment for _, treatment in deal] for deal in deals]
    for batch in batches(mailer, recipients, placements, treatments, found):
        own = decide_several(mailer.desk.ladder, batch.people, batch.wanted)
        for whole, part in zip(feeds, own, strict=True):
            _write(whole, part, batch.rows)
    for place, one in zip(placements, feeds, strict=True):
        if mailer.desk.bundle.config.placements[place].highest_rung == "one_to_one":
            _lower(one, found)  # elsewhere nobody gets less than they could
    if options.min_new_items:
        _say_something_new(feeds, recipients, options.min_new_items)
    _hold_out(feeds, deals)
    return Mails(recipients, placements, feeds, deals)


def _deals(desk: Desk, recipients: Recipients, placement: str) -> list[Deal]:
    """The arms of everybody here, and what they make of a block.

    An experiment on models is dealt to nobody here: a mailing is one model's.
    """
    now = from_us(recipients.now_us)
    running = [one for one in desk.experiments if one.runs(now, placement)
               and not any(arm.model for arm in one.dealt.values())]  # fmt: skip
    if not running:
        return [({}, Treatment())] * len(recipients)
    meant: dict[tuple[tuple[str, str], ...], Treatment] = {}
    found = []
    for user_id in recipients.user_ids:
        arms = arms_of(running, user_id, now, placement)
        key = tuple(arms.items())
        if key not in meant:
            meant[key] = terms_of(running, arms)
        found.append((arms, meant[key]))
    return found


def _none(desk: Desk, placement: str, found: Withheld) -> Feeds:
    """Feeds in which nobody has anything yet."""
    n, size = len(found.reasons), desk.bundle.config.placements[placement].size
    return Feeds(
        np.full((n, size), -1, np.int32), np.full((n, size), np.nan, np.float32),
        np.full((n, size), -1, np.int8), np.zeros(n, np.int8),
        np.full(n, Decision.suppress, np.int8), found.reasons.copy(),
        np.zeros((n, size), np.int64), np.zeros((n, size), np.int32),
    )  # fmt: skip


def _write(whole: Feeds, part: Feeds, rows: Int64) -> None:
    """Put the feeds of some recipients where they belong."""
    whole.items[rows], whole.scores[rows], whole.steps[rows] = part.items, part.scores, part.steps
    whole.rungs[rows], whole.decisions[rows] = part.rungs, part.decisions
    whole.reasons[rows] = part.reasons
    if part.marks is not None and whole.marks is not None:
        whole.marks[rows] = part.marks
    if part.moved is not None and whole.moved is not None:
        whole.moved[rows] = part.moved


def _lower(feeds: Feeds, found: Withheld) -> None:
    """Who could have had a more personal feed, but for what we do not know, has a fallback."""
    lower = (found.lowered >= 0) & (feeds.decisions == Decision.show)
    feeds.decisions[lower], feeds.reasons[lower] = Decision.fallback, found.lowered[lower]


def _say_something_new(feeds: Sequence[Feeds], recipients: Recipients, least: int) -> None:
    """Withhold mails that the last one has said already, all their blocks for this reason."""
    n, seen = len(recipients), recipients.seen
    last_us = np.full(n, -1, np.int64)
    np.maximum.at(last_us, seen.rows[seen.mails], seen.at_us[seen.mails])
    own = seen.mails & (seen.at_us == last_us[seen.rows])
    last, fresh = by_row(seen.rows[own], seen.items[own], n), Ragged.empty(n)
    for one in feeds:
        fresh = fresh.joined(shown(one.items))
    _withhold(feeds, nothing_new(fresh, last, least), Reason.nothing_new)


def _hold_out(feeds: Sequence[Feeds], deals: Sequence[Sequence[Deal]]) -> None:
    """Withhold what an experiment holds back: the last question of all.

    So who is held out are people who would have got the mail, and comparable with those who do.
    """
    n = len(feeds[0].decisions)
    held = [not all(deal[row][1].mail for deal in deals) for row in range(n)]
    if any(held):
        _withhold(feeds, np.array(held, np.bool_), Reason.holdout)


def _withhold(feeds: Sequence[Feeds], rows: Bool, reason: Reason) -> None:
    """Send nothing to these, if they were to get anything."""
    sent = np.any([one.decisions != Decision.suppress for one in feeds], axis=0) & rows
    for one in feeds:
        one.decisions[sent], one.reasons[sent] = Decision.suppress, reason
        one.items[sent], one.steps[sent], one.scores[sent] = -1, -1, np.nan
