"""`feeds report fallbacks`: what requests got, how personal it was, and why it was not more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from command import pages, plots, show
from command.decision_counts import Cell, Counts, Got, counted
from command.facts import percent
from command.heat import RUNG_WORDS
from command.sections import Section
from features.config import RUNGS, Config
from features.home import Home
from features.types import DAY_US, from_us
from serving.why import WHY

DAYS = 7
FALLBACK, NOTHING = "fallback", "nothing shown"
_RUNGS: Mapping[str, str] = {str(rung): words for rung, words in RUNG_WORDS.items()}
_COLOURS = {
    "one-to-one": "c0", "segment": "c5", "context": "c2", "one for all": "other",
    FALLBACK: "c1", NOTHING: "c3",
}  # fmt: skip
_JUMP, _ENOUGH = 0.05, 100  # what is worth a look: so much more than before, of so many decisions


def fallbacks_report(config: Config, base: Path, home: Home, days: int | None = None) -> Path:
    """Count the decisions of the last days, show them, and write the page; returns where it lies.

    days: default DAYS. Raises ValueError where there is nothing to count.
    """
    with show.progress_bar() as progress:
        counts = counted(config, home, days or DAYS, progress)
    found, worth = sections(counts), attention(counts)
    for section in found:
        pages.tell(section)
    for sentence in worth:
        show.console.print(f"look at this: {sentence}", style="yellow", markup=False)
    target = home.root / "reports" / "fallbacks.html"
    page = pages.write(
        "fallbacks_report.html", target, shop=base.resolve().name, first=_day(counts.days[0]),
        last=_day(counts.days[-1]), headlines=headlines(counts), attention=worth, sections=found,
    )  # fmt: skip
    show.console.print(f"the same with pictures: {page}", soft_wrap=True, highlight=False)
    return page


def kinds(cell: Cell) -> dict[str, float]:
    """Shares of the decisions: shown on each rung as wanted, from a lower one, not at all."""
    found = dict.fromkeys(_COLOURS, 0)
    for (decision, rung, _), times in cell.got.items():
        found[_kind(decision, rung)] += times
    return {kind: times / len(cell) for kind, times in found.items()}


def headlines(counts: Counts) -> dict[str, str]:
    """The few numbers to read first."""
    whole = _whole(counts)
    part, (median, most) = kinds(whole), whole.milliseconds()
    return {
        "decisions": f"{len(whole):,}",
        "shown, one-to-one": percent(part["one-to-one"]),
        "from a lower rung than could be": percent(part[FALLBACK]),
        "nothing shown": percent(part[NOTHING]),
        "milliseconds, median": f"{median:.1f}",
        "milliseconds, 99 of 100 within": f"{most:.1f}",
    }


def attention(counts: Counts) -> list[str]:
    """What is worth a look: the newest day against the days before, and lines that were lost."""
    found = []
    for placement in counts.by(lambda placement, *_: placement):
        days = counts.of(str(placement)).by(lambda *place: place[2])
        *before, newest = days.values()
        past = Cell()
        for one in before:
            past.add(one)
        if min(len(past), len(newest)) < _ENOUGH:
            continue
        for kind in (FALLBACK, NOTHING):
            was, now = kinds(past)[kind], kinds(newest)[kind]
            if now - was > _JUMP:
                found.append(f"{placement}: {kind} {percent(now)} on {_day(int(max(days)))}, "
                             f"{percent(was)} in the days before")  # fmt: skip
    if counts.torn:
        found.append(f"lines of the log that cannot be read and are not counted: {counts.torn:,}")
    return found


def sections(counts: Counts) -> list[Section]:
    """Every part of the report, in the order of reading."""
    places = [str(name) for name in counts.by(lambda placement, *_: placement)]
    return [
        _overview("What each placement got", "placement", counts.by(lambda name, *_: name)),
        *(_placement(name, counts.of(name)) for name in places),
        _reasons(counts),
        _suppressed(counts),
        _rankers(counts),
        _overview("Model versions", "version", counts.by(lambda _, version, __: version)),
    ]


def _overview(title: str, what: str, cells: dict[str | int, Cell]) -> Section:
    rows = []
    for name, cell in cells.items():
        part, (median, most) = kinds(cell), cell.milliseconds()
        shown = 1 - part[FALLBACK] - part[NOTHING]
        rows.append((str(name), f"{len(cell):,}", percent(shown), percent(part[FALLBACK]),
                     percent(part[NOTHING]), f"{median:.1f}", f"{most:.1f}"))  # fmt: skip
    return Section(
        title, "Shown: on the rung that the person could have. Fallback: a lower rung spoke first. "
        "Nothing: suppressed.",
        "Time is that of the decision itself: half within the first figure, 99 of 100 within the "
        "second.",
        (what, "decisions", "shown", "fallback", "nothing", "ms, half", "ms, 99 %"), rows,
    )  # fmt: skip


def _placement(name: str, counts: Counts) -> Section:
    """How personal a placement was, day by day."""
    days = counts.by(lambda *place: place[2])
    part, daily = kinds(_whole(counts)), [kinds(cell) for cell in days.values()]
    used = [kind for kind in _COLOURS if part[kind]]
    series = {kind: np.array([one[kind] for one in daily]) for kind in used}
    total = len(_whole(counts))
    return Section(
        f"How personal: {name}",
        "The rung of what was shown; fallback and nothing shown apart.",
        "A share that jumps from one day to the next has a cause: a model, a rule, stock, consent.",
        ("got", "decisions", "share"),
        [(kind, f"{round(part[kind] * total):,}", percent(part[kind])) for kind in used],
        plot=plots.shares(np.array(list(days), dtype=np.int64), series, _COLOURS),
    )  # fmt: skip


def _reasons(counts: Counts) -> Section:
    return Section(
        "Why the rung was not higher",
        "Decisions below one-to-one, by the reason that the answer gave.",
        "Many unknown users say that the log and the site do not name people alike.",
        ("placement", "rung", "reason", "means", "decisions", "share"),
        _by_reason(counts, _lower, lambda got: (_RUNGS[got[1]], *_worded(got[2]))),
        4,
    )  # fmt: skip


def _suppressed(counts: Counts) -> Section:
    rows = _by_reason(counts, lambda got: got[0] == "suppress", lambda got: _worded(got[2]))
    return Section(
        "Nothing shown, by reason", "Requests that were answered with an empty feed.", "",
        ("placement", "reason", "means", "decisions", "share"), rows, 3,
        notes=[] if rows else ["none: every request got a feed"],
    )  # fmt: skip


def _by_reason(
    counts: Counts, wanted: Callable[[Got], bool], words: Callable[[Got], tuple[str, ...]]
) -> Sequence[tuple[str, ...]]:
    """Per placement what `wanted` leaves, put together by its words, the most frequent first."""
    rows = []
    for name, cell in counts.by(lambda placement, *_: placement).items():
        found: Counter[tuple[str, ...]] = Counter()
        for got, times in cell.got.items():
            if wanted(got):
                found[words(got)] += times
        rows += [(str(name), *told, f"{times:,}", percent(times / len(cell)))
                 for told, times in found.most_common()]  # fmt: skip
    return rows


def _rankers(counts: Counts) -> Section:
    rows = []
    for name, cell in counts.by(lambda placement, *_: placement).items():
        items = cell.items()
        rows += [(str(name), ranker, f"{times:,}", percent(times / items.total()))
                 for ranker, times in items.most_common()]  # fmt: skip
    return Section(
        "Who chose the items", "Items shown, by the ranker that put them there.",
        "Rules are pins and promotions, chance is exploration; of a listing page the first hundred "
        "places count.",
        ("placement", "ranker", "items", "share"), rows, 2,
    )  # fmt: skip


def _kind(decision: str, rung: str) -> str:
    if decision == "suppress":
        return NOTHING
    return FALLBACK if decision == "fallback" else _RUNGS[rung]


def _lower(got: Got) -> bool:
    return got[0] != "suppress" and got[1] != RUNGS[-1]


def _worded(reason: str) -> tuple[str, str]:
    return reason, WHY.get(reason, "")


def _whole(counts: Counts) -> Cell:
    return next(iter(counts.by(lambda *_: "").values()))


def _day(day: int) -> str:
    return f"{from_us(day * DAY_US):%Y-%m-%d}"
