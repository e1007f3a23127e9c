"""`make bench-replay`: the article log's last month, through the running service and offline.

A model is trained as of a month before the end of the log. Then every visit asks for a feed just
before its first event: once `feeds rank --stream` answers all of them, and once the service, which
is told every event of the month in its order, each request sent before the events of its moment.
Both know the same, so both must answer the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import typer
from rich.console import Console

from benchmarks.serving import report
from benchmarks.serving.callers import Caller, one_of_each
from benchmarks.serving.place import PLACE
from benchmarks.serving.servers import serving
from command.demo import bring_example
from features.config import Config, load_config
from features.home import Home
from features.training_options import RankerName
from features.types import DAY_US, Float64, Ragged, from_us
from training.batch import Wish, rank_people
from training.bundle import open_bundle
from training.evaluation import metrics
from training.jobs import train
from training.promotion import promote

EXAMPLE, SIZE, DIGITS = "deskdrop", 20, 3
QUICK = ["popularity", "transitions", "session_neighbours", "neighbours", "als", "blend"]
_AT_ONCE = 1000  # events in one call
console = Console()


@dataclass(frozen=True)
class Visit:
    """A request just before the first event of a visit, and what the visit then wanted."""

    at_us: int
    user_id: str
    wanted: list[str]


@dataclass(frozen=True)
class Compared:
    """ndcg@20 of the same requests both ways; where feeds first differ, None: nowhere."""

    requests: int
    offline: float
    served: float
    same_feeds: int
    first_difference: dict[str, Any] | None

    @property
    def agree(self) -> bool:
        """To the third digit."""
        return round(self.offline, DIGITS) == round(self.served, DIGITS)


def log_of(config: Config, base: Path) -> pd.DataFrame:
    """The log as the shop would send it: the contract's columns, in order of time."""
    source = config.sources.events
    assert source.path is not None  # the example reads files
    (file,) = (path for path in base.glob(source.path) if path.is_file())
    columns = ", ".join(f"{made} AS {name}" for name, made in source.columns.items())
    reader = "read_parquet" if file.suffix == ".parquet" else "read_csv"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        query = f"SELECT {columns} FROM {reader}(?, file_row_number = true)"
        rows = connection.execute(f"{query} ORDER BY file_row_number", [str(file)])
        found: pd.DataFrame = rows.to_arrow_table().to_pandas()
    moments = found.pop("occurred_at").to_numpy("datetime64[us]").astype(np.int64)
    return found.assign(occurred_us=moments).sort_values("occurred_us", kind="stable")


def visits(log: pd.DataFrame, cut_us: int, signals: Sequence[str]) -> list[Visit]:
    """Every visit that begins after the cut and wants what its person had not read before."""
    liked = log[log["event_type"].isin(signals)]
    first = liked.drop_duplicates(["user_id", "item_id"])  # the first time of each: in time order
    begins = log.groupby("session_id", sort=False)["occurred_us"].transform("min")
    new = first[(begins[first.index] > cut_us)]
    found = [
        Visit(int(begins[own.index[0]]), str(user), [str(one) for one in own["item_id"]])
        for (_, user), own in new.groupby(["session_id", "user_id"], sort=False)
    ]
    return sorted(found, key=lambda visit: (visit.at_us, visit.user_id))


def offline(home: Home, asked: Sequence[Visit], stream: Path) -> list[list[str]]:
    """What `feeds rank --stream` answers."""
    people = pa.table({
        "person_id": [str(number) for number in range(len(asked))],
        "user_id": [visit.user_id for visit in asked],
        "at": pa.array([visit.at_us for visit in asked], pa.timestamp("us", "UTC")),
    })  # fmt: skip
    ranked = rank_people(open_bundle(home, None), people, Wish(SIZE, stream=stream))
    feeds: list[list[str]] = [[] for _ in asked]
    for person, item in zip(ranked["person_id"].to_pylist(), ranked["item_id"].to_pylist(),
                            strict=True):  # fmt: skip
        feeds[int(person)].append(item)
    return feeds


