"""For an item, a category or a key message: the customers who are most likely to care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from features.config import KINDS
from features.home import Progress, silent, written_beside
from features.lifecycle import STAGES
from features.messages import Message, in_order
from features.segments import settled_name
from features.types import Bool, Float64, Int32, Int64, from_us, row_numbers
from training.bundle import Bundle, NoModel, terms
from training.evaluation.evidence import UNKNOWN
from training.people import people_of
from training.policy import Step, kept_away
from training.rankers.base import as_indices

CHUNK = 512  # customers scored at once
AUDIENCE = pa.schema(
    {
        "user_id": pa.string(), "target": pa.string(), "place": pa.int32(), "lift": pa.float32(),
        "stage": pa.string(), "segment": pa.string(), "gain": pa.float32(), "low": pa.float32(),
        "high": pa.float32(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What people are to be told of: some items, by index."""

    name: str
    items: Int32

    @classmethod
    def item(cls, bundle: Bundle, item_id: str) -> Target:
        """One item; raises ValueError when the model does not know it or it is not available."""
        index = int(bundle.catalogue.find([item_id])[0])
        if index < 0:
            raise ValueError(f"--item: the model does not know {item_id!r}")
        if not bundle.catalogue.available[index]:
            raise ValueError(f"--item: {item_id!r} is not available; nobody should be told of it")
        return cls(item_id, np.array([index], dtype=np.int32))

    @classmethod
    def category(cls, bundle: Bundle, path: str) -> Target:
        """The available items of a category and all below it."""
        wanted = path.strip("/").lower()
        paths = (bundle.catalogue.categories[index] for index in range(len(bundle.catalogue)))
        inside = [f"{own or ''}/".lower().startswith(f"{wanted}/") for own in paths]
        items = np.flatnonzero(np.array(inside, dtype=np.bool_) & bundle.catalogue.available)
        if not items.size:
            raise ValueError(f"--category: no available item is in {path!r}")
        return cls(path, items.astype(np.int32))


@dataclass(frozen=True)
class Found:
    """An audience, and who is not in it: reason -> customers."""

    table: pa.Table
    left_out: dict[str, int]


def audience(
    bundle: Bundle, targets: Sequence[Target], most: int, progress: Progress = silent
) -> Found:
    """At most `most` customers for each target, everybody in one audience only.

    A customer's place for a target is that of its best item in an order of the whole catalogue that
    rests on their history; what they have or do not want is left out. `lift` is how much nearer to
    the top that is than for the customer in the middle: it decides between targets, so that what is
    popular does not take everybody. `gain` is the evidence for feeds of the person's cell.

    returns: rows of AUDIENCE, target by target, highest lift first
    """
    customers = np.flatnonzero(np.char.startswith(bundle.persons.ids.astype(str), "u:"))
    agreed = customers[np.asarray(bundle.consent)[customers]]
    places = np.full((agreed.size, len(targets)), np.inf)
    step = _speaker(bundle)
    for start in range(0, agreed.size, CHUNK):
        progress("looking for people", start / agreed.size)
        rows = slice(start, start + CHUNK)
        places[rows] = _places(bundle, step, agreed[rows], targets)
    some = np.isfinite(places).any(axis=1)
    left_out = {"no consent": int(customers.size - agreed.size),
                "nothing to go by, or they have it": int((~some).sum())}  # fmt: skip
    chosen = _chosen(places[some], most)
    return Found(_table(bundle, agreed[some], places[some], targets, chosen), left_out)


