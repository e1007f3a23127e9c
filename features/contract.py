"""The contract: columns and types of the five tables, and what becomes of rows that break it.

`check` turns a mapped source into the contract's types and says of every row what is wrong with it;
a row is accepted when nothing is. accepted + rejected = read, always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from features.config import ConfigError
from features.engine import local_to_utc
from features.sources import ORIGIN, Mapped
from features.types import MAX_ID

EXACT_FLOAT = {64: 2**53, 32: 2**24, 16: 2**11}  # above it a float skips whole numbers, by bits
_FLAGS = {True: ("true", "t", "yes", "y", "1"), False: ("false", "f", "no", "n", "0")}
Rule = tuple[str, Callable[[ir.Value], ir.BooleanValue]]  # what is wrong, and when it is
Fault = tuple[str, ir.BooleanValue]  # what is wrong, and in which rows


@dataclass(frozen=True)
class Column:
    """One column of the contract: how it is read, and what must hold of a value."""

    name: str
    kind: str  # id | text | time | number | whole | flag
    required: bool = False
    rule: Rule | None = None


_POSITIVE: Rule = ("is not above 0", lambda v: v <= 0)
_NOT_NEGATIVE: Rule = ("is negative", lambda v: v < 0)
_CURRENCY: Rule = ("is no code of three capitals, like EUR", lambda v: ~v.re_search("^[A-Z]{3}$"))
_SHARE: Rule = ("is not above 0 and at most 1", lambda v: (v <= 0) | (v > 1))
_KIND: Rule = ("is neither product nor article", lambda v: v.notin(["product", "article"]))

TABLES: dict[str, tuple[Column, ...]] = {
    "events": (
        Column("occurred_at", "time", required=True), Column("event_type", "text", required=True),
        Column("item_id", "id", required=True), Column("user_id", "id"),
        Column("visitor_id", "id"), Column("session_id", "id"), Column("sequence", "whole"),
        Column("channel", "text"), Column("value", "number", rule=_NOT_NEGATIVE),
        Column("currency", "text", rule=_CURRENCY), Column("quantity", "number", rule=_POSITIVE),
        Column("duration_seconds", "number", rule=_NOT_NEGATIVE), Column("placement", "text"),
        Column("decision_id", "id"), Column("position", "whole", rule=_NOT_NEGATIVE),
        Column("propensity", "number", rule=_SHARE), Column("event_id", "id"),
    ),
    "items": (
        Column("item_id", "id", required=True), Column("kind", "text", required=True, rule=_KIND),
        Column("title", "text"), Column("text", "text"), Column("category", "text"),
        Column("brand", "text"), Column("price", "number", rule=_NOT_NEGATIVE),
        Column("list_price", "number", rule=_NOT_NEGATIVE),
        Column("currency", "text", rule=_CURRENCY), Column("url", "text"),
        Column("image_url", "text"), Column("language", "text"), Column("published_at", "time"),
        Column("available", "flag"), Column("available_until", "time"),
        Column("sensitive", "flag"),
    ),
    "customers": (
        Column("user_id", "id", required=True), Column("first_name", "text"),
        Column("language", "text"), Column("joined_at", "time"), Column("country", "text"),
        Column("consent_personalise", "flag"), Column("consent_email", "flag"),
        Column("email_frequency_per_week", "number", rule=_NOT_NEGATIVE),
    ),
    "identities": (
        Column("visitor_id", "id", required=True), Column("user_id", "id", required=True),
        Column("linked_at", "time", required=True), Column("unlinked_at", "time"),
    ),
    "preferences": (
        Column("user_id", "id"), Column("visitor_id", "id"),
        Column("question", "text", required=True), Column("answer", "text", required=True),
        Column("answered_at", "time", required=True),
    ),
}  # fmt: skip
ONE_OF = {
    "events": ("user_id", "visitor_id", "session_id"),
    "preferences": ("user_id", "visitor_id"),
}
UNIQUE = {"items": "item_id", "customers": "user_id"}
IDS = {name: frozenset(c.name for c in table if c.kind == "id") for name, table in TABLES.items()}
TYPES = {
    "id": "string", "text": "string", "time": "timestamp('UTC', 6)", "number": "float64",
    "whole": "int64", "flag": "boolean",
}  # fmt: skip


def column_names(table: str) -> tuple[str, ...]:
    """The names of a table's columns, in order."""
    return tuple(column.name for column in TABLES[table])