def script(asked: Sequence[Visit], log: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """Paths and bodies in order: before each request all events strictly before its moment."""
    times, done = log["occurred_us"].to_numpy(), 0
    for visit in asked:
        now = int(np.searchsorted(times, visit.at_us))
        for begin in range(done, now, _AT_ONCE):
            told = [_event(row) for row in _rows(log, begin, min(begin + _AT_ONCE, now))]
            yield "/events", {"events": told}
        done = now
        at = from_us(visit.at_us).isoformat()
        yield "/feed", {"placement": "home", "user_id": visit.user_id, "size": SIZE, "at": at}


def served(caller: Caller, asked: Sequence[Visit], log: pd.DataFrame) -> list[list[str]]:
    """What the service answers."""
    answers = [(path, caller.ask(path, body)) for path, body in script(asked, log)]
    feeds = [answer["items"] for path, answer in answers if path == "/feed"]
    return [[one["item_id"] for one in feed] for feed in feeds]


def _rows(log: pd.DataFrame, begin: int, end: int) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], log.iloc[begin:end].to_dict("records"))


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row as `/events` wants it: ids are text, what is missing is left out."""
    told = {name: str(value) for name, value in row.items()
            if name != "occurred_us" and not pd.isna(value)}  # fmt: skip
    return {**told, "occurred_at": from_us(int(row["occurred_us"])).isoformat()}


def compare(
    asked: Sequence[Visit], ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]
) -> Compared:
    """Both ways on the same requests."""
    same = [list(a) == list(b) for a, b in zip(ours, theirs, strict=True)]
    return Compared(
        len(asked), float(ndcg(asked, ours).mean()), float(ndcg(asked, theirs).mean()),
        sum(same), None if all(same) else _difference(asked, ours, theirs, same.index(False)),
    )  # fmt: skip


def ndcg(asked: Sequence[Visit], feeds: Sequence[Sequence[str]]) -> Float64:
    """(n,) ndcg@20 of each feed, by what its visit wanted."""
    numbers: dict[str, int] = {}
    shown = np.full((len(asked), SIZE), -1, dtype=np.int32)
    for row, feed in enumerate(feeds):
        shown[row, : len(feed)] = [numbers.setdefault(item, len(numbers)) for item in feed]
    rows = [sorted(numbers.setdefault(item, len(numbers)) for item in one.wanted) for one in asked]
    truth = Ragged.of(rows)
    return metrics.ndcg(metrics.hits(shown, truth), np.diff(truth.indptr), SIZE)


def _difference(
    asked: Sequence[Visit], ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]], row: int
) -> dict[str, Any]:
    pairs = list(zip(ours[row], theirs[row], strict=False))
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return {
        "request": row, "at": from_us(asked[row].at_us).isoformat(), "user_id": asked[row].user_id,
        "place": place + 1, "offline": list(ours[row]), "served": list(theirs[row]),
    }  # fmt: skip


def trained(base: Path, cut_us: int, rankers: Sequence[str]) -> Home:
    """A promoted model of all that happened up to the cut; kept under `base`."""
    config = load_config(base / "feeds.yaml")
    home = Home(base / f".feeds-{cut_us}-{'-'.join(sorted(rankers))}")
    if home.current() is None:
        names = cast(list[RankerName], list(rankers))
        version = train(config, base, home, rankers=names, as_of=from_us(cut_us)).version
        promote(config, home, version)
    for kept in home.root.glob("state.db*"):  # what a run before this one told the service
        kept.unlink()
    return home


def main(
    data: Annotated[Path, typer.Option(envvar="FEEDS_DATA", help="where the logs lie")],
    days: Annotated[float, typer.Option(help="of the log's end that are replayed")] = 30,
    ranker: Annotated[list[str] | None, typer.Option(help="which to fit")] = None,
    most: Annotated[int | None, typer.Option(help="only the first requests")] = None,
    place: Annotated[Path, typer.Option(help="what a next run need not do again")] = PLACE,
    out: Annotated[Path, typer.Option(help="all numbers")] = PLACE / "replay.json",
) -> None:
    """The same requests to `feeds rank --stream` and to the running service."""
    base = bring_example(EXAMPLE, data / EXAMPLE, place / "replay").parent
    config = load_config(base / "feeds.yaml")
    log = log_of(config, base)
    cut_us = int(log["occurred_us"].max() - days * DAY_US)
    home = trained(base, cut_us, ranker or QUICK)
    liked = [name for name, signal in config.signals.items() if signal.weight > 0]
    asked = visits(log, cut_us, liked)[:most]
    (stream,) = (base / "data").iterdir()
    ours = offline(home, asked, stream)
    with serving(home) as server:
        theirs = served(one_of_each(server)[0], asked, log[log["occurred_us"] > cut_us])
    found = compare(asked, ours, theirs)
    console.print(
        f"{found.requests:,} requests: ndcg@{SIZE} {found.offline:.5f} offline, {found.served:.5f} "
        f"served, {'equal' if found.agree else 'NOT equal'} to the third digit; "
        f"{found.same_feeds:,} feeds are the same"
    )
    if found.first_difference:
        console.print(found.first_difference)
    report.write(out, {**found.__dict__, "agree": found.agree})


if __name__ == "__main__":
    typer.run(main)
