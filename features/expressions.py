"""SQL expressions that people write in the config: parsed, checked against a whitelist, made safe.

An expression is one scalar over the columns of one row. Queries, aggregates, windows, anything that
reads files or settings, and anything that answers differently tomorrow (now, random) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import sqlglot
from sqlglot import exp

from features.config import ConfigError

_NODES = (
    exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Binary, exp.Unary,
    exp.Case, exp.If, exp.In, exp.Between, exp.Func, exp.Cast, exp.DataType, exp.DataTypeParam,
    exp.Interval, exp.Var, exp.Array, exp.Bracket, exp.JSONPath, exp.JSONPathPart, exp.Tuple,
)  # fmt: skip
_NEVER = (
    exp.AggFunc, exp.Window, exp.Query, exp.UDTF, exp.Rand, exp.Uuid, exp.CurrentTimestamp,
    exp.CurrentDate, exp.CurrentTime, exp.CurrentUser, exp.ReadCSV, exp.ReadParquet,
)  # fmt: skip
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
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except sqlglot.ParseError as error:
        reason = error.errors[0]["description"] if error.errors else str(error)
        raise ConfigError(f"{where}: {text!r} is no SQL expression: {reason}") from None
    for node in tree.walk():
        _refuse(node, text, where)
        if isinstance(node, exp.Column) and node.name.lower() not in known:
            raise ConfigError(f"{where}: {_unknown_column(node.name, list(known.values()))}")
    return tree.sql("duckdb")


def is_column(sql: str) -> bool:
    """Whether checked SQL is a plain column, so that nothing in it can fail."""
    return isinstance(sqlglot.parse_one(sql, dialect="duckdb"), exp.Column)


def column_names(sql: str) -> set[str]:
    """The columns that checked SQL reads."""
    return {c.name for c in sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.Column)}


def _refuse(node: exp.Expression, text: str, where: str) -> None:
    named = isinstance(node, exp.Anonymous)
    if named and node.name.lower() in _ALSO_ALLOWED:
        return
    if named or isinstance(node, _NEVER) or not isinstance(node, _NODES):
        what = f"{node.name.lower()}()" if named else node.key
        raise ConfigError(
            f"{where}: {text!r} uses {what}, which is not allowed here; write one value per row "
            "from this row's columns with operators, CASE, casts and scalar functions"
        )


def _unknown_column(name: str, known: list[str]) -> str:
    near = get_close_matches(name.lower(), [k.lower() for k in known], n=1)
    guess = [k for k in known if near and k.lower() == near[0]]
    hint = f" Did you mean {guess[0]!r}?" if guess else ""
    return f"the source has no column {name!r}; it has {known}.{hint}"
