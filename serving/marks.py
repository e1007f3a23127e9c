"""What the shop's rules did to an item, by name."""

from __future__ import annotations

from training.arranging import END, TOP, Mark


def names_of(marks: int, moved: int = 0) -> list[str]:
    """The names of a sum of `Mark`; a boost or a burial with its places, where they are known."""
    if not marks:
        return []
    told = [str(mark.name) for mark in Mark if marks & mark]
    if moved and moved not in (TOP, END):
        return [f"{one} {abs(moved)}" if one in ("boosted", "buried") else one for one in told]
    return told
