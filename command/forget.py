"""`feeds forget`: block a person at once, keep the proof, say what remains; docs/erasure.md."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from command import show
from features.config import Config
from features.erasure import Proof, proofs
from features.home import Home
from features.stores import store_of
from serving.state import Forget, Recalled, State, StateUnavailable
from serving.states import state_of
from training.bundle import Bundle, NoModel, bundle_versions
from training.forgetting import Settled, record, settle
from training.people import devices_of


@dataclass(frozen=True)
class Blocked:
    """What the state has forgotten.

    names:  marked, of one person        at_us: up to when
    found:  what the state knew of them  others: devices that are another customer's by now
    """

    names: list[str]
    at_us: int
    found: list[str]
    others: list[str]


def forget(config: Config, home: Home, user_id: str | None, visitors: Sequence[str]) -> None:
    """Forget one person under all names; raises ValueError where the state cannot be reached."""
    try:
        blocked = asyncio.run(_block(config, home, user_id, visitors))
    except StateUnavailable as error:
        raise ValueError(f"nobody was forgotten: {error}") from None
    proof = record(config, home, blocked.names, blocked.at_us, blocked.found)
    show.console.print(_done(proof, store_of(home, config.service.state_url)))
    for device in blocked.others:
        show.console.print(f"left alone: the device {device} is another customer's by now",
                           style="yellow", markup=False)  # fmt: skip
    show.console.print(f"the proof record: {home.proofs / proof.pseudonyms[0]}.json",
                       soft_wrap=True, highlight=False)  # fmt: skip
    show.console.print("next: `feeds retrain`, which makes and serves a model without this person")


def pending(config: Config, home: Home) -> None:
    """Write the proofs of whom the service forgot; close all that can be closed."""
    settled(settle(config, home))
    listed(home)


def listed(home: Home) -> None:
    """All proofs, open and closed."""
    found = proofs(home)
    if not found:
        show.console.print("nobody has been forgotten here")
        return
    table = Table(title="The forgotten", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("proof", "names", "forgotten at", "by", "contained in", "closed at", "free"):
        table.add_column(heading, overflow="fold")
    for one in found:
        left = [v for v in one.versions if v not in {gone.version for gone in one.removed}]
        table.add_row(
            one.pseudonyms[0], str(len(one.pseudonyms)), one.forgotten_at[:19], one.by,
            ", ".join(one.versions if one.closed_at else left) or "none",
            (one.closed_at or "open")[:19], one.free_version or "",
        )  # fmt: skip
    show.console.print(table)


def settled(done: Settled) -> None:
    """What became of the proofs; says nothing where there were none."""
    if done.removed:
        show.console.print(f"removed, for they contained forgotten people: "
                           f"{', '.join(done.removed)}")  # fmt: skip
    if done.closed:
        show.console.print(f"proofs of forgotten people that are closed now: {len(done.closed)}")
    if not done.open:
        return
    show.console.print(f"PROOFS THAT STAY OPEN: {len(done.open)}. Forgotten people are still in:",
                       style="red")  # fmt: skip
    for what, why in done.remains.items():
        show.console.print(f"  {what}: {why}", style="red", soft_wrap=True)
    show.console.print(
        "`feeds retrain` makes and serves a model without them. Where the gate refuses that one: "
        'feeds promote VERSION --force --why "erasure". What a running service still holds goes '
        "with `feeds forget --pending` a moment later.", style="red", soft_wrap=True,
    )  # fmt: skip


async def _block(
    config: Config, home: Home, user_id: str | None, visitors: Sequence[str]
) -> Blocked:
    """Write the wish into the state, for all names that state and models know of."""
    state, bundles = state_of(home, config), _bundles(home)
    try:
        customer = user_id or await _owner(state, bundles, visitors)
        devices = {one: await state.recall(None, one) for one in visitors}
        if taken := [one for one, known in devices.items() if _anothers(known, customer)]:
            raise ValueError(
                f"the device {taken[0]!r} is another customer's by now; unlink it first, or "
                "forget that customer"
            )
        for bundle in bundles if customer else ():
            for one in devices_of(bundle, str(customer)):
                devices.setdefault(one, await state.recall(None, one))
        own = [one for one, known in devices.items() if not _anothers(known, customer)]
        found = [await state.recall(customer, None)] if customer else []
        found += [devices[one] for one in own if devices[one].customer is None]
        at_us = _moment(config, home, bundles, found)
        wishes = [Forget(user_id=customer, at_us=at_us)] if customer else []
        await state.write([*wishes, *(Forget(visitor_id=one, at_us=at_us) for one in own)])
    finally:
        await state.close()
    linked = [name for one in found for name in one.visitors]
    names = ([f"u:{customer}"] if customer else []) + [f"v:{one}" for one in [*own, *linked]]
    others = [one for one in devices if one not in own]
    return Blocked(list(dict.fromkeys(names)), at_us, _counted(found), others)


def _bundles(home: Home) -> list[Bundle]:
    """All models on this disk that can be opened, oldest first."""
    found = []
    for version in bundle_versions(home):
        with suppress(NoModel):
            found.append(Bundle.open(home.bundles / version))
    return found


async def _owner(state: State, bundles: Sequence[Bundle], visitors: Sequence[str]) -> str | None:
    """Whose the first of these devices is: what the state says, else the newest model's log."""
    known = await state.recall(None, visitors[0])
    if known.customer is not None or known.unlinked or known.shared or not bundles:
        return known.customer
    device, newest = [f"v:{visitors[0]}"], bundles[-1]
    row = int(newest.devices.find(device)[0])
    if row < 0 or newest.shared.indices(device)[0] >= 0:
        return None
    return newest.persons.text(row).removeprefix("u:")


def _anothers(device: Recalled, customer: str | None) -> bool:
    return device.customer not in (None, customer)


def _moment(
    config: Config, home: Home, bundles: Sequence[Bundle], found: Sequence[Recalled]
) -> int:
    """Up to when: the present, or where the clock is `as_of` the last that anything here knows."""
    if config.shop.clock == "now":
        return time.time_ns() // 1000
    known = [bundle.as_of_us for bundle in bundles]
    known += [json.loads(file.read_text(encoding="utf-8"))["as_of_us"]
              for file in home.feature_sets.glob("[!.]*/manifest.json")]  # fmt: skip
    known += [at_us for one in found for _, _, at_us, _ in one.events]
    return max(known, default=time.time_ns() // 1000)


def _counted(found: Sequence[Recalled]) -> list[str]:
    """What the state knew, for the record."""
    counts = {what: sum(len(getattr(one, what)) for one in found)
              for what in ("events", "answers", "shown", "mailed")}  # fmt: skip
    return [f"of these {count} {what}" for what, count in counts.items() if count]


def _done(proof: Proof, store: str) -> Table:
    """What was done, and what remains. store: in words, where the wish was written."""
    table = Table(title="Forgotten", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("what", "how it stands"):
        table.add_column(heading, overflow="fold")
    table.add_row(
        "running services",
        f"with their state in {store}: refuse this person from the next request on",
    )
    for one in proof.erased:
        table.add_row(one, "erased")
    remain = [("models", proof.versions), ("feature sets", proof.feature_sets)]
    for what, which in remain:
        told = f"{', '.join(which)}: until `feeds retrain`" if which else "none contains them"
        table.add_row(what, told, style="yellow" if which else None)
    return table
