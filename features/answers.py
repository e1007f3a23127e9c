"""The answers that count at a moment: whose they are, and which category they name."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from features.catalogue import category_path
from features.declared import Declared
from features.identity import with_owner

_TOPIC = ["person_index", "question", "topic"]


def answers(
    preferences: ir.Table, devices: ir.Table, persons: ir.Table, categories: ir.Table,
    as_of_us: int, less: Sequence[str],
) -> ir.Table:  # fmt: skip
    """person_index, question, answer, answered_us, category_index (int32, nullable), less (bool).

    To a question only what a person said at the latest moment counts, all of it: a new answer
    replaces those before. What is asked to be less adds up; said again of a category, the newest
    counts. Answers after `as_of_us`, and of people whom the build does not know, are left out.

    An answer names a category when it is its path, or else the last part of exactly one path, in
    any case and with any blanks around the parts. What is the last part of several names none,
    for nobody can say which was meant: the questionnaire should give the path.

    preferences: user_id, visitor_id, question, answer, answered_us
    devices:     device, person: visitors (`v:` and the id) who are customers
    persons:     person_index, person        categories: as `catalogue.categories` has them
    less:        the questions whose answers ask for less of a category
    """
    known = with_owner(preferences.filter(preferences.answered_us <= as_of_us), devices)
    known = known.join(persons.select("person", "person_index"), "person")
    asks_less = known.question.isin(list(less)) if less else ibis.literal(False)
    known = known.mutate(folded=_folded(known.answer), less=asks_less)
    names = _names(categories)
    told = known.left_join(names, known.folded == names.named)
    subject = ibis.coalesce(told.category_index.cast("string"), told.folded, "")
    told = told.mutate(topic=ibis.ifelse(told.less, subject, ""))
    newest = told.group_by(_TOPIC).agg(answered_us=told.answered_us.max())
    kept = told.semi_join(newest, [*_TOPIC, "answered_us"])
    return kept.select(
        "person_index", "question", "answer", "answered_us", "category_index", "less"
    ).distinct()


def _names(categories: ir.Table) -> ir.Table:
    """named, category_index: what an answer can say for a category, one row per name.

    A part that is the path of another category belongs to both, so only the path is left.
    """
    paths = categories.select("category_index", named=_folded(categories.path))
    parts = categories.select("category_index", named=_folded(categories.name))
    return ibis.union(_unambiguous(paths), _unambiguous(parts), distinct=True)


def _unambiguous(names: ir.Table) -> ir.Table:
    of = names.group_by("named").agg(category_index=names.category_index.max(), n=names.count())
    return of.filter(of.n == 1).drop("n")


def _folded(text: ir.StringValue) -> ir.StringValue:
    return category_path(text).lower()


def declared_of(told: pa.Table, n_persons: int, n_categories: int) -> Declared:
    """The answers that name a category, as arrays; `told` is what `answers` gives."""
    named = told.filter(told["category_index"].is_valid())
    columns = ("person_index", "category_index", "less", "answered_us")
    return Declared.of(
        *(np.asarray(named[column]) for column in columns),
        n_persons=n_persons, n_categories=n_categories,
    )  # fmt: skip


def questions(told: pa.Table) -> dict[str, int]:
    """Question -> how many people answer it now."""
    found = told.group_by("question").aggregate([("person_index", "count_distinct")])
    names, people = found["question"].to_pylist(), found["person_index_count_distinct"].to_pylist()
    return dict(sorted(zip(names, people, strict=True)))


def counts(told: pa.Table) -> dict[str, int]:
    """How many answers count, of how many people, and how many of them name no category."""
    return {
        "answers": told.num_rows,
        "people": len(told["person_index"].unique()),
        "less": int(np.count_nonzero(np.asarray(told["less"]))),
        "without_category": told["category_index"].null_count,
    }
