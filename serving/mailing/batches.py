"""Recipients whose blocks have the same terms, together: what a mailing asks of the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.config import RUNGS, Rung
from features.experiments import Treatment
from features.lifecycle import STAGES
from features.types import DAY_US, HOUR_US, Int64, Ragged, row_numbers
from serving.mailing.mailer import Mailer
from serving.mailing.recipients import Recipients, by_row, ordering
from training.arranging import turn_seed
from training.policy import People, Terms
from training.ruling import Ruling
from training.several import Wanted
from training.withholding import Withheld

_LOWERED: Rung = "segment"  # who is not known well enough as a person may still be one of a group


@dataclass(frozen=True)
class Batch:
    """Some of the recipients, and what they may be shown: terms and items of each block."""

    rows: Int64
    people: People
    wanted: list[Wanted]


@dataclass(frozen=True)
class _Limits:
    """What a block of somebody depends on besides the person: equal ones are decided together."""

    ruling: int  # its id; 0: no rule holds
    highest: Rung | None


def batches(
    mailer: Mailer, recipients: Recipients, placements: Sequence[str],
    treatments: Sequence[Sequence[Treatment]], found: Withheld,
) -> Iterator[Batch]:  # fmt: skip
    """All who get a mail, in groups; treatments: per placement of every recipient."""
    rulings: dict[int, Ruling] = {}
    groups: dict[tuple[_Limits, ...], list[int]] = {}
    made: dict[tuple[object, ...], tuple[_Limits, ...]] = {}
    queries = recipients.people.known
    kinds = list(zip(queries.segment.tolist(), queries.stage.tolist(), strict=True))
    for row in np.flatnonzero(found.reasons < 0).tolist():
        lowered = bool(found.lowered[row] >= 0)
        own = tuple(treatment[row] for treatment in treatments)
        key = (kinds[row], lowered, own)
        if key not in made:
            made[key] = tuple(
                _limits(mailer, rulings, (place, recipients.now_us), kinds[row], one, lowered)
                for place, one in zip(placements, own, strict=True)
            )
        groups.setdefault(made[key], []).append(row)
    away = _kept_back(mailer, recipients, placements)
    for limits, members in groups.items():
        rows = np.array(members, np.int64)
        wanted = [
            Wanted(_terms(mailer, place, one, rulings.get(one.ruling)), kept)
            for place, one, kept in zip(placements, limits, _of_rows(away, rows), strict=True)
        ]
        turns = any(one.terms.arrangement and one.terms.arrangement.rotation for one in wanted)
        yield Batch(rows, _taken(recipients, rows, turns=turns), wanted)


def _limits(
    mailer: Mailer, rulings: dict[int, Ruling], where: tuple[str, int], kind: tuple[int, int],
    treatment: Treatment, lowered: bool,
) -> _Limits:  # fmt: skip
    """What holds for a block of somebody of this segment and stage."""
    placement, now_us = where
    bundle = mailer.desk.bundle
    place, names = bundle.config.placements[placement], bundle.manifest["segments"]
    asked = [place.highest_rung, treatment.highest_rung, _LOWERED if lowered else None]
    highest = min((one for one in asked if one), key=RUNGS.index)
    segment, stage = kind if RUNGS.index(highest) >= RUNGS.index("segment") else (-1, -1)
    ruling = mailer.desk.rulebook.ruling(
        placement, now_us, names[segment] if segment >= 0 else None,
        STAGES[stage] if stage >= 0 else None, treatment.rules,
    )  # fmt: skip
    if ruling is None:
        return _Limits(0, highest)
    rulings[id(ruling)] = ruling
    return _Limits(id(ruling), highest)


def _terms(mailer: Mailer, placement: str, limits: _Limits, ruling: Ruling | None) -> Terms:
    """What a block must be: the placement's terms, of items that suit a mail."""
    usual = mailer.desk.terms(placement, (limits.highest,), None)
    assert usual.open is not None  # a shelf's
    if ruling is None:
        return replace(usual, open=mailer.suitable(placement, usual.open))
    suitable, arrangement = mailer.suitable(placement, ruling.open), ruling.arrangement
    if arrangement is not None:
        arrangement = replace(arrangement, open=suitable)
    return replace(usual, open=suitable, arrangement=arrangement)


def _taken(recipients: Recipients, rows: Int64, *, turns: bool) -> People:
    """The people of these rows, with their seeds where an order varies."""
    own = recipients.people if rows.size == len(recipients) else recipients.people.take(rows)
    if not turns:
        return own
    names = [recipients.user_ids[row] for row in rows.tolist()]
    seeds = [turn_seed(f"u:{name}", recipients.now_us) for name in names]
    return replace(own, seeds=np.array(seeds, np.uint64))


def _of_rows(away: Sequence[Ragged], rows: Int64) -> list[Ragged]:
    """The same rows of each; what was one object is one again, so that it is looked at once."""
    taken = {id(one): one if rows.size == len(one) else one.take(rows) for one in away}
    return [taken[id(one)] for one in away]


def _kept_back(mailer: Mailer, recipients: Recipients, placements: Sequence[str]) -> list[Ragged]:
    """Per placement the items that each is not shown here: bought, looked at or shown lately."""
    always = _had_lately(mailer, recipients)
    places = mailer.desk.bundle.config.placements
    by_days: dict[float, Ragged] = {}
    found = []
    for placement in placements:
        days = places[placement].not_repeated_for_days or 0
        if days not in by_days:
            by_days[days] = always.joined(_shown_lately(mailer, recipients, days))
        found.append(by_days[days])
    return found


def _had_lately(mailer: Mailer, recipients: Recipients) -> Ragged:
    """What was bought and is not due again, and what was looked at so lately that it would echo.

    An item with a rhythm of its own is due when it is over: the median days between two orders of
    one person; others after `mail.bought_again_after_days`.
    """
    mail, desk = mailer.dressing.mail, mailer.desk
    histories = recipients.people.known.histories
    rhythm = desk.living.catalogue.repurchase_days[histories.items]
    due = np.where(np.isnan(rhythm), mail.bought_again_after_days, rhythm)
    had = ordering(desk.bundle.config)[histories.signals]
    lately = had & (histories.ages_days < due)
    lately |= histories.ages_days < mail.echo_after_hours * HOUR_US / DAY_US
    return by_row(row_numbers(histories.indptr)[lately], histories.items[lately], len(histories))


def _shown_lately(mailer: Mailer, recipients: Recipients, days: float) -> Ragged:
    """What a mail has shown within so many days, or the site to whoever agreed to be known."""
    seen = recipients.seen
    lately = seen.at_us > recipients.now_us - days * DAY_US
    if mailer.dressing.mail.repeats_site:
        lately &= seen.mails
    else:
        lately &= seen.mails | recipients.people.consent[seen.rows]
    return by_row(seen.rows[lately], seen.items[lately], len(recipients))
