"""A new model meets what is served, and the floors, on the same people of the test slice.

Recipes are compared, not fitted models: the challenger's and the champion's are fitted on the same
past, so that neither has newer data than the other. Then the challenger as it is stored meets its
own recipe. It has seen the test slice, so it must do at least as well there as the recipe that has
not, and every ranker must speak to people to whom the recipe's did: what was broken after fitting
does not. What "not worse" means: `training.evaluation.contest`. Where the log is too short to ask
anybody, what is stored must at least answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from features.home import Progress, part_of
from features.training_options import RankerName, Training
from features.types import Ragged, to_us
from training.bundle import Bundle, terms
from training.cooking import Cooked, cook
from training.evaluation import metrics, protocol
from training.evaluation.contest import Check, covers, not_worse
from training.evaluation.protocol import KS, Outcome, Task
from training.judging import Contender, filled
from training.past import Past
from training.policy import People, Step, decide, kept_away, seen_by
from training.queries import queries_for
from training.rankers.base import Allowed
from training.recipe import FLOOR, Recipe
from training.slices import World, past_at, tasks_between, usual_repeat

FLOORS: dict[RankerName, str] = {FLOOR: "recent popularity", "neighbours": "item neighbours"}
LISTENERS = 500  # people at most to whom every ranker is heard alone
ACQUAINTED = 20  # known people at most who try a model where nobody can be asked
SPEAKS = 0.5  # of those to whom the recipe's ranker has something to say


@dataclass(frozen=True)
class Stored:
    """How the challenger did as it is stored.

    broken: why it cannot even answer; then there is nothing else
    silent: by task, rankers that say nothing where the recipe's did
    """

    outcomes: dict[str, Outcome]
    silent: dict[str, list[str]]
    broken: str = ""


@dataclass(frozen=True)
class Meeting:
    """Everybody's feeds by task: of the challenger's recipe, and of the others by their names.

    others: what is served now is the first
    """

    mine: dict[str, Outcome]
    others: dict[str, dict[str, Outcome]]
    stored: Stored


def measured(
    world: World, challenger: Bundle, champion: Bundle | None, progress: Progress
) -> list[Check]:
    """Quality and coverage on the test slice; the shop's own repeat rule says which tasks count.

    The slice is the one that the challenger's training kept for the test, whatever the config says
    today: from what came before, its blend and ladder were chosen.
    """
    past = past_at(world, to_us(datetime.fromisoformat(challenger.manifest["test_from"])))
    usual = "all" if usual_repeat(world) == "allow" else "discovery"
    asked = [task for task in tasks_between(world, past) if task.name in (usual, "session")]
    if not asked:
        return _unmeasured(world, challenger)
    meeting = _meet(world, past, asked, challenger, champion, progress)
    options = world.config.training
    return [check for task in asked for check in _on_task(options, task, meeting)]


def _unmeasured(world: World, challenger: Bundle) -> list[Check]:
    """Where nobody can be asked, what is stored must at least answer whoever comes."""
    why = _cannot_answer(challenger.ladder, _visitors(world))
    told = "the log is too short to ask anybody; nothing could be measured"
    answers = "it answers a stranger, a visitor and people whom it knows"
    return [Check("quality", True, told), Check("stored model", not why, why or answers)]


def _cannot_answer(ladder: Sequence[Step], task: Task) -> str:
    """Why the ladder cannot answer the people of the task, the first a stranger; "": it can."""
    try:
        for step in ladder:
            _listeners(task, step)
        feeds = decide(ladder, task.people, task.terms)
    except Exception as error:  # whatever it is, such a model must not be served
        return f"it cannot answer: {type(error).__name__}: {error}"
    return "" if feeds.items[0, 0] >= 0 else "it has nothing to show to a stranger"


def _visitors(world: World) -> Task:
    """A stranger, a stranger within a visit, and some people who are known; they want nothing."""
    config, past = world.config, past_at(world, world.features.as_of_us)
    log, nothing = past.timelines, np.empty(0, dtype=np.int32)
    known = np.flatnonzero(np.diff(log.indptr) > 0)
    known = known[:: max(len(known) // ACQUAINTED, 1)][:ACQUAINTED]
    who = np.concatenate([[-1, -1], known])
    recent = [nothing, log.items[:1], *[nothing for _ in known]]
    queries = queries_for(log, who.astype(np.int32), recent, past.as_of_us, config.signals,
                          config.session_signal(), past.standing)  # fmt: skip
    everybody = np.ones(len(who), dtype=np.bool_)
    rules = terms(config, world.catalogue, slice(0, len(world)), max(KS), repeat="allow")
    people = People(queries, everybody, ~everybody)
    return Task("visitors", people, who, Ragged.empty(len(who)), rules)


def _meet(
    world: World, past: Past, asked: Sequence[Task], challenger: Bundle, champion: Bundle | None,
    progress: Progress,
) -> Meeting:  # fmt: skip
    """Fit what has to be fitted, and let everybody answer."""
    others = {}
    if champion is not None:
        theirs = _cooked(champion, world, past, part_of(progress, 0.0, 0.4))
        others[f"the champion {champion.version}"] = _feeds(theirs.steps, asked, world)
    floors = Recipe(world.config.training, list(FLOORS), [])
    rankers = cook(floors, past, world.home, part_of(progress, 0.4, 0.5)).rankers
    others |= {FLOORS[n]: _feeds(filled(n, rankers), asked, world) for n in rankers}
    mine = _cooked(challenger, world, past, part_of(progress, 0.5, 0.8))
    progress("judging the stored model", 0.8)
    try:
        outcomes = _feeds(challenger.ladder, asked, world)
        silent = {task.name: _silent(task, mine.steps, challenger.ladder) for task in asked}
        stored = Stored(outcomes, silent)
    except Exception as error:  # whatever it is, such a model must not be served
        stored = Stored({}, {}, f"{type(error).__name__}: {error}")
    return Meeting(_feeds(mine.steps, asked, world), others, stored)


def _cooked(model: Bundle, world: World, past: Past, progress: Progress) -> Cooked:
    one = Contender.of(model)
    return cook(one.recipe, past, world.home, progress, one.forest)


def _feeds(steps: Sequence[Step], asked: Sequence[Task], world: World) -> dict[str, Outcome]:
    return {task.name: protocol.evaluate(steps, "policy", task, len(world)) for task in asked}


def _silent(task: Task, recipe: Sequence[Step], stored: Sequence[Step]) -> list[str]:
    """Steps of `stored` that speak to fewer than SPEAKS of the people as those of the recipe."""
    spoken = {(step.rung, step.name): _listeners(task, step) for step in recipe}
    found = []
    for step in stored:
        before, now = spoken.get((step.rung, step.name), 0), _listeners(task, step)
        if now < SPEAKS * before:
            found.append(
                f"{step.name} ({step.rung}) speaks to {now} people, its recipe to {before}"
            )
    return found


def _listeners(task: Task, step: Step) -> int:
    """To how many people a step has anything to say."""
    people = task.people.take(np.arange(min(len(task.people), LISTENERS)))
    allowed = Allowed(task.terms.items, kept_away(people, task.terms))
    ranking = step.ranker.top(seen_by(step.rung, people.known), 1, allowed)
    return int((ranking.items >= 0).sum())


def _on_task(options: Training, task: Task, meeting: Meeting) -> list[Check]:
    """The recipe against everybody, and what is stored against the recipe, on one task."""
    drawn = metrics.draws(len(task.people), options.bootstrap_draws, options.seed)
    margin, least = options.gate.margin, options.gate.min_coverage
    mine, name = meeting.mine[task.name], task.name
    others = {who: outcomes[name] for who, outcomes in meeting.others.items()}
    first, shown = next(iter(others.items()))
    found = [not_worse(f"{name}: {w}", mine, other, margin, drawn) for w, other in others.items()]
    found.append(covers(f"{name}: coverage of {first}", mine, shown, least))
    if meeting.stored.broken:
        told = f"it cannot answer: {meeting.stored.broken}"
        return [*found, Check(f"{name}: stored model", False, told)]
    stored, silent = meeting.stored.outcomes[name], meeting.stored.silent[name]
    told = "; ".join(silent) or "every ranker speaks to those to whom its recipe's did"
    return [
        *found,
        not_worse(f"{name}: stored model, its recipe", stored, mine, margin, drawn),
        covers(f"{name}: stored model, coverage of {first}", stored, shown, least),
        Check(f"{name}: stored model, rankers", not silent, told),
    ]
