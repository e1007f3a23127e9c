"""Work in parts on all cores, by threads: NumPy lets go of the interpreter while it calculates."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Part = TypeVar("Part")


def each(work: Callable[[Part], None], parts: Iterable[Part]) -> None:
    """Do `work` on every part, in any order; the parts must not touch the same numbers.

    One part alone, as a request is, costs no threads. With several the matrix products within a
    part use one core: the parts share the cores among them already.
    """
    todo = list(parts)
    if len(todo) < 2:
        for part in todo:
            work(part)
        return
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(usable()) as pool:
        for _ in pool.map(work, todo):
            pass


def usable() -> int:
    """Cores that this process may use; `OMP_NUM_THREADS` allows fewer."""
    there = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(min(there, int(asked)) if asked.isdigit() else there, 1)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # looks at every loaded library: 4 ms
