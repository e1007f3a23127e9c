"""What `feeds promote` and `feeds retrain` do and show."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from command import show
from command.forget import settled
from features.config import Config
from features.home import Home
from training import promotion
from training.forgetting import settle
from training.gate import Verdict
from training.promotion import Promotion, Word
from training.pruning import pruned
from training.retraining import retrain as run


def promote(config: Config, home: Home, version: str | None) -> None:
    """Through the gate; exit 1 when it refuses."""
    with show.progress_bar() as progress:
        judged = promotion.promote_if_it_passes(config, home, version, progress=progress)
    if judged.verdict is not None:
        verdict(judged.verdict)
    if judged.promotion is None:
        _refused(judged.version, home.current())
    else:
        promoted(judged.promotion)
        tidied(config, home)
        settled(settle(config, home))


def force(config: Config, home: Home, version: str | None, why: str) -> None:
    """Past the gate, by somebody's word."""
    promoted(promotion.promote(config, home, version, Word("force", why)))
    tidied(config, home)
    settled(settle(config, home))


def go_back(config: Config, home: Home) -> None:
    """To the champion before."""
    promoted(promotion.back(config, home))
    tidied(config, home)
    settled(settle(config, home))


def retrain(config: Config, base: Path, home: Home) -> None:
    """As a scheduler wants it: the last line says what came of it; exit 1 when refused."""
    with show.progress_bar() as progress:
        done = run(config, base, home, progress)
    if done.trained is not None:
        show.split(done.trained.measured.summary, done.trained.measured.cut)
    if done.judged is not None and done.judged.verdict is not None:
        verdict(done.judged.verdict)
    if done.judged is not None and done.judged.promotion is not None:
        _lacking(done.judged.promotion)
    tidied(config, home)
    settled(done.settled)
    show.console.print(done.sentence, style="red" if done.refused else None, soft_wrap=True)
    if done.refused:
        raise typer.Exit(1)


def verdict(found: Verdict) -> None:
    """Every check, with what was found."""
    against = f"against {found.champion}" if found.champion else "there is no champion yet"
    table = Table(title=f"The gate: {found.challenger}, {against}", title_justify="left",
                  box=SIMPLE_HEAD)  # fmt: skip
    for heading in ("check", "", "what was found"):
        table.add_column(heading)
    for check in found.checks:
        said = "passed" if check.passed else "[red]REFUSED[/red]"
        table.add_row(check.name, said, check.sentence)
    show.console.print(table)


def promoted(done: Promotion) -> None:
    """What is served from now on."""
    for sentence in done.gone:
        show.console.print(f"left out: {sentence}", style="yellow")
    if done.repaired:
        show.console.print(f"repaired: {done.repaired}", style="yellow")
    _lacking(done)
    before = f", before: {done.before}" if done.before else ""
    show.console.print(f"serving {done.version}{before}")


def _lacking(done: Promotion) -> None:
    for sentence in done.lacking:
        show.console.print(sentence, style="yellow", soft_wrap=True)


def tidied(config: Config, home: Home) -> None:
    """Remove old bundles; say which, and why others stay."""
    done = pruned(home, config)
    for version, why in done.kept.items():
        show.console.print(f"the old {version} stays on the disk: {why}", style="dim")
    if done.removed:
        show.console.print(
            f"removed from the disk: {', '.join(done.removed)}; `service.keep_models` is "
            f"{config.service.keep_models}, and MLflow has them all", style="yellow",
        )  # fmt: skip


def _refused(version: str, serving: str | None) -> None:
    show.errors.print(
        f"feeds: {version} is refused; serving: {serving or 'nothing'}, as before. To serve it "
        "all the same: feeds promote VERSION --force --why TEXT", style="red", soft_wrap=True,
    )  # fmt: skip
    raise typer.Exit(1)
