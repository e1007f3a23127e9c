"""What every request of a worker shares: the living world, the rules, what each placement shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from features.config import RUNGS, Config, Placement, Rung
from features.decided import own_salt
from features.experiments import CHAMPION, Experiment, Treatment, arms_of, terms_of
from features.lifecycle import STAGES
from features.mail_options import EMAIL
from features.messages import Message, in_order
from features.types import Float32, Int32, from_us, to_us
from serving.api import Moment
from serving.asking import Asker
from serving.decisions import DecisionLog
from serving.living import Living
from serving.rulebook import Rulebook
from serving.shelf import Shelf
from serving.state import Met, State
from training.bundle import Bundle, terms
from training.policy import People, Step, Terms
from training.rankers.base import Queries
from training.ruling import Ruling

if TYPE_CHECKING:
    from serving.mailing.mailer import Mailer

_MET = 50_000  # names that this worker has told the store of
_SOON = 5.0  # seconds after which the store knows a name that it was told of
_CARDS = 20_000  # items whose details are kept ready; each takes about a kilobyte


class BadRequest(ValueError):
    """A request that is well-formed and means nothing here."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Deal(NamedTuple):
    """The arms of a request, and what they make of it."""

    arms: dict[str, str]
    treatment: Treatment


@dataclass
class Desk:
    """A model version in this worker, ready to answer.

    others: desks of the versions that arms of experiments name; whoever is in such an arm is
            answered there (`dealing.dealt`)
    mailer: what mails are written with (`mailing.opening.equipped`)
    """

    living: Living
    state: State
    rulebook: Rulebook
    log: DecisionLog
    salt: bytes = field(repr=False)
    messages: list[Message] = field(init=False)
    experiments: list[Experiment] = field(init=False)  # those that are dealt
    others: dict[str, Desk] = field(default_factory=dict, repr=False)
    mailer: Mailer | None = field(default=None, repr=False)
    no_mails: str = "this desk writes no mails"  # why, where there is no mailer
    equipped: int = -1  # the reading of the config that the mailer was made of
    random: np.random.Generator = field(default_factory=np.random.default_rng)
    _minding: frozenset[str] = field(init=False, repr=False)
    _shelves: dict[str, tuple[int, Shelf]] = field(default_factory=dict)
    _terms: dict[str, Terms] = field(default_factory=dict)
    _cards: dict[int, dict[str, Any]] = field(default_factory=dict)
    _met: dict[str, tuple[float, str]] = field(default_factory=dict)  # when, and the salt
    _new: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out what does not move."""
        config = self.bundle.config
        self.messages = in_order(config.messages)
        self.experiments = self._dealt()
        places = config.placements.items()
        self._terms = {name: _usual(self.bundle, place) for name, place in places}
        self._minding = frozenset(name for name, place in places if _minds(config, place))

    def _dealt(self) -> list[Experiment]:
        """An experiment with a version that is not here is dealt to nobody."""
        here = {None, CHAMPION, self.bundle.version, *self.others}
        return [
            one for one in self.bundle.config.experiments
            if all(arm.model in here for arm in one.dealt.values())
        ]  # fmt: skip

    def join(self, other: Desk) -> None:
        """Let another version answer whoever is in an arm that names it."""
        self.others[other.bundle.version] = other
        self.experiments = self._dealt()

    @property
    def together(self) -> list[Desk]:
        """This one and those of other versions."""
        return [self, *self.others.values()]

    @property
    def bundle(self) -> Bundle:
        """The living one."""
        return self.living.bundle

    @property
    def ladder(self) -> Sequence[Step]:
        """Of the living bundle."""
        return self.living.bundle.ladder

    def placement(self, name: str, *, for_feeds: bool = False) -> Placement:
        """The placement of this name; BadRequest says which there are, or that it has no feeds."""
        found = self.bundle.config.placements.get(name)
        if found is None:
            known = list(self.bundle.config.placements)
            raise BadRequest("placement", f"there is no placement {name!r}; there are {known}")
        if for_feeds and found.sort_only:
            raise BadRequest("placement", f"{name!r} is sort_only: it has its items; ask `sort`")
        return found

    def now_us(self, at: Moment | None) -> int:
        """The moment of asking: the wall's, or where the clock is `as_of` the newest event's.

        There a request may say a later moment of its own: how a log is replayed.
        """
        if self.bundle.config.shop.clock == "now":
            if at is not None:
                raise BadRequest("at", "only a shop with `clock: as_of` can be asked of a moment")
            now = self.bundle.now_us()
        else:
            now = self.living.newest_us if at is None else to_us(at)
        self.living.advance(now)
        self.sync()
        return now

    def deal(self, asker: Asker, visitor_id: str | None, placement: str) -> Deal:
        """The arms that this person is in here and now; a stranger is in none."""
        unit = asker.user_id or visitor_id
        if not self.experiments or unit is None or asker.unheard:
            return Deal({}, Treatment())
        arms = arms_of(self.experiments, unit, from_us(asker.now_us), placement)
        return Deal(arms, terms_of(self.experiments, arms))

    def terms(self, placement: str, lower: Sequence[Rung | None], size: int | None) -> Terms:
        """What a feed must be here: of several limits the lowest holds."""
        usual, shelf = self._terms[placement], self.shelf(placement)
        rung = min((r for r in (*lower, usual.highest_rung) if r), key=RUNGS.index)
        wanted = size or usual.size
        if (rung, wanted) == (usual.highest_rung, usual.size) and usual.open is shelf.open:
            return usual
        found = replace(
            usual, items=shelf.items, open=shelf.open, size=wanted, highest_rung=rung,
            min_items=min(usual.min_items, wanted),
        )  # fmt: skip
        if (rung, wanted) == (usual.highest_rung, usual.size):
            self._terms[placement] = found  # until something changes on the shelf
        return found

    def ruling(
        self, placement: str, people: People, highest: Rung, rules: str | None
    ) -> Ruling | None:
        """What the merchant's rules come to here for a batch of one; None: there are none.

        highest: a lower limit than `segment` asks for no segment and no stage
        rules:   the set that an experiment's arm turns on
        """
        queries, segment, stage = people.known, -1, -1
        if RUNGS.index(highest) >= RUNGS.index("segment"):
            segment, stage = int(queries.segment[0]), int(queries.stage[0])
        names = self.bundle.manifest["segments"]
        return self.rulebook.ruling(
            placement, int(queries.now_us[0]), names[segment] if segment >= 0 else None,
            STAGES[stage] if stage >= 0 else None, rules,
        )  # fmt: skip

    def sync(self) -> None:
        """Let cards and rules know of items that are others than before."""
        if not self.living.changed:
            return
        items = np.array(sorted(self.living.changed), dtype=np.int32)
        self.living.changed.clear()
        for item in items.tolist():
            self._cards.pop(item, None)
        self.rulebook.changed(items)
        if self.mailer is not None:
            self.mailer.changed(items)

    def popularity(self) -> Float32:
        """(n_items,) float32, how much everybody wants each item of late; higher is more."""
        step = next(step for step in reversed(self.ladder) if step.rung == "one_for_all")
        nobody = Queries.of_strangers(1, len(self.living.catalogue), self.living.newest_us)
        scores: Float32 = step.ranker.score(nobody)[0]
        return scores

    def shelf(self, placement: str) -> Shelf:
        """What may be shown here now; worked out when something has changed."""
        found = self._shelves.get(placement)
        if found is None or found[0] != self.living.version:
            kind = self.bundle.config.placements[placement].kind
            found = self._shelves[placement] = (self.living.version, Shelf.of(self.living, kind))
        return found[1]

    def meet(self, name: str) -> str:
        """The salt of somebody whom the store does not know yet; `introduce` tells it of many.

        A salt that the store should know by now and does not is one of somebody forgotten: it is
        not used again.
        """
        now = time.monotonic()
        at, own = self._met.get(name, (-_SOON, ""))
        if now - at >= _SOON:
            if len(self._met) >= _MET:
                self._met.clear()
            own = own_salt()
            self._met[name] = now, own
            self._new[name] = own
        return own

    def introduce(self) -> None:
        """Let the store know who has been met; once is enough, and twice does no harm."""
        if self._new:
            salts, self._new = self._new, {}
            self.state.note(Met(salts=salts))

    def minds_what_was_shown(self, placement: str) -> bool:
        """Does a rule here, or a mail that may not repeat the site, ask what somebody was shown?"""
        return placement in self._minding or self.rulebook.asks_what_was_seen(placement)

    def card(self, item: int) -> dict[str, Any]:
        """The details of an item, kept ready."""
        found = self._cards.get(item)
        if found is None:
            if len(self._cards) >= _CARDS:
                self._cards.clear()
            found = self._cards[item] = self.living.catalogue.details(item)
        return found

    def found(self, item_ids: Sequence[str]) -> tuple[Int32, list[str]]:
        """The items that are known, and the ids of the others."""
        if not item_ids:
            return np.empty(0, np.int32), []
        rows = self.living.catalogue.find(item_ids)
        unknown = [one for one, row in zip(item_ids, rows.tolist(), strict=True) if row < 0]
        return rows[rows >= 0], unknown


def _minds(config: Config, placement: Placement) -> bool:
    """May this placement, or a mail that shows the same kind, not repeat what was shown here?"""
    if placement.not_repeated_for_days:
        return True
    if config.mail.repeats_site:
        return False
    return any(
        other.channel == EMAIL and bool(other.not_repeated_for_days)
        and (placement.kind is None or other.kind in (None, placement.kind))
        for other in config.placements.values()
    )  # fmt: skip


def _usual(bundle: Bundle, placement: Placement) -> Terms:
    """The terms of a placement, before it is known who asks and what is there."""
    return terms(
        bundle.config, bundle.catalogue, slice(0, 0), placement.size,
        highest_rung=placement.highest_rung, min_items=placement.min_items,
        on_too_few=placement.on_too_few,
        ceiling=bundle.ceiling(placement.channel, placement.kind),
    )  # fmt: skip
