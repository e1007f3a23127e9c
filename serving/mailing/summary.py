"""What a mailing comes to: who gets a mail and who does not, why, and what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice
from typing import Any

import msgspec

from features.config import Config
from serving.mailing.blocks import Blocks
from serving.mailing.dressing import whole
from serving.mailing.parts import Record
from training.catalogue import Catalogue
from training.rankers.base import as_indices

TOP = 20  # items that are named
Shares = dict[str, float]
Counts = dict[str, int]


class TopItem(msgspec.Struct, frozen=True):
    """An item and how many mails show it."""

    item_id: str
    title: str
    mails: int


class Cell(msgspec.Struct, frozen=True):
    """The recipients of one segment and stage; "" where they are of none, or it is not known."""

    segment: str
    stage: str
    decisions: Counts


class PlacementSummary(msgspec.Struct, frozen=True):
    """One block of the mails, over all recipients.

    reasons:  decision -> reason -> recipients
    rungs:    rung -> share of the items shown
    items:    shown, counted every time        different: how many different ones these are
    could_be: available items of the placement's kind
    coverage: different / could_be
    """

    decisions: Counts
    reasons: dict[str, Counts]
    rungs: Shares
    items: int
    different: int
    could_be: int
    coverage: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The file summary.json. Decisions are of whole mails, but under `placements`.

    mails:    recipients who get one
    reasons:  decision -> reason -> recipients; of several blocks that of the first with the mail's
              decision
    messages: key message -> blocks that show it
    repeated: items that stand twice in one mail, over all mails: 0, or something is wrong
    seconds:  that writing the files took
    """

    mailing: str
    model_version: str
    rules_version: str
    recipients: int
    mails: int
    decisions: Counts
    reasons: dict[str, Counts]
    segments: dict[str, Counts]
    stages: dict[str, Counts]
    cells: list[Cell]
    rungs: Shares
    messages: Counts
    top_items: list[TopItem]
    placements: dict[str, PlacementSummary]
    repeated: int
    seconds: float


class Tally:
    """Counts part by part; needs memory for items and for kinds of recipients, not for each."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._mails: Counter[tuple[str, str, str, str]] = Counter()  # decision, reason, who
        self._blocks: Counter[tuple[str, str, str]] = Counter()  # placement, decision, reason
        self._items: dict[str, Counter[str]] = {one: Counter() for one in record.placements}
        self._rungs: dict[str, Counter[str]] = {one: Counter() for one in record.placements}
        self._messages: Counter[str] = Counter()
        self._repeated = 0

    def add(self, blocks: Blocks) -> None:
        """Count the recipients of one part."""
        each = len(self._record.placements)
        self._blocks.update(zip(blocks.placements, blocks.decisions, blocks.reasons, strict=True))
        for place, name in enumerate(self._record.placements):
            for counter, lists in (
                (self._items, blocks.item_ids),
                (self._rungs, blocks.item_rungs),
            ):
                counter[name].update(chain.from_iterable(islice(lists, place, None, each)))
        told = zip(blocks.messages, blocks.item_ids, strict=True)
        self._messages.update(message for message, items in told if message and items)
        for row in range(0, len(blocks), each):
            self._mails[_mail(blocks, row, row + each)] += 1
            shown = list(chain.from_iterable(blocks.item_ids[row : row + each]))
            self._repeated += len(shown) - len(set(shown))

    def told(self, catalogue: Catalogue, config: Config, seconds: float) -> Summary:
        """What it all comes to."""
        record, every = self._record, sum(self._items.values(), Counter[str]())
        decisions = _counts(self._mails, lambda key: key[0])
        rungs = sum(self._rungs.values(), Counter[str]())
        return Summary(
            mailing=record.mailing, model_version=record.model_version,
            rules_version=record.rules_version, recipients=sum(self._mails.values()),
            mails=sum(self._mails.values()) - decisions.get("suppress", 0),
            decisions=decisions, reasons=_nested(self._mails, lambda key: key[:2]),
            segments=_nested(self._mails, lambda key: (key[2], key[0])),
            stages=_nested(self._mails, lambda key: (key[3], key[0])),
            cells=self._cells(), rungs=_shares(rungs), messages=dict(self._messages.most_common()),
            top_items=[TopItem(one, _title(catalogue, one), mails) for one, mails in _top(every)],
            placements={name: self._placement(name, catalogue, config) for name in self._items},
            repeated=self._repeated, seconds=round(seconds, 3),
        )  # fmt: skip

    def _cells(self) -> list[Cell]:
        found = _nested(self._mails, lambda key: (key[2:], key[0]))
        return [Cell(segment, stage, counts) for (segment, stage), counts in found.items()]

    def _placement(self, name: str, catalogue: Catalogue, config: Config) -> PlacementSummary:
        own = Counter({key[1:]: times for key, times in self._blocks.items() if key[0] == name})
        items, kind = self._items[name], config.placements[name].kind
        could_be = len(as_indices(catalogue.shown(kind)))
        return PlacementSummary(
            _counts(own, lambda key: key[0]), _nested(own, lambda key: key),
            _shares(self._rungs[name]), items.total(), len(items), could_be,
            round(len(items) / could_be, 4) if could_be else 0.0,
        )  # fmt: skip


def _mail(blocks: Blocks, begin: int, end: int) -> tuple[str, str, str, str]:
    """Decision and reason of a whole mail, and the segment and stage of who it is for."""
    decisions = blocks.decisions[begin:end]
    decision = whole(set(decisions))
    reason = blocks.reasons[begin + list(decisions).index(decision)]
    return decision, reason, blocks.segments[begin], blocks.stages[begin]


def _counts(counter: Mapping[Any, int], key: Callable[[Any], str]) -> Counts:
    """Put together by a part of the key, the most frequent first."""
    found: Counter[str] = Counter()
    for one, times in counter.items():
        found[key(one)] += times
    return dict(found.most_common())


def _nested(counter: Mapping[Any, int], keys: Callable[[Any], Any]) -> dict[Any, Counts]:
    """The same by two parts of the key, one below the other; the largest first."""
    found: dict[Any, Counter[str]] = {}
    for one, times in counter.items():
        outer, inner = keys(one)
        found.setdefault(outer, Counter())[inner] += times
    by_size = sorted(found.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return {outer: dict(inner.most_common()) for outer, inner in by_size}


def _shares(counter: Counter[str]) -> Shares:
    total = counter.total()
    return {name: round(times / total, 4) for name, times in counter.most_common()}


def _top(items: Counter[str]) -> Iterable[tuple[str, int]]:
    """The most frequent ones; of equal counts the lower id first."""
    return sorted(items.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]


def _title(catalogue: Catalogue, item_id: str) -> str:
    return catalogue.name(int(catalogue.find([item_id])[0]))
