"""Which version is served: pointer and alias move in one step, a record keeps whose word it was.

The record, `champions.jsonl`, only ever grows: a line per change, on disk before the command ends.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from features.config import Config
from features.experiments import models_of
from features.feature_set import FeatureSet
from features.home import Home, Progress, silent, written_beside
from training.bundle import Bundle, NoModel
from training.probes import checked

if TYPE_CHECKING:
    from training.gate import Verdict
    from training.tracking import Tracker

ANY = "any"  # champion; no version is called so
LOCK = "promote.lock"  # whoever moves the pointer or removes a bundle holds it

How = Literal["gate", "retrain", "force", "back", "unjudged", "found"]


class Overtaken(ValueError):
    """The champion changed while a new one was judged against it."""


@dataclass(frozen=True)
class Word:
    """Why a version is served.

    how: it passed the gate; so it did in `feeds retrain`; somebody forced it, or went back to it;
         nobody judged it; it was found serving, and no record says why
    """

    how: How = "unjudged"
    why: str = ""

    def __post_init__(self) -> None:
        if self.how == "force" and not self.why.strip():
            raise ValueError("forcing a model needs a reason: --force --why TEXT")


@dataclass(frozen=True)
class Reign:
    """A version and when it was champion, ISO 8601 in UTC; until None: it is champion now."""

    version: str
    since: str
    until: str | None
    how: How
    by: str
    why: str


@dataclass(frozen=True)
class Promotion:
    """What is served from now on, and what was before.

    repaired: what pointer and alias disagreed about, if they did
    gone:     versions that were to come back, and why they cannot
    lacking:  versions that arms of its config name, and why nobody will be in their experiments
    """

    version: str
    before: str | None
    repaired: str
    gone: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What the gate said of a version, None where it serves already; the promotion if it passed."""

    version: str
    verdict: Verdict | None
    promotion: Promotion | None


def promote(
    config: Config, home: Home, version: str | None = None, word: Word | None = None, *,
    expected: str | None = ANY,
) -> Promotion:  # fmt: skip
    """Serve `version` (v3 or 3; None: the newest): alias and pointer move in one step.

    expected: the champion that it was judged against, None for none

    Nobody judges it here. Raises NoModel for what is not there or cannot be opened, and Overtaken
    when another than `expected` serves by now; then nothing has moved.
    """
    from training.tracking import Tracker

    with home.locked(LOCK):
        return _moved(Tracker(home, config), version, word or Word(), expected)


def _moved(
    tracker: Tracker, version: str | None, word: Word, expected: str | None = ANY
) -> Promotion:
    """As `promote`, for who holds the lock."""
    home, bundle = tracker.home, at_hand(tracker, version)
    wanted, before, champion = bundle.version, home.current(), tracker.champion()
    if expected not in (ANY, before):
        raise Overtaken(
            f"{wanted} was judged against {expected or 'no champion'}; by now "
            f"{before or 'nothing'} serves, so the champion changed while judging; run it again"
        )
    lacking = _arms_at_hand(tracker, bundle)
    agreed = before == (None if champion is None else f"v{champion}")
    repaired = "" if agreed else f"CURRENT named {before}, the alias v{champion}"
    _record_what_serves(home, before)
    tracker.set_champion(int(wanted[1:]))
    with written_beside(home.pointer) as beside:
        beside.write_text(f"{wanted}\n", encoding="utf-8")
    if wanted != before:
        _append(home, wanted, word, datetime.now(UTC))
    return Promotion(wanted, before, repaired, lacking=lacking)


def promote_if_it_passes(
    config: Config, home: Home, version: str | None = None, *, word: Word | None = None,
    features: FeatureSet | None = None, progress: Progress = silent,
) -> Judged:  # fmt: skip
    """Serve `version` when the gate lets it through; what serves already is not judged.

    word: whose it is, the gate's own by default        features: see `gate.judge`

    Raises Overtaken when the champion changed meanwhile.
    """
    from training import gate
    from training.tracking import Tracker

    challenger = at_hand(Tracker(home, config), version)
    mine, champion = challenger.version, home.current()
    if mine == champion:
        return Judged(mine, None, promote(config, home, mine, expected=champion))
    verdict = gate.judge(config, home, challenger, progress, features)
    told = replace(word or Word("gate"), why=verdict.summary)
    done = promote(config, home, mine, told, expected=champion) if verdict.passed else None
    return Judged(mine, verdict, done)


