"""What was written of mailings, held against the truth of the simulated shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.mailings.shops import PLACES, WINDOW_DAYS, Week
from features.types import DAY_US, Float64
from simulation.appeal import click_probability
from simulation.buying import sales_of_a_look
from simulation.names import item_ids
from simulation.world import World


@dataclass(frozen=True, kw_only=True)
class Found:
    """What all mailings of one shop under one policy came to.

    recipients: of all mailings, with or without a mail
    suppressed: reason -> recipients without a mail
    left_out:   placement and reason -> blocks that mails lack
    fallback:   reason -> blocks that are less personal than they could be
    rungs:      placement and rung -> items
    twice, again, from_site: items that stand twice in their mail, that an earlier mail showed
                within the window, and that the site did
    clicks, sales: expected, of all mails together; sales in EUR
    clicks_of:  placement -> clicks
    chances:    placement -> mailing by mailing, the mean chance that an item shown is clicked
    """

    seed: int
    policy: str
    recipients: int
    mails: int
    suppressed: dict[str, int]
    left_out: dict[str, int]
    fallback: dict[str, int]
    items: int
    rungs: dict[str, int]
    twice: int
    again: int
    from_site: int
    clicks: float
    sales: float
    clicks_of: dict[str, float]
    chances: dict[str, list[float]]


@dataclass(frozen=True)
class Truth:
    """What is known of a shop, and the service is not told.

    site: user_id, item_id, seen_us: what stood on the front page, of whoever agreed to be known;
          what the others saw there must not be used
    """

    world: World
    site: pd.DataFrame

    @classmethod
    def of(cls, base: Path, world: World, weeks: Sequence[Week]) -> Truth:
        """Of the shop in `base`, in these weeks."""
        told = pd.read_parquet(base / "customers.parquet")
        agreed = set(told.user_id[told.consent_personalise])
        looks = [(user, item, feed.at_us) for week in weeks for feed in week.shown
                 if (user := feed.name[2:]) in agreed for item in feed.item_ids]  # fmt: skip
        return cls(world, pd.DataFrame(looks, columns=["user_id", "item_id", "seen_us"]))

    def brings(self, shown: pd.DataFrame) -> tuple[Float64, Float64]:
        """(n,) each: the chance that an item is clicked, and the EUR that this brings.

        shown: user_id, item_id, at_us per item of a mail
        """
        world = self.world
        rows = {name: row for row, name in enumerate(item_ids(world.catalogue))}
        item = np.array([rows[name] for name in shown.item_id], np.int64)
        person = np.array([int(name[1:]) - 1 for name in shown.user_id], np.int64)
        chance = click_probability(
            world.shelf, world.people, person, item, shown.at_us.to_numpy(np.int64)
        ).astype(np.float64)
        return chance, chance * sales_of_a_look(world, person, item)

    def repeats(self, shown: pd.DataFrame) -> tuple[int, int, int]:
        """`Found.twice`, `again` and `from_site` of what `brings` takes."""
        own = shown[["user_id", "item_id", "at_us"]]
        once, window_us = own.drop_duplicates().sort_values("at_us"), WINDOW_DAYS * DAY_US
        since_us = once.groupby(["user_id", "item_id"]).at_us.diff()
        met = once.merge(self.site, on=["user_id", "item_id"])
        ago_us = met.at_us - met.seen_us
        lately = met[(ago_us > 0) & (ago_us < window_us)].drop_duplicates(list(own.columns))
        return len(own) - len(once), int((since_us < window_us).sum()), len(lately)


def judged(seed: int, policy: str, blocks: pd.DataFrame, truth: Truth) -> Found:
    """What was written, against the truth; blocks: of all mailings as parts say, and `at_us`."""
    table = blocks[["decision", "reason"]].to_numpy().reshape(-1, len(PLACES), 2)
    none = (table[:, :, 0] == "suppress").all(axis=1)
    mails = blocks[~none.repeat(len(PLACES))]
    lacking = mails[mails.decision == "suppress"]
    shown = mails.explode(["item_ids", "item_rungs"]).dropna(subset=["item_ids"])
    shown = shown.rename(columns={"item_ids": "item_id"})
    clicks, sales = truth.brings(shown)
    known = shown.assign(clicks=clicks).pivot_table("clicks", "placement", "at_us", "mean")
    chances = known.reindex(index=PLACES, columns=blocks.at_us.unique())
    twice, again, from_site = truth.repeats(shown)
    return Found(
        seed=seed, policy=policy, recipients=len(none), mails=int((~none).sum()),
        suppressed=_counted(table[none, 0, 1]),
        left_out=_counted(lacking.placement + ": " + lacking.reason),
        fallback=_counted(mails.reason[mails.decision == "fallback"]),
        items=len(shown), rungs=_counted(shown.placement + ": " + shown.item_rungs),
        twice=twice, again=again, from_site=from_site,
        clicks=float(clicks.sum()), sales=float(sales.sum()),
        clicks_of={place: float(clicks[shown.placement == place].sum()) for place in PLACES},
        chances={place: chances.loc[place].tolist() for place in PLACES},
    )  # fmt: skip


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())
