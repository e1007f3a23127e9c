"""Rules: SQL conditions over named columns that people write in the config.

Parsed and checked once, then evaluated by NumPy, for one person as for a million. NULL behaves as
in SQL: what is compared with an unknown is unknown, and a rule that is unknown does not hold.
Numbers are float64; what cannot be computed, such as a division by zero, is unknown.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.types import Bool

if TYPE_CHECKING:
    from sqlglot import exp

Columns = Mapping[str, NDArray[Any]]
Kind = str | tuple[str, ...]  # number | text | truth; a tuple: a text that is one of these

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "gte": operator.ge,
    "lt": operator.lt, "lte": operator.le,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
    "div": lambda a, b: np.where(np.equal(b, 0), np.nan, np.divide(a, b)),
}  # fmt: skip
_UNKNOWN = np.array(None, dtype=object)  # what an unknown text is, in every row of a comparison
_PARTS = {"this", "expression", "expressions", "low", "high", "is_string", "typed", "safe"}
_ALLOWED = (
    "a rule may use columns, numbers, 'texts', true, false, + - * / ( ), = <> < <= > >=, "
    "AND, OR, NOT, IN, BETWEEN, LIKE and IS NULL"
)


@dataclass(frozen=True)
class Truth:
    """Where a condition holds and where it does not; where neither, it is unknown."""

    yes: Bool
    no: Bool

    def __and__(self, other: Truth) -> Truth:
        return Truth(self.yes & other.yes, self.no | other.no)

    def __or__(self, other: Truth) -> Truth:
        return Truth(self.yes | other.yes, self.no & other.no)

    def __invert__(self) -> Truth:
        return Truth(self.no, self.yes)


@dataclass(frozen=True)
class Rule:
    """A parsed condition.

    text: as it was written        columns: the names it reads
    """

    text: str
    columns: frozenset[str]
    truth: Callable[[Columns], Truth]

    def holds(self, columns: Columns) -> Bool:
        """(n,) where the condition is true.

        columns: (n,) arrays; an unknown number is NaN, an unknown text or truth None
        """
        rows = len(next(iter(columns.values())))
        with np.errstate(all="ignore"):
            found: Bool = np.broadcast_to(self.truth(columns).yes, (rows,))
        return found


def parse(
    text: str, columns: Mapping[str, Kind], where: str, *, what: str = "feature",
    owner: str = "a person",
) -> Rule:  # fmt: skip
    """The rule that `text` says over `columns`; ValueError names `where` and what is wrong.

    what, owner: how the message calls a column, and whose it is
    """
    reader = _Reader(text, columns, where, what, owner)
    try:
        tree = reader.tree()
        return Rule(text, frozenset(reader.names(tree)), reader.truth(tree))
    except RecursionError:
        raise ValueError(f"{where}: the rule is nested too deeply; IN takes long lists") from None


Value = Callable[[Columns], Any]  # (n,) float64, (n,) objects or Truth; a constant has no length


@dataclass(frozen=True)
class _Reader:
    """Turns the tree of an expression into functions of columns; the kinds are checked here."""

    text: str
    columns: Mapping[str, Kind]
    where: str
    what: str
    owner: str

    def tree(self) -> exp.Expr:
        import sqlglot  # takes a while to load, and a service without rules never needs it
        from sqlglot.errors import ParseError, SqlglotError

        try:
            trees = [tree for tree in sqlglot.parse(self.text, dialect="duckdb") if tree]
        except SqlglotError as error:
            told = error.errors if isinstance(error, ParseError) else []
            raise self._error(
                f"is no SQL condition: {told[0]['description'] if told else error}"
            ) from None
        if len(trees) != 1:
            raise self._error(f"must be one condition, not {len(trees) or 'none'}")
        for node in trees[0].walk():
            self._check(node)
        return trees[0]

    def names(self, tree: exp.Expr) -> set[str]:
        return {self._name(node) for node in tree.walk() if node.key == "column"}

    def truth(self, node: exp.Expr) -> Callable[[Columns], Truth]:
        kind, value = self._value(node)
        if kind != "truth":
            raise self._error(f"needs a condition, and {_sql(node)} is a {kind}")
        return value

    def _check(self, node: exp.Expr) -> None:
        given = {part for part, value in node.args.items() if value not in (None, [], False)}
        known = hasattr(self, f"_read_{node.key}") or node.key in {*_COMPARISONS, *_ARITHMETIC}
        parts = _PARTS | {"negate"} if node.key == "like" else _PARTS
        if node.key == "identifier" or (known and given <= parts):
            return
        raise self._error(f"uses {_sql(node)}, which is not allowed here; {_ALLOWED}")

    def _value(self, node: exp.Expr) -> tuple[str, Value]:
        """What a node is (number, text or truth), and how it is computed."""
        if node.key in _COMPARISONS:
            return "truth", self._compared(node.key, node.this, node.expression)
        if node.key in _ARITHMETIC:
            combine = _ARITHMETIC[node.key]
            left, right = self._number(node.this), self._number(node.expression)
            return "number", lambda columns: combine(left(columns), right(columns))
        read: Callable[[exp.Expr], tuple[str, Value]] = getattr(self, f"_read_{node.key}")
        return read(node)

    def _number(self, node: exp.Expr) -> Value:
        kind, value = self._value(node)
        if kind != "number":
            raise self._error(f"calculates with {_sql(node)}, which is a {kind}")
        return value

    def _compared(self, key: str, left: exp.Expr, right: exp.Expr) -> Callable[[Columns], Truth]:
        (kind, first), (other, second) = self._value(left), self._value(right)
        if kind != other:
            raise self._error(
                f"compares {_sql(left)}, which is a {kind}, with {_sql(right)}, which is a {other}"
            )
        if kind == "truth" and key not in ("eq", "neq"):
            raise self._error(f"asks which of {_sql(left)} and {_sql(right)} is more")
        if key in ("eq", "neq"):
            self._possible(left, right)
            self._possible(right, left)
        compare, how = _COMPARISONS[key], _COMPARE[kind]
        return lambda columns: how(compare, first(columns), second(columns))

    def _possible(self, column: exp.Expr, literal: exp.Expr) -> None:
        """Refuse to compare a column with a text that it never has."""
        if column.key != "column" or literal.key != "literal":
            return
        kind = self.columns[self._name(column)]
        if isinstance(kind, tuple) and literal.name not in kind:
            near = get_close_matches(literal.name, kind, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise self._error(
                f"asks for {_sql(column)} = {literal.name!r}; it is one of {list(kind)}.{hint}"
            )

    def _read_and(self, node: exp.Expr) -> tuple[str, Value]:
        left, right = self.truth(node.this), self.truth(node.expression)
        return "truth", lambda columns: left(columns) & right(columns)

    def _read_or(self, node: exp.Expr) -> tuple[str, Value]:
        left, right = self.truth(node.this), self.truth(node.expression)
        return "truth", lambda columns: left(columns) | right(columns)

    def _read_not(self, node: exp.Expr) -> tuple[str, Value]:
        value = self.truth(node.this)
        return "truth", lambda columns: ~value(columns)

    def _read_in(self, node: exp.Expr) -> tuple[str, Value]:
        if not node.expressions:
            raise self._error(f"has an empty list in {_sql(node)}")
        equal = [self._compared("eq", node.this, one) for one in node.expressions]
        return "truth", lambda columns: reduce(operator.or_, (one(columns) for one in equal))

    def _read_between(self, node: exp.Expr) -> tuple[str, Value]:
        low = self._compared("gte", node.this, node.args["low"])
        high = self._compared("lte", node.this, node.args["high"])
        return "truth", lambda columns: low(columns) & high(columns)

    def _read_like(self, node: exp.Expr) -> tuple[str, Value]:
        kind, value = self._value(node.this)
        pattern = node.expression
        if kind != "text" or pattern.key != "literal" or not pattern.is_string:
            raise self._error("LIKE needs a text column and a pattern such as 'women/%'")
        jokers = {"%": ".*", "_": "."}
        parts = (jokers.get(letter, re.escape(letter)) for letter in pattern.name)
        matches = re.compile("".join(parts), re.DOTALL).fullmatch
        if node.args.get("negate"):  # NOT LIKE
            return "truth", lambda columns: ~_like(matches, value(columns))
        return "truth", lambda columns: _like(matches, value(columns))

    def _read_is(self, node: exp.Expr) -> tuple[str, Value]:
        kind, value = self._value(node.this)
        if node.expression.key != "null":
            raise self._error(f"uses {_sql(node)}, which is not allowed here; {_ALLOWED}")
        known = _KNOWN[kind]
        return "truth", lambda columns: _of(~known(value(columns)))

    def _read_null(self, node: exp.Expr) -> tuple[str, Value]:
        raise self._error(f"compares with {_sql(node)}, which is never true; write IS NULL")

    def _read_neg(self, node: exp.Expr) -> tuple[str, Value]:
        value = self._number(node.this)
        return "number", lambda columns: -value(columns)

    def _read_paren(self, node: exp.Expr) -> tuple[str, Value]:
        return self._value(node.this)

    def _read_literal(self, node: exp.Expr) -> tuple[str, Value]:
        if node.is_string:
            text = np.array(node.name, dtype=object)
            return "text", lambda _: text
        number = np.float64(node.name)
        return "number", lambda _: number

    def _read_boolean(self, node: exp.Expr) -> tuple[str, Value]:
        always = _of(np.bool_(node.this))
        return "truth", lambda _: always

    def _read_column(self, node: exp.Expr) -> tuple[str, Value]:
        name = self._name(node)
        kind = self.columns[name]
        if kind == "number":
            return "number", lambda columns: np.asarray(columns[name], dtype=np.float64)
        if kind == "truth":
            return "truth", lambda columns: _flags(columns[name])
        return "text", lambda columns: np.asarray(columns[name], dtype=object)

    def _name(self, node: exp.Expr) -> str:
        from features.expressions import unknown_name  # which reads the config, which reads rules

        known = {name.lower(): name for name in self.columns}
        if node.name.lower() not in known:
            told = unknown_name(node.name, list(self.columns), self.what, self.owner)
            raise ValueError(f"{self.where}: {told}")
        return known[node.name.lower()]

    def _error(self, told: str) -> ValueError:
        return ValueError(f"{self.where}: {self.text!r} {told}")


def _sql(node: exp.Expr) -> str:
    return node.sql("duckdb", comments=False)


def _of(holds: Any) -> Truth:
    return Truth(holds, ~holds)


def _flags(values: NDArray[Any]) -> Truth:
    return Truth(np.equal(values, True).astype(bool), np.equal(values, False).astype(bool))


def _known_texts(values: NDArray[np.object_]) -> Bool:
    known: Bool = np.not_equal(values, _UNKNOWN)
    return known


def _compare_numbers(compare: Callable[[Any, Any], Any], left: Any, right: Any) -> Truth:
    known = ~(np.isnan(left) | np.isnan(right))
    found = compare(left, right)
    return Truth(found & known, ~found & known)


def _compare_texts(compare: Callable[[Any, Any], Any], left: Any, right: Any) -> Truth:
    known = _known_texts(left) & _known_texts(right)
    found = compare(np.where(known, left, ""), np.where(known, right, "")).astype(bool)
    return Truth(found & known, ~found & known)


def _compare_truths(compare: Callable[[Any, Any], Any], left: Truth, right: Truth) -> Truth:
    same, other = (left & right) | (~left & ~right), (left & ~right) | (~left & right)
    equal = Truth(same.yes, other.yes)
    return equal if compare is operator.eq else ~equal


def _like(matches: Callable[[str], Any], values: NDArray[np.object_]) -> Truth:
    texts = np.atleast_1d(values).tolist()
    found = {text: bool(matches(text)) for text in set(texts) - {None}}  # once per distinct text
    yes = np.array([found.get(text, False) for text in texts], dtype=bool)
    known = _known_texts(values)
    return Truth(yes & known, ~yes & known)


_COMPARE: dict[str, Callable[[Callable[[Any, Any], Any], Any, Any], Truth]] = {
    "number": _compare_numbers, "text": _compare_texts, "truth": _compare_truths,
}  # fmt: skip
_KNOWN: dict[str, Callable[[Any], Any]] = {
    "number": lambda values: ~np.isnan(values),
    "text": _known_texts,
    "truth": lambda truth: truth.yes | truth.no,
}