def check(mapped: Mapped, name: str, zone: str, *, unique: bool = True) -> ir.Table:
    """Return `mapped` with exactly the contract's columns, its origin, and `reasons`.

    `reasons` is null for an accepted row, else an array of all that is wrong with the row. Naive
    times are read as local times of `zone`. `unique`: items and customers have one row each. Raises
    ConfigError when a required column is not mapped, or a column has a type that cannot be meant.
    """
    table = mapped.table
    missing = [c.name for c in TABLES[name] if c.required and c.name not in table.columns]
    if missing:
        raise ConfigError(
            f"sources.{name} has no {missing}; add `columns: {{{missing[0]}: <SQL expression>}}` "
            f"(the source has {[c for c in mapped.raw.columns if c not in ORIGIN]})"
        )
    values: dict[str, ir.Value] = {}
    faults: list[Fault] = []
    for column in TABLES[name]:
        values[column.name], wrong = _read(table, column, name, zone)
        faults += wrong
    if name in ONE_OF:
        nobody = ibis.and_(*(values[c].isnull() for c in ONE_OF[name]))
        faults.append((f"{', '.join(ONE_OF[name])} are all missing", nobody))
    faults = [(text, ibis.coalesce(wrong, False)) for text, wrong in faults]
    if unique and name in UNIQUE:
        faults.append(_repeated(table, values[UNIQUE[name]], UNIQUE[name], faults))
    typed = {c.name: values[c.name].cast(TYPES[c.kind]) for c in TABLES[name]}
    return table.select(*ORIGIN, **typed, reasons=_reasons(faults))


def accepted(checked: ir.Table) -> ir.Table:
    """The rows that keep the contract."""
    return checked.filter(checked.reasons.isnull()).drop("reasons")


def rejected(checked: ir.Table) -> ir.Table:
    """Origin and reasons of the rows that break it."""
    broken = checked.filter(checked.reasons.notnull())
    return broken.select(*ORIGIN, "reasons")


def _reasons(faults: list[Fault]) -> ir.ArrayValue:
    """All that is wrong with a row; built only for the rows where something is."""
    names = [ibis.ifelse(wrong, text, ibis.null("string")) for text, wrong in faults]
    found = ibis.array(names).filter(lambda reason: reason.notnull())
    broken = ibis.or_(*(wrong for _, wrong in faults))
    return ibis.ifelse(broken, found, ibis.null("array<string>"))


def _repeated(table: ir.Table, key: ir.Value, name: str, faults: list[Fault]) -> Fault:
    """The second sound row of one key, and all that follow it; a broken row takes no key."""
    sound = ~ibis.or_(*(wrong for _, wrong in faults))
    order = [table.source_file, table.source_row]
    before = ibis.window(group_by=key, order_by=order, preceding=(None, 1))
    earlier = ibis.coalesce(sound.cast("int64").sum().over(before), 0)
    return f"{name} was given before; its first row counts", key.notnull() & (earlier > 0)


def _read(table: ir.Table, column: Column, name: str, zone: str) -> tuple[ir.Value, list[Fault]]:
    """The column in its type, and what can be wrong with a value of it."""
    where = f"sources.{name}.columns.{column.name}"
    if column.name not in table.columns:
        return ibis.null(TYPES[column.kind]), []
    raw = table[column.name]
    if _says_nothing(table, raw, column.kind):
        missing = (f"{column.name} is missing", ibis.literal(True))
        return ibis.null(TYPES[column.kind]), [missing] if column.required else []
    _refuse_type(raw.type(), column.kind, where)
    value, given = _READERS[column.kind](raw, zone)
    faults = [(f"{column.name} {_MEANT[column.kind]}", given & value.isnull())]
    if column.required:
        faults.append((f"{column.name} is missing", ~given))
    if column.kind == "id":
        faults.append(
            (f"{column.name} is longer than {MAX_ID} characters", value.length() > MAX_ID)
        )
    if column.rule is not None:
        faults.append((f"{column.name} {column.rule[0]}", column.rule[1](value)))
    return value, faults


def _says_nothing(table: ir.Table, raw: ir.Value, kind: str) -> bool:
    """Whether a column is null all over: files without types then call it a number."""
    doubtful = kind == "time" and raw.type().is_integer()
    return raw.type().is_null() or (
        doubtful and not table.filter(raw.notnull()).limit(1).count().execute()
    )


def _refuse_type(given: dt.DataType, kind: str, where: str) -> None:
    """Raise ConfigError for a column of a type that cannot be meant."""
    if kind == "time" and (given.is_numeric() or given.is_boolean()):
        raise ConfigError(
            f"{where}: is a number, not a time; write `to_timestamp(column)` for seconds since "
            "1970, `make_timestamp_ms(column)` for milliseconds"
        )
    plain = given.is_numeric() or given.is_boolean() or given.is_string()
    fits = {
        "time": given.is_string() or given.is_timestamp() or given.is_date(),
        "id": plain or given.is_uuid() or given.is_temporal(),
        "text": plain or given.is_uuid() or given.is_temporal(),
    }
    if not fits.get(kind, plain):
        raise ConfigError(f"{where}: is of type {given}, which is no {kind}; write an expression "
                          "that makes one")  # fmt: skip


