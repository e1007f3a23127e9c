"""Pictures of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from features.types import Float32

CURVE = ("epoch", "seconds", "loss", "validation_ndcg")  # columns of a learning curve
_BLUE, _RED = "#1f5fa8", "#b03a2e"


def comparison(rows: Sequence[Mapping[str, object]], metric: str) -> Figure:
    """One panel per task: the mean of `metric` of each ranker, with its 95 % interval."""
    chosen = [row for row in rows if row["metric"] == metric]
    tasks = list(dict.fromkeys(str(row["task"]) for row in chosen))
    figure = Figure(figsize=(3.6 * max(len(tasks), 1) + 1, 3.2), layout="constrained")
    panels = figure.subplots(1, max(len(tasks), 1), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=False):
        own = sorted((r for r in chosen if r["task"] == task), key=lambda r: float(str(r["mean"])))
        means = [float(str(row["mean"])) for row in own]
        lows = [m - float(str(row["low"])) for m, row in zip(means, own, strict=True)]
        highs = [float(str(row["high"])) - m for m, row in zip(means, own, strict=True)]
        names = [str(row["name"]) for row in own]
        axes.errorbar(means, names, xerr=[lows, highs], fmt="o", capsize=4, color=_BLUE)
        axes.set_title(f"{task} ({own[0]['people']} people)" if own else task)
        axes.set_xlim(left=0)
        axes.margins(y=0.2)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{metric.replace('_at_', '@')}: mean and 95 % interval")
    return figure


def learning_curve(name: str, curve: Float32) -> Figure:
    """Loss and ndcg on what was kept back, by epoch; curve: (epochs, 4), columns as in CURVE."""
    epochs, seconds, losses, found = curve.T
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(epochs, losses, marker=".", color=_BLUE)
    right.plot(epochs, found, marker=".", color=_RED)
    left.set_xlabel(f"epoch ({float(seconds[-1]) if len(curve) else 0:.0f} s in all)")
    left.set_ylabel("loss", color=_BLUE)
    right.set_ylabel("ndcg on what was kept back", color=_RED)
    left.grid(axis="x", alpha=0.3)
    figure.suptitle(name)
    return figure
