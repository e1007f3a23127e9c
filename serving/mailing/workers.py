"""Parts of a long mailing on all cores: a process each, which opens the shop for itself.

What costs most after the matrix products is Python, so threads would not help. A process that has
lost its parent ends; the part that it was at is decided again, to the same words.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from features.home import Progress, silent
from serving.mailing.blocks import Mailing
from serving.mailing.mailer import Mailer
from serving.mailing.opening import Shop, mailer_of, opened
from serving.mailing.parts import Record, write_part
from serving.mailing.run import Listed, decide_parts, decided_blocks, undecided
from training.bundle import open_bundle
from training.rankers.cores import usable

FEW = 8  # parts: a process takes seconds to begin
_ONE_CORE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Work:
    """What a process needs to know; base: the directory of the config."""

    shop: Shop
    base: Path
    record: Record
    out: Path


async def decide_all(
    work: Work, mailer: Mailer, listed: Listed, progress: Progress = silent
) -> None:
    """Decide all parts that are not there yet: here if they are few, else on all cores.

    Raises as `run.decide_parts`, and BrokenProcessPool where a process was ended from outside.
    """
    todo = undecided(work.record, listed, work.out)
    processes = min(usable(), len(todo)) if len(todo) >= FEW else 1
    if processes > 1:
        _decide_together(work, todo, processes, progress)
    else:
        await decide_parts(mailer, work.record, listed, work.out, progress)


def _decide_together(
    work: Work, todo: Sequence[tuple[int, Listed]], processes: int, progress: Progress
) -> None:
    """Decide the parts of these numbers, in any order; what a process raises is raised here."""
    left, waiting, done = iter(todo), set[Future[None]](), 0
    with _one_core_each(), ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _begin, (work,)
    ) as pool:  # fmt: skip
        while done < len(todo):
            for one in islice(left, 2 * processes - len(waiting)):  # few: each has its list
                waiting.add(pool.submit(_decide, *one))
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            done += len(finished)
            progress("deciding", done / len(todo))


@contextmanager
def _one_core_each() -> Iterator[None]:
    """Processes that begin here calculate on one core: they are as many as there are cores."""
    before = {name: os.environ.get(name) for name in _ONE_CORE}
    os.environ.update(dict.fromkeys(_ONE_CORE, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class _Here:
    """What this process has opened; it stays open until the process ends."""

    loop: asyncio.AbstractEventLoop
    stack: AsyncExitStack
    work: Work
    mailer: Mailer


def _begin(work: Work) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _Here.loop, _Here.stack, _Here.work = asyncio.new_event_loop(), AsyncExitStack(), work
    bundle = open_bundle(work.shop.home, work.record.model_version)
    desk = _Here.loop.run_until_complete(
        _Here.stack.enter_async_context(opened(work.shop, bundle, work.record.at_us))
    )
    _Here.mailer = mailer_of(desk, work.base, work.shop.home)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _decide(number: int, listed: Listed) -> None:
    record = _Here.work.record
    mailing = Mailing(record.mailing, record.placements, record.at_us)
    blocks = _Here.loop.run_until_complete(
        decided_blocks(_Here.mailer, mailing, listed, counts=record.counts)
    )
    write_part(_Here.work.out, number, blocks)
