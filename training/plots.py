"""Pictures of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure


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
        axes.errorbar(means, names, xerr=[lows, highs], fmt="o", capsize=4, color="#1f5fa8")
        axes.set_title(f"{task} ({own[0]['people']} people)" if own else task)
        axes.set_xlim(left=0)
        axes.margins(y=0.2)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{metric.replace('_at_', '@')}: mean and 95 % interval")
    return figure
