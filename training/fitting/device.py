"""Where torch computes."""

from __future__ import annotations

from typing import Literal


def device_named(asked: Literal["auto", "cpu", "cuda"]) -> str:
    """`cuda` where there is a GPU that torch can use, else `cpu`; a name asked for is taken.

    Raises ValueError when a GPU is asked for and there is none.
    """
    if asked == "cpu":
        return asked
    import torch  # here: it takes a second, and most of the code does without

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise ValueError("training.device is cuda, but torch finds no GPU; take auto or cpu")
    return "cpu"
