"""Tables of what mailings brought, under which policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from scipy.stats import t as student

from benchmarks.mailings.sending import POLICIES
from benchmarks.mailings.shops import PLACES
from benchmarks.mailings.truth import Found

MEASURES = (  # words, of Found what, divided by what
    ("clicks", "clicks", "mails"), ("clicks", "clicks", "recipients"),
    ("EUR", "sales", "mails"), ("EUR", "sales", "recipients"),
)  # fmt: skip
PARTS = {"suppressed": "no mail", "left_out": "left out", "fallback": "less personal block"}


def tables(rows: Sequence[Found]) -> list[Table]:
    """What was brought, what `evidence` gains, how it fades, and why there was no mail."""
    return [_brought(rows), _gained(rows), _over_time(rows), _withheld(rows)]


def of_hundred(found: Found, what: str, whole: str) -> float:
    """The expected clicks or sales of 100 mails, or of 100 recipients with or without a mail."""
    return 100 * float(getattr(found, what)) / max(int(getattr(found, whole)), 1)


def gain(rows: Sequence[Found], over: str, what: str, whole: str) -> dict[str, float]:
    """What `evidence` has more than another policy, shop by shop: mean, and 95 % by Student's t.

    share: of the other's mean
    """
    by = {(one.seed, one.policy): of_hundred(one, what, whole) for one in rows}
    seeds = sorted({one.seed for one in rows})
    more = np.array([by[seed, "evidence"] - by[seed, over] for seed in seeds])
    base, half = float(np.mean([by[seed, over] for seed in seeds])), float("nan")
    if len(seeds) > 1:
        half = float(student.ppf(0.975, len(seeds) - 1) * more.std(ddof=1) / len(seeds) ** 0.5)
    return {"mean": float(more.mean()), "half": half, "share": float(more.mean()) / base}


def share(rows: Sequence[Found], policy: str, part: str, reason: str) -> float:
    """How many of all recipients of all mailings have this reason."""
    own = [one for one in rows if one.policy == policy]
    count = sum(int(getattr(one, part).get(reason, 0)) for one in own)
    return count / sum(one.recipients for one in own)


def _brought(rows: Sequence[Found]) -> Table:
    table = _titled(f"What mails bring: means of {len({one.seed for one in rows})} shops")
    _columns(table, "", "mails, %\nof recipients", *_measures("\n"),
             "one-to-one\nof items", "repeated\nitems")  # fmt: skip
    for policy, words in POLICIES.items():
        own = [one for one in rows if one.policy == policy]
        brought = [np.mean([of_hundred(one, *how) for one in own]) for _, *how in MEASURES]
        sent = sum(one.mails for one in own) / sum(one.recipients for one in own)
        shown = sum(one.items for one in own)
        personal = sum(count for one in own for name, count in one.rungs.items()
                       if name.endswith("one_to_one")) / shown  # fmt: skip
        repeated = sum(one.twice + one.again + one.from_site for one in own)
        table.add_row(words, f"{100 * sent:.1f}", *(f"{number:.1f}" for number in brought),
                      f"{personal:.0%}", f"{repeated} of {shown:,}")  # fmt: skip
    return table


def _gained(rows: Sequence[Found]) -> Table:
    table = _titled("By evidence, less the other policy: means over shops with 95 %")
    _columns(table, "", *_measures("\n"))
    for other in ("bestsellers", "one_to_one"):
        gains = [gain(rows, other, *how) for _, *how in MEASURES]
        told = (f"{g['mean']:+.2f} ± {g['half']:.2f}\n({g['share']:+.1%})" for g in gains)
        table.add_row(POLICIES[other], *told)
    return table


def _over_time(rows: Sequence[Found]) -> Table:
    table = _titled("Clicks of 100 items shown, mailing by mailing: the model grows older")
    mailings = len(rows[0].chances[PLACES[0]])
    _columns(table, "", *(f"{number + 1}." for number in range(mailings)))
    for place in PLACES:
        for policy, words in POLICIES.items():
            own = [one.chances[place] for one in rows if one.policy == policy]
            means = 100 * np.nanmean(np.array(own), axis=0)
            table.add_row(f"{place}, {words}", *(f"{mean:.1f}" for mean in means))
    return table


def _withheld(rows: Sequence[Found]) -> Table:
    table = _titled("Why there is no mail, or a less personal one: % of recipients")
    _columns(table, "", *POLICIES.values())
    for part, words in PARTS.items():
        reasons = Counter[str]()
        for one in rows:
            reasons.update(getattr(one, part))
        for reason, _ in reasons.most_common():
            shares = (share(rows, policy, part, reason) for policy in POLICIES)
            table.add_row(f"{words}: {reason}", *(f"{100 * one:.2f}" for one in shares))
    return table


def _titled(title: str) -> Table:
    return Table(title=title, title_justify="left")


def _columns(table: Table, *names: str) -> None:
    """The first to the left, numbers to the right."""
    for name in names:
        table.add_column(name, justify="right" if name else "left")


def _measures(between: str) -> list[str]:
    return [f"{words} of{between}100 {whole}" for words, _, whole in MEASURES]
