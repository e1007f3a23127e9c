"""Questions with known answers: a bundle that answers otherwise than when it was written is wrong.

Some people of the model, and nobody in particular, are ranked by the one policy on every placement,
and by each ranker alone: at the end of the training, and again before the model is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from features import arrays
from features.types import Float32, Int32, Ragged
from training.bundle import PROBES, Bundle, NoModel, alone, manifest_of, terms
from training.people import people_of
from training.policy import People, Step, Terms, decide
from training.sealing import broken

SIZE = 10  # places of each answer
STRANGERS, VISITORS, KNOWN = 2, 3, 8  # people: without anything, with a session only, with a past
VISIT = 3  # items of a session
TOLERANCE = 1e-3  # relative, between scores: sums in another order differ in the last bits
RIGHT = 0.95  # of an answer: a blend's trees jump where a last bit crosses a threshold
SEED = 7


@dataclass(frozen=True)
class Probes:
    """Who is asked about, and what is answered.

    persons:   (n,) int32, rows of the bundle's people, -1 for somebody unknown
    recent:    n rows of items: the session of each
    questions: q names, such as `placement home` and `ranker als`
    items:     (q, n, SIZE) int32, -1 where the feed is over
    scores:    (q, n, SIZE) float32
    """

    persons: Int32
    recent: Ragged
    questions: list[str]
    items: Int32
    scores: Float32


def probed(bundle: Bundle, whom: Probes | None = None) -> Probes:
    """The bundle's answers about the people of `whom`; None: about people who are drawn here."""
    persons, recent = _drawn(bundle) if whom is None else (whom.persons, whom.recent)
    people = _people(bundle, persons, recent)
    asked = list(_questions(bundle))
    answers = [decide(ladder, people, wanted) for _, ladder, wanted in asked]
    return Probes(
        persons, recent, [name for name, _, _ in asked],
        np.stack([one.items for one in answers]), np.stack([one.scores for one in answers]),
    )  # fmt: skip


def kept(directory: Path) -> Probes:
    """The probes that a bundle was written with."""
    return arrays.load(Probes, directory / PROBES)


def checked(directory: Path) -> Bundle:
    """Open a bundle whose files are as they were written, and that answers as it did then.

    Raises NoModel, which says what is wrong and what to do.
    """
    if faults := broken(directory, manifest_of(directory)):
        raise NoModel(_refusal(directory, "; ".join(faults[:3])))
    bundle = Bundle.open(directory)
    try:
        told = kept(directory)
        wrong = differences(told, probed(bundle, told))
    except Exception as error:  # whatever a wrong bundle may raise
        wrong = [f"it cannot answer ({type(error).__name__}: {error})"]
    if wrong:
        raise NoModel(_refusal(directory, "; ".join(wrong[:3])))
    return bundle


def differences(told: Probes, found: Probes) -> list[str]:
    """Questions that are answered otherwise, a sentence each."""
    if told.questions != found.questions:
        return [f"it is asked {found.questions} and was asked {told.questions}"]
    wrong = []
    for place, name in enumerate(told.questions):
        right = _agreement((told.items[place], told.scores[place]),
                           (found.items[place], found.scores[place]))  # fmt: skip
        if right < RIGHT:
            wrong.append(f"{name} answers otherwise than when it was trained ({right:.0%} agree)")
    return wrong


def _refusal(directory: Path, what: str) -> str:
    return (
        f"{directory.name} fails its checks: {what}. Move {directory} away and run `feeds promote "
        f"{directory.name}`, which fetches MLflow's copy, or `feeds train` anew"
    )


def _drawn(bundle: Bundle) -> tuple[Int32, Ragged]:
    """Strangers, visitors in a session, and people with a past, of as many segments as there are.

    Every second one with a past is in a session as well.
    """
    random, log = np.random.default_rng(SEED), bundle.timelines
    known = random.permutation(np.flatnonzero(np.diff(log.indptr) > 0))
    segments = np.unique(np.asarray(bundle.segments)[known], return_index=True)[1]
    first = dict.fromkeys([*known[segments].tolist(), *known[: 2 * KNOWN].tolist()])
    persons = [-1] * (STRANGERS + VISITORS) + list(first)[:KNOWN]
    met = np.asarray(log.items) if log.items.size else np.arange(len(bundle.catalogue))
    before = STRANGERS + VISITORS
    browsing = [n >= STRANGERS and (n < before or n % 2) for n in range(len(persons))]
    nothing = np.empty(0, np.int32)
    sessions = [random.choice(met, VISIT) if one and met.size else nothing for one in browsing]
    return np.array(persons, dtype=np.int32), Ragged.of(sessions)


def _people(bundle: Bundle, persons: Int32, recent: Ragged) -> People:
    """As they would ask at the model's moment, had they all agreed to be known."""
    shop = bundle.config.shop.model_copy(update={"clock": "as_of"})
    still = replace(bundle, config=bundle.config.model_copy(update={"shop": shop}))
    ids = [[bundle.persons.text(row)] if row >= 0 else [] for row in persons.tolist()]
    people = people_of(still, ids, [recent.row(row) for row in range(len(recent))])
    return replace(people, consent=np.ones(len(people), np.bool_))


def _questions(bundle: Bundle) -> Iterator[tuple[str, Sequence[Step], Terms]]:
    """A name, a ladder and the terms: each kind of placement once, then each ranker alone."""
    asked = set()
    for name, place in bundle.config.placements.items():
        kind = (place.channel, place.kind, place.highest_rung)
        if kind not in asked:
            asked.add(kind)
            shown, ceiling = bundle.catalogue.shown(place.kind), bundle.ceiling(*kind[:2])
            wanted = terms(bundle.config, bundle.catalogue, shown, SIZE,
                           highest_rung=place.highest_rung, ceiling=ceiling)  # fmt: skip
            yield f"placement {name}", bundle.ladder, wanted
    plain = terms(bundle.config, bundle.catalogue, bundle.catalogue.shown(None), SIZE)
    for ranker in bundle.rankers:
        yield f"ranker {ranker}", alone(ranker, bundle.rankers[ranker]), plain


def _agreement(told: tuple[Int32, Float32], found: tuple[Int32, Float32]) -> float:
    """Share of the places that agree, of all people; 1 where nothing was and is answered."""
    places = agreeing = 0
    for row in range(len(told[0])):
        then, now = (_answered(one[0][row], one[1][row]) for one in (told, found))
        places += max(len(then), len(now))
        agreeing += _matches(then, now)
    return agreeing / places if places else 1.0


def _answered(items: Int32, scores: Float32) -> dict[int, float]:
    """Item -> score, best first."""
    shown = items >= 0
    return dict(zip(items[shown].tolist(), scores[shown].tolist(), strict=True))


def _matches(then: dict[int, float], now: dict[int, float]) -> int:
    """How many items have their score again; one that is gone must tie with what is last now."""
    if not (then and now):
        return 0
    scores, last = np.array(list(then.values())), next(reversed(now.values()))
    again = np.array([now.get(item, last) for item in then])
    least = 1e-6 * float(np.abs(scores).max())
    return int(np.isclose(again, scores, rtol=TOLERANCE, atol=least, equal_nan=True).sum())
