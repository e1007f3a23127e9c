"""What people tell us: answers that name a category, less of this, and what they muted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from features.declared import Declared
from features.options import MUTES, UNMUTES, WISHES
from features.types import Bool, Int32, Int64
from serving.living import Living
from training.catalogue import folded

Said = tuple[str, str, int]  # question, answer, when
_NOTHING = np.empty(0, np.int32)


class Told(NamedTuple):
    """Answers that name a category, each (m,): which, whether less of it is wanted, and when."""

    categories: Int32
    less: Bool
    answered_us: Int64


def told_of(living: Living, answers: Sequence[Said]) -> Told | None:
    """The answers that name a category; None: none does. What is muted is no answer.

    Of a question the newest answers count; what is asked to be less adds up.
    """
    answers = [one for one in answers if one[0] not in WISHES]
    if not answers:
        return None
    asks_less = living.base.config.preferences.less
    newest: dict[str, int] = {}
    for question, _, when in answers:
        newest[question] = max(when, newest.get(question, when))
    rows = [(place, question in asks_less, when) for question, answer, when in answers
            if (question in asks_less or when == newest[question])
            and (place := category_named(living, answer)) >= 0]  # fmt: skip
    if not rows:
        return None
    places, less, times = zip(*rows, strict=True)
    return Told(np.array(places, np.int32), np.array(less, np.bool_), np.array(times, np.int64))


def category_named(living: Living, text: str) -> int:
    """The category that an answer names: by its path, else as the last part of exactly one."""
    return living.catalogue.category_names.get(folded(text), -1)


def path_named(living: Living, text: str) -> str:
    """The catalogue's own spelling of a path, in any case and blanks; a new one: as it is."""
    place, tree = category_named(living, text), living.catalogue.tree
    return tree[place] if place >= 0 and folded(tree[place]) == folded(text) else text


def joined(declared: Declared, row: int, told: Told) -> Declared:
    """What one person said before (row -1: nothing) and since, as a table of one person."""
    n = declared.n_categories
    before = declared.take(np.array([row])) if row >= 0 else Declared.strangers(1, n)
    categories = np.concatenate([before.categories, told.categories])
    return Declared.of(
        np.zeros(categories.size, np.int32), categories,
        np.concatenate([before.less, told.less]),
        np.concatenate([before.answered_us, told.answered_us]), n_persons=1, n_categories=n,
    )  # fmt: skip


def mutes(answers: Sequence[Said]) -> list[tuple[str, str]]:
    """What was muted and not unmuted since: category, brand or item, and which."""
    last: dict[tuple[str, str], bool] = {}
    for question, answer, _ in answers:
        if question in WISHES:
            what = MUTES[UNMUTES.get(question, question)]
            last[what, answer] = question in MUTES
    return [which for which, is_muted in last.items() if is_muted]


def muted(living: Living, answers: Sequence[Said]) -> Int32:
    """The items of categories and brands that the person does not want to see, ascending."""
    if not answers:
        return _NOTHING
    found = [np.empty(0, np.int32)]
    for what, answer in mutes(answers):
        if what == "category":
            begin, end = living.catalogue.below(answer)
            codes = living.catalogue.category
            found.append(np.flatnonzero((codes >= begin) & (codes < end)).astype(np.int32))
        elif what == "brand":
            found.append(living.of_brand(answer))
        else:
            item = living.catalogue.find([answer])
            found.append(item[item >= 0])
    return np.unique(np.concatenate(found))


def named(living: Living, text: str, *, brand: bool) -> str | None:
    """The catalogue's own spelling of a brand or a category (by path or last part); None: none."""
    names = living.catalogue.brand_names if brand else living.catalogue.tree
    if not brand:
        place = category_named(living, text)
        return names[place] if place >= 0 else None
    codes = living.catalogue.brand_codes.get(text.strip().lower())
    return names[codes[0]] if codes else None