def back(config: Config, home: Home) -> Promotion:
    """Serve again what was served before the champion; versions that are gone are left out.

    Which one that is and the move are one step: two who go back at once go back two steps.
    """
    from training.tracking import Tracker

    gone: list[str] = []
    with home.locked(LOCK):
        for version in _earlier(home):
            try:
                done = _moved(Tracker(home, config), version, Word("back"))
            except NoModel as error:
                gone.append(str(error))
            else:
                return replace(done, gone=tuple(gone))
    told = "; ".join(["the record knows no champion before this one", *gone])
    raise NoModel(f"cannot go back: {told}. Name a version: feeds promote VERSION")


def reigns(home: Home) -> list[Reign]:
    """Every champion of the record, oldest first."""
    lines = list(_lines(home))
    ends = [following["since"] for _, following in pairwise(lines)]
    return [Reign(until=end, **line) for line, end in zip(lines, [*ends, None], strict=False)]


def withdrawn(home: Home) -> set[str]:
    """Versions that somebody went back from or forced another upon, and that never served since."""
    record = reigns(home)
    following = [*(reign.how for reign in record[1:]), None]
    ended = {reign.version: how for reign, how in zip(record, following, strict=False)}
    return {version for version, how in ended.items() if how in ("back", "force")}


def at_hand(tracker: Tracker, version: str | None) -> Bundle:
    """The bundle of a registered version (None: the newest), fetched when it is not here.

    Raises NoModel; what cannot be opened or fails its checks must not be served.
    """
    numbers = tracker.versions()
    wanted = _number(version) if version else (numbers[-1] if numbers else None)
    if wanted is None or wanted not in numbers:
        known = [f"v{number}" for number in numbers] or "none; run `feeds train`"
        raise NoModel(f"no model {version or 'at all'} is registered; there are {known}")
    target = tracker.home.bundles / f"v{wanted}"
    if not target.exists():
        tracker.home.bundles.mkdir(parents=True, exist_ok=True)
        tracker.fetch(wanted, target)
    return checked(target)


def _arms_at_hand(tracker: Tracker, bundle: Bundle) -> tuple[str, ...]:
    """Fetch what arms of its experiments name, for workers fetch nothing; what cannot be had."""
    lacking = []
    for version in models_of(bundle.config.experiments, datetime.now(UTC)):
        try:
            at_hand(tracker, version)
        except NoModel as error:
            lacking.append(f"nobody is in the experiments on {version}: {error}")
    return tuple(lacking)


def _number(version: str) -> int | None:
    with suppress(ValueError):
        return int(version.removeprefix("v"))
    return None


def _earlier(home: Home) -> list[str]:
    """Champions to go back to, the last one first; who was undone is none of them."""
    stack: list[str] = []
    for line in _lines(home):
        if line["how"] == "back" and line["version"] in stack:
            while stack[-1] != line["version"]:
                stack.pop()
        else:
            stack.append(line["version"])
    return [one for one in dict.fromkeys(reversed(stack)) if one != home.current()]


def _lines(home: Home) -> Iterator[dict[str, Any]]:
    """The record; a line that a crash has cut short is left out."""
    if home.champions.exists():
        for text in home.champions.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):
                yield json.loads(text)


def _record_what_serves(home: Home, before: str | None) -> None:
    """A version that serves and is not the last of the record came by another way; say so."""
    last = [line["version"] for line in _lines(home)][-1:]
    if before is not None and last != [before]:
        written = datetime.fromtimestamp(home.pointer.stat().st_mtime, UTC)
        _append(home, before, Word("found"), written)


def _append(home: Home, version: str, word: Word, since: datetime) -> None:
    """One line more, on disk when this returns."""
    line = {"version": version, "since": since.isoformat(), "by": _who(), **asdict(word)}
    with home.champions.open("a+b") as record:
        if record.tell() and not _ends_with_a_line(record):
            record.write(b"\n")
        record.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        record.flush()
        os.fsync(record.fileno())


def _ends_with_a_line(record: Any) -> bool:
    record.seek(-1, os.SEEK_END)
    return bool(record.read(1) == b"\n")


def _who() -> str:
    """FEEDS_BY, else the name of the user at the operating system."""
    if told := os.environ.get("FEEDS_BY"):
        return told
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