def message_audience(
    bundle: Bundle, known: Sequence[Message], names: Sequence[str], most: int
) -> Found:
    """At most `most` customers for each named key message, everybody in one audience only.

    A message is for its segment, stage and language, in whatever placement; who fits several is
    told the one that comes first (see `features.messages.in_order`). `lift` is how alive somebody's
    interest is beside that of the customer in the middle; `gain` is the evidence for feeds of the
    person's cell.
    Raises ValueError for a message that is not among the `known`, that is not told at this moment,
    or whose segment the model does not have.

    returns: rows of AUDIENCE without a place, message by message, highest lift first
    """
    messages = _messages(bundle, known, names)
    customers = np.flatnonzero(np.char.startswith(bundle.persons.ids.astype(str), "u:"))
    agreed = customers[np.asarray(bundle.consent)[customers]]
    told = list(dict.fromkeys(message.called for message in messages))
    own = np.array([_told(bundle, messages, told, int(row)) for row in agreed], dtype=np.int64)
    alive = _alive(bundle, agreed)
    left_out = {"no consent": int(customers.size - agreed.size),
                "in no segment, stage and language of these": int((own < 0).sum())}  # fmt: skip
    parts = [AUDIENCE.empty_table()]
    for number, name in enumerate(told):
        mine = np.flatnonzero(own == number)
        mine = mine[np.lexsort((mine, -alive[mine]))][:most]
        nowhere = np.full(mine.size, np.nan)
        parts.append(_rows(bundle, agreed[mine], name, None, (nowhere, alive[mine])))
    return Found(pa.concat_tables(parts), left_out)


def _messages(bundle: Bundle, known: Sequence[Message], names: Sequence[str]) -> list[Message]:
    """The named ones in all their languages, in the order in which they are told."""
    now, segments = from_us(bundle.now_us()), list(bundle.manifest["segments"])
    found = []
    for name in dict.fromkeys(names):
        every = [one for one in known if one.called == name]
        if not every:
            called = list(dict.fromkeys(one.called for one in known))
            raise ValueError(f"--message: the config has no message {name!r}; it has {called}")
        own = [one for one in every if one.holds(now)]
        if not own:
            raise ValueError(f"--message: {name!r} is not told at {now:%Y-%m-%d %H:%M} UTC")
        for segment in (one.segment for one in own):
            if segment is not None and segment not in segments:
                raise ValueError(
                    f"--message: {name!r} is for the segment {segment!r}, which model "
                    f"{bundle.version} does not have; it has {segments}"
                )
        found += own
    return in_order(found)


def _told(bundle: Bundle, messages: Sequence[Message], names: Sequence[str], row: int) -> int:
    """The place among `names` of what a person is told, -1 for nothing."""
    segment, stage = _group(bundle, row)
    language = bundle.contacts.languages[row] or bundle.config.shop.language
    fit = (one for one in messages if one.fits(segment, stage, language, None))
    return next((names.index(one.called) for one in fit), -1)


def _group(bundle: Bundle, row: int) -> tuple[str | None, str | None]:
    """The segment and the stage of a person."""
    segment, stage = int(bundle.segments[row]), int(bundle.stages[row])
    return (bundle.manifest["segments"][segment] if segment >= 0 else None,
            STAGES[stage] if stage >= 0 else None)  # fmt: skip


def _alive(bundle: Bundle, rows: Int64) -> Float64:
    """(n,) the decayed interest of each over that of the customer in the middle."""
    histories = bundle.timelines.take(rows).histories(bundle.as_of_us, bundle.config.signals)
    total = np.asarray(histories.interest().sum(axis=1), dtype=np.float64).ravel()
    middle = float(np.median(total)) if total.size else 0.0
    return total / middle if middle > 0 else total


def check(out: Path) -> None:
    """Raises ValueError for a file that cannot be written."""
    if out.suffix not in (".parquet", ".csv"):
        raise ValueError(f"--out: {out} should end in .parquet or .csv")


def write(found: Found, out: Path) -> None:
    """As Parquet, or CSV where the name ends in .csv; raises ValueError for other names."""
    check(out)
    with written_beside(out) as beside:
        if out.suffix == ".csv":
            pa.csv.write_csv(found.table, beside)
        else:
            pq.write_table(found.table, beside)


def _speaker(bundle: Bundle) -> Step:
    """Who orders the whole catalogue for a history: the highest step that is not the blend."""
    steps = [s for s in bundle.ladder if s.rung == "one_to_one" and not s.ranker.only_had]
    for step in steps:
        if step.name != "blend":  # it orders what the others would show, not everything
            return step
    raise NoModel(
        f"model {bundle.version} has no ranker that orders the catalogue for a person's history; "
        "train one of als, ease, neighbours, sequence or content"
    )


