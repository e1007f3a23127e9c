"""What one person is not shown again: bought or shown lately, or seen often and never clicked.

A feed that may not repeat itself, and rules that look at what was seen, ask what was shown before.
What a mail had may not have been looked at: it was not seen, but its placement does not repeat it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from features.types import DAY_US, Int32, Int64
from serving.asking import Asker
from serving.desk import Desk
from training.policy import People
from training.ruling import Ruling


def tired_of(desk: Desk, asker: Asker, people: People, where: tuple[str, Ruling | None]) -> Int32:
    """Sorted item indices that placement and rules keep from a batch of one."""
    found = list(_tired(desk, asker, people, where))
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int32)


def _tired(
    desk: Desk, asker: Asker, people: People, where: tuple[str, Ruling | None]
) -> Iterator[Int32]:
    placement, ruling = where
    histories = people.known.histories
    if ruling is not None and ruling.repurchase_days is not None:
        had = np.array(desk.bundle.config.had_signals(), dtype=np.bool_)
        yield histories.items[ruling.bought_lately(histories, had)]
    if not asker.consent:
        return
    if ruling is not None and ruling.seen:
        items, times = _shown(desk, asker.recalled.shown)
        yield ruling.seen_too_often(items, times, people.queries.histories.items, asker.now_us)
    if days := desk.bundle.config.placements[placement].not_repeated_for_days:
        both = (*asker.recalled.shown, *asker.recalled.mailed)
        items, times = _shown(desk, [one for one in both if one[1] == placement])
        yield items[times > asker.now_us - days * DAY_US]


def _shown(
    desk: Desk, feeds: Sequence[tuple[int, str, list[str]]]
) -> tuple[Int32, Int64]:  # fmt: skip
    """(m,) what a person was shown in these, and when."""
    shown = [(one, when) for when, _, ids in feeds for one in ids]
    items = desk.living.catalogue.find([one for one, _ in shown])
    times = np.array([when for _, when in shown], dtype=np.int64)
    return items[items >= 0], times[items >= 0]