_MEANT = {
    "id": "is neither a whole number nor plain text", "text": "is no text", "time": "is no time",
    "number": "is no finite number", "whole": "is no whole number", "flag": "is neither yes nor no",
}  # fmt: skip
Read = tuple[ir.Value, ir.BooleanValue]  # the value, null where it cannot be had; was one given?


def unreadable(flag: str) -> str:
    """The reason against a row in which this flag cannot be read: of consent, a refusal."""
    return f"{flag} {_MEANT['flag']}"


def _text(raw: ir.Value, _zone: str) -> Read:
    text = raw.cast("string")
    given = raw.notnull() & (text.strip() != "")
    return ibis.ifelse(given, text, ibis.null("string")), given


def _id(raw: ir.Value, zone: str) -> Read:
    """Ids are text: whole floats lose their .0, every other spelling is kept."""
    if raw.type().is_decimal():
        raw = raw.cast("string").re_replace(r"\.0+$", "")
    if not raw.type().is_floating():
        text, given = _text(raw, zone)
        if not raw.type().is_string():
            return text, given
        return ibis.ifelse(text.re_search(r"\x00"), ibis.null("string"), text), given
    given = raw.notnull() & ~raw.isnan()
    return _exact(raw).cast("string"), given


def _exact(number: ir.FloatingValue) -> ir.IntegerValue:
    """Whole numbers out of floats, null where a float cannot tell them apart."""
    limit = EXACT_FLOAT[8 * number.type().nbytes]
    whole = (number.abs() <= limit) & (number == number.floor())
    return ibis.ifelse(whole, number, ibis.null(number.type())).cast("int64")


def _time(raw: ir.Value, zone: str) -> Read:
    given = raw.notnull()
    if raw.type().is_string():
        given = given & (raw.strip() != "")
        moment = _time_from_text(raw.strip(), zone)
    elif raw.type().is_timestamp() and raw.type().timezone is not None:
        moment = raw
    else:
        moment = local_to_utc(raw.cast("timestamp(6)"), zone)
    time = moment.cast(TYPES["time"])
    sane = time.between(ibis.timestamp("1900-01-01", timezone="UTC"),
                        ibis.timestamp("2200-01-01", timezone="UTC"))  # fmt: skip
    return ibis.ifelse(sane, time, ibis.null(TYPES["time"])), given


def _time_from_text(text: ir.StringValue, zone: str) -> ir.TimestampValue:
    """ISO 8601; without an offset it is a local time."""
    offset = text.re_search(r":\d\d(\.\d+)? ?(Z|z|UTC|[+-]\d\d(:?\d\d)?)$")
    local = local_to_utc(text.try_cast("timestamp(6)"), zone)
    return ibis.ifelse(offset, text.try_cast(TYPES["time"]), local)


def _number(raw: ir.Value, _zone: str) -> Read:
    given = raw.notnull()
    if raw.type().is_string():
        given = given & (raw.strip() != "")
    number = raw.try_cast("float64")
    given = given & ~ibis.coalesce(number.isnan(), False)  # pandas writes a missing number as NaN
    finite = given & ~number.isinf()
    return ibis.ifelse(finite, number, ibis.null("float64")), given


def _whole(raw: ir.Value, zone: str) -> Read:
    if raw.type().is_integer():
        return raw.try_cast("int64"), raw.notnull()
    number, given = _number(raw, zone)
    if raw.type().is_string():  # exactly, where a float would not
        return ibis.coalesce(raw.re_extract(r"^\s*([+-]?\d+)\s*$", 1).try_cast("int64"),
                             _exact(number)), given  # fmt: skip
    return _exact(number), given


def _flag(raw: ir.Value, _zone: str) -> Read:
    if raw.type().is_boolean():
        return raw, raw.notnull()
    text = raw.cast("string").strip().lower().re_replace(r"\.0+$", "")
    flag = ibis.cases(
        (text.isin(_FLAGS[True]), True),
        (text.isin(_FLAGS[False]), False),
        else_=ibis.null("boolean"),
    )
    return flag, raw.notnull() & text.notin(["", "nan"])


_READERS: dict[str, Callable[[ir.Value, str], Read]] = {
    "id": _id, "text": _text, "time": _time, "number": _number, "whole": _whole, "flag": _flag,
}  # fmt: skip