def _places(bundle: Bundle, step: Step, rows: Int64, targets: Sequence[Target]) -> Float64:
    """(n, targets) the place of each target's best item, inf where there is none."""
    names = [[bundle.persons.text(int(row))] for row in rows]
    people = people_of(bundle, names, [np.empty(0, np.int32)] * len(names))
    found = np.full((len(names), len(targets)), np.inf)
    scores = step.ranker.score(people.known).astype(np.float64)
    rules = terms(bundle.config, bundle.catalogue, slice(0, len(bundle.catalogue)), 1)
    away = kept_away(people, rules)
    scores[row_numbers(away.indptr), away.values] = np.nan
    for column, target in enumerate(targets):
        kind = KINDS[bundle.catalogue.kinds[target.items[0]]]
        everything = scores[:, as_indices(bundle.catalogue.shown(kind))]
        best = np.where(np.isnan(scores[:, target.items]), -np.inf, scores[:, target.items])
        top = best.max(axis=1)
        known = np.isfinite(top)
        found[known, column] = 1 + (everything[known] > top[known, None]).sum(axis=1)
    return found


def _lift(places: Float64) -> Float64:
    """(n, targets) typical place of the target over the person's; 0 where there is none."""
    known = np.where(np.isfinite(places), places, np.nan)
    with np.errstate(all="ignore"):
        typical = np.nanmedian(known, axis=0) if len(places) else np.ones(places.shape[1])
    return np.nan_to_num(typical / known, nan=0.0)


def _chosen(places: Float64, most: int) -> list[Int64]:
    """Per target its people, highest lift first; each person where their own lift is highest."""
    lift = _lift(places)
    nearest = np.lexsort((places, -lift), axis=1) if len(lift) else np.empty((0, 1), np.int64)
    own = nearest[:, 0]  # of equal lifts the nearer to the top
    found = []
    for column in range(places.shape[1]):
        mine: Bool = (own == column) & np.isfinite(places[:, column])
        rows = np.flatnonzero(mine)
        found.append(rows[np.lexsort((rows, -lift[rows, column]))][:most])
    return found


def _table(
    bundle: Bundle, rows: Int64, places: Float64, targets: Sequence[Target],
    chosen: Sequence[Int64],
) -> pa.Table:  # fmt: skip
    lift, parts = _lift(places), []
    for column, (target, mine) in enumerate(zip(targets, chosen, strict=True)):
        kind = KINDS[bundle.catalogue.kinds[target.items[0]]]
        figures = places[mine, column], lift[mine, column]
        parts.append(_rows(bundle, rows[mine], target.name, kind, figures))
    return pa.concat_tables(parts)


def _rows(
    bundle: Bundle, who: Int64, target: str, kind: str | None, figures: tuple[Float64, Float64]
) -> pa.Table:
    """Rows of AUDIENCE; figures: each one's place, NaN without one, and lift."""
    places, lift = figures
    groups = [_group(bundle, int(row)) for row in who]
    told = [_expected(bundle, kind, stage, segment) for segment, stage in groups]
    return pa.table({
        "user_id": [bundle.persons.text(int(row)).removeprefix("u:") for row in who],
        "target": [target] * who.size,
        "place": [None if np.isnan(place) else int(place) for place in places],
        "lift": lift.astype(np.float32),
        "stage": [stage for _, stage in groups], "segment": [segment for segment, _ in groups],
        **{key: [None if one is None else one[key] for one in told]
           for key in ("gain", "low", "high")},
    }, schema=AUDIENCE)  # fmt: skip


def _expected(
    bundle: Bundle, kind: str | None, stage: str | None, segment: str | None
) -> dict[str, float] | None:
    """What a feed on the rung that pays gains for people of this cell who have just come."""
    if bundle.evidence is None:
        return None
    group = UNKNOWN if segment is None else settled_name(bundle.config.segments, segment)
    cell = bundle.evidence.cell("arriving", kind, "email", stage or UNKNOWN, group)
    return None if cell is None else cell.later
