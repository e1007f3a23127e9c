"""Which question to ask a person now: the one whose answer would tell most, or none.

What an answer tells is the entropy of what we expect it to be, in bits: an answer that is certain
beforehand tells nothing (Lindley 1956, "On a measure of the information provided by an
experiment"). So who shows by what they do where their heart is, is left in peace.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.options import Question
from features.types import DAY_US, Float64
from serving.answers import category_named
from serving.api_words import QuestionsRequest
from serving.asking import Asker, people_of, who
from serving.desk import Desk
from serving.sensitive import may_be_named
from serving.state import StateUnavailable
from training.policy import People

CROWD = 10.0  # people, or answers, that weigh as much as knowing nothing of the crowd


async def questions(desk: Desk, request: QuestionsRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a QuestionsResponse."""
    now_us, options = desk.now_us(request.at), desk.bundle.config.preferences
    try:
        asker = await who(desk.living, desk.state, request.user_id, request.visitor_id, now_us)
    except StateUnavailable:
        return _none("what was answered before cannot be looked up now")
    people = people_of(desk.living, asker, desk.found(request.recent)[0])
    if not options.questions:
        return _none("the shop has no questions")
    if not people.consent[0]:
        return _none("without consent nothing is asked")
    pending = [one for one in options.questions if not answered(desk, asker, one)]
    if not pending:
        return _none("everything has been answered")
    told = expected_bits(desk, people, pending)
    bits, question = max(zip(told, pending, strict=True), key=lambda one: one[0])
    if bits < options.ask_above_bits:
        return _none("what is known says it already: no answer would tell enough", bits)
    return {
        "question": {
            "name": question.name, "text": question.text,
            "answers": [{"answer": one.answer, "text": one.text or one.answer}
                        for one in question.options],
        },
        "why": f"of {len(pending)} open questions its answer would tell most",
        "expected_bits": round(bits, 4),
    }  # fmt: skip


def _none(why: str, bits: float | None = None) -> dict[str, Any]:
    return {"question": None, "why": why, "expected_bits": bits and round(bits, 4)}


def answered(desk: Desk, asker: Asker, question: Question) -> bool:
    """Has this person answered so lately that they are not to be asked again?

    Of what was answered before the model only the categories are known: one that an answer of the
    question names is an answer to it.
    """
    codes = [category_named(desk.living, one.answer) for one in question.options]
    before = desk.living.base.declared.take(asker.rows)
    told = np.isin(before.categories, [one for one in codes if one >= 0]) & ~before.less
    moments = [when for name, _, when in asker.recalled.answers if name == question.name]
    newest = max([*moments, *before.answered_us[told].tolist()], default=None)
    return newest is not None and asker.now_us - newest < question.ask_again_days * DAY_US


def expected_bits(desk: Desk, people: People, asked: list[Question]) -> list[float]:
    """What an answer to each question would tell of the only person."""
    catalogue, queries = desk.living.catalogue, people.known
    n, own, before = len(catalogue.tree), queries.histories.by_item, desk.living.base.declared
    kept = may_be_named(catalogue) & (catalogue.category >= 0)

    def by_category(items: Any, amounts: Any) -> Float64:
        named = kept[items]
        codes = catalogue.category[items][named]
        return np.bincount(codes, amounts[named], minlength=n).astype(np.float64)

    interest = by_category(own.indices, own.data)
    liked = queries.declared.data > 0
    np.add.at(interest, queries.declared.indices[liked], queries.declared.data[liked])
    everybody = (
        np.bincount(before.categories[~before.less], minlength=n).astype(np.float64),
        by_category(np.arange(len(catalogue)), catalogue.people),
    )
    weight, found = desk.bundle.config.preferences.weight, []
    for one in asked:
        places = [category_named(desk.living, option.answer) for option in one.options]
        own_part, said, done = (
            _within(desk, amounts, places) for amounts in (interest, *everybody)
        )
        found.append(entropy(chances(own_part, said, done, weight)))
    return found


def chances(interest: Float64, said: Float64, done: Float64, weight: float) -> Float64:
    """(m,) how likely each answer is, of one who has shown so much `interest` in each.

    Each part leans on the next where there is little of it (hierarchical Dirichlet smoothing,
    MacKay & Peto 1995): the person on what everybody `said`, that on what everybody has `done`, and
    that on all answers alike. An answer that names no category is NaN in all of them: one of m.

    weight: of the crowd beside the person, in the unit of interest: that of one fresh answer
    """
    named = ~np.isnan(interest)
    alike = np.full(named.size, 1 / named.size)
    if not named.any():
        return alike
    found = alike[named] / alike[named].sum()
    for counts, strength in ((done, CROWD), (said, CROWD), (interest, weight)):
        found = (counts[named] + strength * found) / (counts[named].sum() + strength)
    alike[named] = found * alike[named].sum()
    return alike


def entropy(likely: Float64) -> float:
    """In bits; `likely` (m,) sums to 1."""
    some = likely[likely > 0]
    return abs(float((some * np.log2(some)).sum()))


def _within(desk: Desk, amounts: Float64, places: list[int]) -> Float64:
    """(m,) the amounts (n_categories,) of each category and all below it; NaN of none (-1)."""
    catalogue = desk.living.catalogue
    ranges = [catalogue.below(catalogue.tree[one]) if one >= 0 else None for one in places]
    return np.array([np.nan if one is None else amounts[slice(*one)].sum() for one in ranges])
