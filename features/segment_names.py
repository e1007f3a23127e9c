"""What groups of people are called: by the features in which they differ most from all others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from features.types import Float64

HOUR = "preferred_hour"
MAX_NAME = 60  # characters
TYPICAL = "about average"
_SLIGHT = 0.3  # standard deviations: a group nowhere so far from the rest is a typical one
_NOTABLE = 0.5  # standard deviations: from so many on a second and third phrase is worth saying
_MOST = 3  # phrases, and figures in a description


@dataclass(frozen=True)
class Trait:
    """One people feature as it is scaled and spoken of; an empty phrase is not said."""

    theme: str  # a name says one thing per theme
    high: str
    low: str
    figure: str  # "{}" is the number
    number: str = "{:,.0f}"
    skewed: bool = True  # a count, an amount or an age: read as log1p
    none: str | None = None  # said instead of `low` of a group that has none of it


TRAITS = {
    "recency_days": Trait("recency", "last here long ago", "here recently",
                          "last here {} days ago"),
    "days_since_order": Trait("recency", "last order long ago", "ordered recently",
                              "last order {} days ago"),
    "orders": Trait("orders", "orders often", "orders rarely", "{} orders each", "{:,.1f}",
                    none="no orders yet"),
    "days_between_orders": Trait("orders", "orders at long intervals", "orders at short intervals",
                                 "{} days between orders"),
    "sessions": Trait("activity", "visits often", "visits rarely", "{} visits each", "{:,.1f}"),
    "events": Trait("activity", "very active", "hardly active", "{} events each"),
    "items": Trait("activity", "looks at many things", "looks at few things", "{} items each"),
    "value": Trait("value", "high value", "low value", "{} spent each", none=""),
    "order_value": Trait("value", "large orders", "small orders", "{} per order"),
    "share_discounted": Trait("discount", "buys discounted", "buys at full price",
                              "{} bought discounted", "{:.0%}", skewed=False),
    HOUR: Trait("hour", "", "", "mostly around {}", "{:02.0f}:00"),
    "tenure_days": Trait("tenure", "known for long", "new here", "known for {} days"),
}  # fmt: skip
CHANNELS = {"email": "by e-mail", "push": "by push message", "store": "in the store"}
DAYTIMES = {5: "at night", 12: "mornings", 17: "afternoons", 22: "evenings", 24: "at night"}


def trait(name: str) -> Trait:
    """How a feature is spoken of; raises ValueError for one that is not."""
    kind, _, of = name.partition(": ")
    if name in TRAITS:
        return TRAITS[name]
    if kind == "interest" and of:
        return Trait("interest", of, "", f"{{}} of interest in {_plain(of)}", "{:.0%}", False)
    if kind == "channel" and of:
        where = CHANNELS.get(of, f"on the {of}")
        return Trait("channel", where, "", f"{{}} {_plain(where)}", "{:.0%}", False)
    raise ValueError(
        f"people cannot be grouped by {name!r}: choose from {sorted(TRAITS)}, "
        "'interest: CATEGORY' and 'channel: NAME'"
    )


def _plain(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Profile:
    """What sets groups apart.

    effects: (n_groups, n_features) mean difference from all, in standard deviations; of the hour
             its size, less where the hours of a group disagree
    means:   (n_groups, n_features) of what is known, NaN where nothing is; hours of the day whole
    overall: (n_features,) the same of all
    """

    features: list[str]
    effects: Float64
    means: Float64
    overall: Float64

    def ranked(self, group: int) -> tuple[list[int], list[int]]:
        """Known features by effect, the strongest first: one of each theme, and the others."""
        sizes = np.round(np.abs(self.effects[group]), 3)
        order = np.argsort(-sizes, kind="stable")
        known = order[~np.isnan(self.means[group, order])].tolist()
        first: dict[str, int] = {}
        for feature in known:
            first.setdefault(trait(self.features[feature]).theme, feature)
        leading = list(first.values())
        return leading, [feature for feature in known if feature not in leading]

    def phrase(self, group: int, feature: int) -> str:
        """What to say of a group's feature; empty: nothing."""
        name, mean = self.features[feature], self.means[group, feature]
        spoken = trait(name)
        if name == HOUR:
            return next(text for until, text in DAYTIMES.items() if mean < until)
        if self.effects[group, feature] > 0:
            return spoken.high
        return spoken.none if mean == 0 and spoken.none is not None else spoken.low


def named(profile: Profile, kept: Mapping[int, str], taken: Collection[str]) -> list[str]:
    """A name for every group: its old one in `kept`, else one that nobody has.

    A name is one to three phrases and at most `MAX_NAME` characters. Groups that would be called
    the same say one thing more, else they are counted.
    """
    names = dict(kept)
    used = {*taken, *kept.values()}
    for group in range(len(profile.effects)):
        if group not in names:
            names[group] = next(name for name in _proposals(profile, group) if name not in used)
            used.add(names[group])
    return [names[group] for group in range(len(profile.effects))]


def _proposals(profile: Profile, group: int) -> Iterator[str]:
    """Names for a group, the best first, without end."""
    leading, others = (
        [(phrase, abs(profile.effects[group, feature])) for feature in features
         if (phrase := profile.phrase(group, feature))]
        for features in profile.ranked(group)
    )  # fmt: skip
    strongest = leading[0][1] if leading else 0.0
    enough = max(_NOTABLE, strongest / 2)
    telling = [phrase for phrase, effect in leading if effect >= enough][:_MOST]
    if not telling:
        telling = [TYPICAL] if strongest < _SLIGHT else [leading[0][0]]
    yield _joined(telling)
    yield from (_joined([*telling, more]) for more, _ in leading + others if more not in telling)
    yield from (f"{_joined(telling, MAX_NAME - 6)} {number}" for number in count(2))


def _joined(phrases: Sequence[str], most: int = MAX_NAME) -> str:
    """As many of the phrases as fit; the first is cut where it is too long alone."""
    name = phrases[0] if len(phrases[0]) <= most else phrases[0][: most - 1] + "…"
    for phrase in phrases[1:]:
        name = f"{name}, {phrase}" if len(name) + len(phrase) + 2 <= most else name
    return name


def described(profile: Profile, group: int, size: int) -> str:
    """How many people a group has, and the figures that set it apart, against those of all."""
    figures = []
    for feature in profile.ranked(group)[0][:_MOST]:
        spoken = trait(profile.features[feature])
        mean, all_mean = (
            spoken.number.format(number)
            for number in (profile.means[group, feature], profile.overall[feature])
        )
        figures.append(f"{spoken.figure.format(mean)} (all: {all_mean})")
    people = f"{size:,} {'person' if size == 1 else 'people'}"
    return f"{people}; {', '.join(figures)}" if figures else people
