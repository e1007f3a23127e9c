"""The heat map of the evidence as one picture, for notebooks and slides; see command/heat.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from command.heat import ONLINE, Panel, Scale, Tile, finest, panels
from training.evaluation.evidence import Evidence

_INK, _SOFT, _LINE = "#23211d", "#6a655c", "#d9d4c8"
_FULL = {"more": (47, 102, 144), "less": (217, 120, 20)}  # the report's colours, of light pages
_SAME = "#f3f0e8"
_STRENGTH = 0.62  # of the full colour: letters on it stay readable
_WIDTH, _ROW = 9.0, 0.39  # inches
_EDGES = 2.1  # rows that a panel's title and the names of its stages take
_LABEL = 26  # characters of a segment's name


def heat_map(evidence: Evidence) -> Figure:
    """A panel per kind, channel and visit: what each group is served, and what that gained.

    Panels of too few people are named below the picture instead.
    """
    found, notes = panels(evidence)
    if any(cell.rests_on == "online" for cell in finest(evidence)):
        notes = [f"{ONLINE} decided by an experiment", *notes]
    rows = [len(panel.rows) + _EDGES for panel in found]
    figure = Figure(figsize=(_WIDTH, _ROW * (sum(rows) + 4)), layout="constrained")
    figure.suptitle(
        "Where a more personal feed pays, and where it does not\n"
        "what each group is served, and what that gained over one feed for all in the later days,"
        f" in {evidence.unit}",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    if found:
        grid = figure.subplots(len(found), 1, squeeze=False, height_ratios=rows)[:, 0]
        for axes, panel in zip(grid, found, strict=True):
            _draw(axes, panel)
    figure.legend(
        handles=_keys(Scale.of(evidence)), loc="outside lower left", ncols=5, frameon=False,
        fontsize=9, title="\n".join(_lines(notes)), title_fontsize=9, alignment="left",
    )  # fmt: skip
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    for row, (_segment, tiles) in enumerate(panel.rows):
        for column, tile in enumerate(tiles):
            if tile:
                _tile(axes, tile, column, row)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xticks(np.arange(len(panel.stages)), panel.stages)
    axes.set_yticks(np.arange(len(panel.rows)), [_short(segment) for segment, _ in panel.rows])
    axes.tick_params(length=0, labelsize=9)
    axes.xaxis.tick_top()
    axes.set_xlim(-0.5, max(len(panel.stages), 5) - 0.5)  # tiles of one width in all panels
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def _tile(axes: Axes, tile: Tile, column: int, row: int) -> None:
    open_ = tile.tone == "open"
    shape = Rectangle(
        (column - 0.48, row - 0.46), 0.96, 0.92, linewidth=0.6, hatch="///" if open_ else None,
        edgecolor=_LINE, facecolor=_colour(tile),
    )  # fmt: skip
    axes.add_patch(shape)
    words = tile.rung if not tile.gain else f"{tile.rung}\n{tile.gain}"
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1} if open_ else None
    axes.text(
        column, row, words, ha="center", va="center", fontsize=8.5, bbox=ground,
        color=_SOFT if tile.tone == "none" else _INK,
    )  # fmt: skip


def _colour(tile: Tile) -> str:
    """Of a tile: the more it gained or lost, the fuller."""
    if tile.tone not in _FULL:
        return _SAME if tile.tone == "same" else "#ffffff"
    share = _STRENGTH * (0.12 + 0.88 * tile.much)
    mixed = (round(255 + (part - 255) * share) for part in _FULL[tile.tone])
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _keys(scale: Scale) -> list[Patch]:
    pays, loses = (_colour(Tile("", "", tone, 1.0, "")) for tone in ("more", "less"))
    return [
        Patch(facecolor=pays, edgecolor=_LINE, label=f"pays; this blue: {scale.text(scale.top)}"),
        Patch(facecolor=loses, edgecolor=_LINE, label="loses"),
        Patch(facecolor="#ffffff", edgecolor=_LINE, hatch="///", label="open: may be chance"),
        Patch(facecolor=_SAME, edgecolor=_LINE, label="one for all"),
        Patch(facecolor="none", edgecolor="none", label="blank: nobody asked"),
    ]


def _lines(notes: Sequence[str]) -> list[str]:
    """What is said below the picture, three to a line."""
    return ["; ".join(notes[start : start + 3]) for start in range(0, len(notes), 3)]


def _short(segment: str) -> str:
    line = " ".join(segment.split())
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1]}…"
