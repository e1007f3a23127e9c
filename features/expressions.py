"""SQL expressions that people write in the config: parsed, checked against a whitelist, made safe.

An expression is one scalar over the columns of one row. Queries, aggregates, windows, anything that
reads files or settings, and anything that answers differently tomorrow (now, random) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from features.config import ConfigError

_NODES = (
    exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Binary, exp.Unary,
    exp.Case, exp.If, exp.In, exp.Between, exp.Func, exp.Cast, exp.DataType, exp.DataTypeParam,
    exp.Interval, exp.Var, exp.Array, exp.Bracket, exp.JSONPath, exp.JSONPathPart, exp.Tuple,
)  # fmt: skip
_ELSEWHERE = ("Current", "Local", "Session", "Rand", "Uuid", "Read")  # not from the row
_NEVER = (
    exp.AggFunc, exp.Window, exp.Query, exp.UDTF, exp.RowNumber,
    *(kind for name, kind in vars(exp).items()
      if name.startswith(_ELSEWHERE) and isinstance(kind, type)),
)  # fmt: skip
_LITERAL_FUNCTIONS = (exp.Array, exp.Struct, exp.Map)  # what [] and {} are to the parser
_ALSO_ALLOWED = {
    "ends_with", "epoch_ms", "epoch_us", "format", "isfinite", "json_extract_string", "list_value",
    "make_timestamp", "make_timestamp_ms", "make_timestamp_ns", "printf", "remap", "strip_accents",
    "suffix", "prefix", "try_strptime", "to_days", "to_hours", "to_minutes", "to_seconds",
    "url_decode", "regexp_extract_all", "list_extract", "isnan", "isinf", "timezone",
}  # fmt: skip


def parse(text: str, columns: Iterable[str], *, where: str) -> str:
    """Return `text` as checked DuckDB SQL over `columns`, or raise ConfigError naming `where`.

    A text that equals a column's name, blanks and all, is that column.
    """
    known = {column.lower(): column for column in columns}
    if text.strip().lower() in known:
        return exp.column(known[text.strip().lower()], quoted=True).sql("duckdb")
    tree = _tree(text, where)
    for node in tree.walk():
        _refuse(node, text, where)
        if isinstance(node, exp.Column) and _root(node).lower() not in known:
            raise ConfigError(f"{where}: {unknown_name(_root(node), list(known.values()))}")
    return tree.sql("duckdb", comments=False, identify=True)  # a column may be called `at`


def plain_column(text: str) -> str | None:
    """The column that `text` names and nothing more, in lower case; None for an expression."""
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except SqlglotError:
        return None
    return tree.name.lower() if isinstance(tree, exp.Column) and not tree.table else None


def is_column(sql: str) -> bool:
    """Whether checked SQL is a plain column, so that nothing in it can fail."""
    return plain_column(sql) is not None


def column_names(sql: str) -> set[str]:
    """The columns that checked SQL reads."""
    return {_root(c) for c in sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.Column)}


def unknown_name(
    name: str, known: list[str], what: str = "column", owner: str = "the source"
) -> str:
    """What to tell somebody who named something that `owner` does not have."""
    near = get_close_matches(name.lower(), [k.lower() for k in known], n=1)
    guess = [k for k in known if near and k.lower() == near[0]]
    hint = f" Did you mean {guess[0]!r}?" if guess else ""
    return f"{owner} has no {what} {name!r}; it has {known}.{hint}"


def _tree(text: str, where: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect="duckdb") if tree is not None]
    except SqlglotError as error:
        told = error.errors if isinstance(error, ParseError) else []
        reason = told[0]["description"] if told else str(error)
        raise ConfigError(f"{where}: {text!r} is no SQL expression: {reason}") from None
    if len(trees) != 1:
        raise ConfigError(f"{where}: {text!r} must be one expression, not {len(trees) or 'none'}")
    return trees[0]


def _root(column: exp.Column) -> str:
    """The column of the source: `a` in the path `a.b.c` into a struct."""
    return str(column.parts[0].name)


def _refuse(node: exp.Expr, text: str, where: str) -> None:
    named = isinstance(node, exp.Anonymous)
    if named and node.name.lower() in _ALSO_ALLOWED:
        return
    never = isinstance(node, _NEVER) or _of_nothing(node)
    if named or never or not isinstance(node, _NODES):
        what = f"{node.name.lower()}()" if named else node.key
        raise ConfigError(
            f"{where}: {text!r} uses {what}, which is not allowed here; write one value per row "
            "from this row's columns with operators, CASE, casts and scalar functions"
        )


def _of_nothing(node: exp.Expr) -> bool:
    """Whether it is a function without arguments: what it says comes from outside the row."""
    given = any(value not in (None, []) for value in node.args.values())
    return isinstance(node, exp.Func) and not isinstance(node, _LITERAL_FUNCTIONS) and not given
