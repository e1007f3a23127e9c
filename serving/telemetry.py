"""What the service counts and measures, for Prometheus: the only file that imports its client.

Workers are processes. Each writes its numbers into files of its own, and whichever worker is asked
adds them up. The files bear the name of the worker, not of the process: who takes a dead worker's
place counts on where that one ended, and no files pile up. What a label may say comes from short
lists (endpoints, placements, rungs, reasons, versions): never an id, never a path.
docs/monitoring.md has every metric in words.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from features.decided import Decided
from serving.tallies import Tallies

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # environment: where the files are; `bentoml serve` sets it
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SILENT_SECONDS = 30.0  # whoever has not been seen for so long says nothing of the present
MOST_CHILDREN = 2000  # combinations of labels of a metric; what comes beyond is told as "other"
REFUSALS = ("key", "scope", "origin", "person", "body", "rate", "slow", "json", "other")
OUTCOMES = ("served", "refused")
LINKS = ("item", "category", "site", "gone", "expired", "tampered", "malformed")
CLICKS = ("kept", "again", "without_signal", "unknown", "lost")
DEGRADABLE = ("feed", "sort", "similar", "questions")  # endpoints that go on without the store
_SEEN, _OF_VERSIONS = "feeds_worker_seen_timestamp_seconds", "feeds_model_"
_REQUEST_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5,
                    1, 2.5, 5)  # fmt: skip
_SWAP_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_rung: ContextVar[list[str] | None] = ContextVar("_rung", default=None)


class _Children(dict[tuple[str, ...], Any]):
    """The children of a metric by their labels, made when first asked for: a look-up is cheap."""

    def __init__(self, metric: MetricWrapperBase) -> None:
        super().__init__()
        self.metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        if len(self) >= MOST_CHILDREN:
            return self.metric.labels(*("other" for _ in labels))
        child = self[labels] = self.metric.labels(*labels)
        return child


class _Board:
    """The metrics of this process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.request_seconds = self._histogram(
            "request_seconds", "from the first byte of a request to the end of its answer",
            _REQUEST_BUCKETS, "endpoint", "rung",
        )  # fmt: skip
        self.requests = self._counter("requests", "requests answered", "endpoint", "status")
        self.decisions = self._counter(
            "decisions", "decisions on feeds and listing pages",
            "placement", "decision", "rung", "reason",
        )  # fmt: skip
        self.items = self._counter("items", "items shown", "placement", "ranker")
        self.degraded = self._counter("degraded", "answers given without the store", "endpoint")
        self.links = self._counter("mail_links", "links of mails that were opened", "outcome")
        self.clicks = self._counter("mail_clicks", "what became of clicks in mails", "outcome")
        self.refused = self._counter("refused", "requests turned away", "reason")
        self.swaps = self._counter("swaps", "model versions taken up or refused", "outcome")
        self.swap_seconds = self._histogram(
            "swap_seconds", "from seeing a new version to serving it", _SWAP_BUCKETS
        )
        self.dropped = {
            what: self._counter(f"{what}_dropped", f"{what} that could not be kept")[()]
            for what in ("decisions", "notes")
        }
        self.state_errors = self._counter("state_errors", "times the store failed", "operation")
        self.model = self._per_version("info", "1 for each version that a worker serves")
        self.as_of = self._per_version("as_of_timestamp_seconds", "where the model's log ends")
        self.age = self._per_version("age_seconds", "wall time since the end of the model's log")
        self.size = self._gauge("state_bytes", "the state's file on this machine", "livemax")
        self.ready = self._gauge("ready", "1: the worker has a model")
        self.amiss = self._gauge("version_refused", "1: a version to be served cannot be served")
        self.away = self._gauge("state_away", "1: the worker has not heard from the store of late")
        self.lag = self._gauge("state_lag_seconds", "since the worker had caught up with the store")
        self.loop_lag = self._gauge("loop_lag_seconds", "longest stall of the event loop of late")
        self.seen = self._gauge("worker_seen_timestamp_seconds", "last sign of life", "all")
        self.seen.set_to_current_time()
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A counter that is there from the start: else its first step would not be seen."""
        for reason in REFUSALS:
            self.refused[reason,]
        for outcome in OUTCOMES:
            self.swaps[outcome,]
        for outcome in LINKS:
            self.links[outcome,]
        for outcome in CLICKS:
            self.clicks[outcome,]
        for endpoint in DEGRADABLE:
            self.degraded[endpoint,]
        for operation in ("request", "follow"):
            self.state_errors[operation,]

    def _counter(self, name: str, about: str, *labels: str) -> Any:
        metric = Counter(f"feeds_{name}_total", about, labels, registry=self.registry)
        return _Children(metric) if labels else {(): metric}

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Any:
        metric = Histogram(f"feeds_{name}", about, labels, buckets=buckets, registry=self.registry)
        return _Children(metric) if labels else metric

    def _per_version(self, name: str, about: str) -> _Children:
        """A gauge that is 0 of a version that is served no more, and then left out."""
        return _Children(Gauge(f"{_OF_VERSIONS}{name}", about, ["version"],
                               multiprocess_mode="livemax", registry=self.registry))  # fmt: skip

    def _gauge(self, name: str, about: str, mode: Any = "liveall") -> Gauge:
        return Gauge(f"feeds_{name}", about, multiprocess_mode=mode, registry=self.registry)


@cache
def _board() -> _Board:
    return _Board()


def begin(worker: str) -> None:
    """Count under this name from now on; before anything is counted, once in a process.

    worker: no two workers of a service may have the same name, and none an underscore in it
    """
    if directory := os.environ.get(DIRECTORY):
        mark_process_dead(worker, directory)  # type: ignore[no-untyped-call]  # the one before
        values.MmapedDict = Tallies  # type: ignore[attr-defined,assignment]
        values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        _board.cache_clear()
    _board()


@dataclass
class Asked:
    """A request on its way: `told` is filled with the rung, where the answer has one."""

    endpoint: str
    began: float = field(default_factory=time.perf_counter)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let `decided` find it."""
        _rung.set(self.told)

    def answered(self, status: int) -> None:
        """Count it, and how long it took."""
        board, rung = _board(), self.told[0] if self.told else ""
        board.requests[self.endpoint, str(status)].inc()
        board.request_seconds[self.endpoint, rung].observe(time.perf_counter() - self.began)


def decided(one: Decided) -> None:
    """A decision was made, and goes to the log."""
    board, placement = _board(), one.placement
    board.decisions[placement, one.decision, one.rung, one.reason].inc()
    for ranker, count in Tally(one.rankers).items():
        board.items[placement, ranker].inc(count)
    told = _rung.get()
    if told is not None:
        told.append(one.rung)


def degraded(endpoint: str) -> None:
    """An answer was given without the store."""
    _board().degraded[endpoint,].inc()


def refused(reason: str) -> None:
    """A request was turned away; a reason that is none of REFUSALS counts as "other"."""
    _board().refused[reason if reason in REFUSALS else "other",].inc()


def link_opened(outcome: str) -> None:
    """A link of a mail led somewhere, or nowhere; one of LINKS."""
    _board().links[outcome,].inc()


def clicked(outcome: str) -> None:
    """A click in a mail was kept, or was not; one of CLICKS."""
    _board().clicks[outcome,].inc()


def swapped(outcome: str, seconds: float) -> None:
    """A version was taken up ("served") or "refused", so long after it was first seen."""
    board = _board()
    board.swaps[outcome,].inc()
    if outcome == "served":
        board.swap_seconds.observe(seconds)


def dropped(what: str, count: int) -> None:
    """So many "decisions" or "notes" could not be kept."""
    _board().dropped[what].inc(count)


def store_failed(operation: str) -> None:
    """The store did not do what a "request" wanted, or did not let a worker "follow"."""
    _board().state_errors[operation,].inc()


@dataclass(frozen=True)
class Standing:
    """What a worker is like at this moment.

    models:   version -> microseconds since 1970 at which its log ends
    refused:  is there a version that should be served and cannot be?
    lag:      seconds since it had caught up with the store; None: it follows none yet
    away:     has the store not answered of late?
    bytes:    of the state's files on this machine
    loop_lag: seconds for which the event loop stood still, at worst, of late
    """

    models: Mapping[str, int]
    refused: bool
    lag: float | None
    away: bool
    bytes: int
    loop_lag: float


def stands(now: Standing) -> None:
    """Show what this worker is like."""
    board, wall = _board(), time.time()
    board.seen.set(wall)
    board.ready.set(bool(now.models))
    board.amiss.set(now.refused)
    board.away.set(now.away)
    board.loop_lag.set(now.loop_lag)
    board.size.set(now.bytes)
    if now.lag is not None:
        board.lag.set(now.lag)
    for past in board.model.keys() - {(version,) for version in now.models}:
        for gauge in (board.model, board.as_of, board.age):
            gauge[past].set(0)
    for version, as_of_us in now.models.items():
        board.model[version,].set(1)
        board.as_of[version,].set(as_of_us / 1e6)
        board.age[version,].set(wall - as_of_us / 1e6)


def page() -> bytes:
    """All metrics of all workers in Prometheus' text format; reads files."""
    if not (directory := os.environ.get(DIRECTORY)):
        return generate_latest(_board().registry)
    whole = CollectorRegistry()
    whole.register(_AllWorkers(Path(directory)))
    return generate_latest(whole)


@dataclass(frozen=True)
class _AllWorkers:
    """The numbers of all workers as one; what one was like that has fallen silent is left out."""

    directory: Path

    def collect(self) -> Iterator[Metric]:
        past = {file for worker in self._silent() for file in self._begun(f"gauge_live*_{worker}")}
        files = [file for file in self._begun("*") if file not in past]
        for metric in MultiProcessCollector.merge(files):  # type: ignore[no-untyped-call]
            if metric.name.startswith(_OF_VERSIONS):
                metric.samples = [one for one in metric.samples if one.value]
            for sample in metric.samples:
                if "pid" in sample.labels:  # so the client calls what we name workers by
                    sample.labels["worker"] = sample.labels.pop("pid")
            yield metric

    def _begun(self, names: str) -> Iterator[str]:
        """Files of these names that have something in them: a worker that starts makes empty ones.

        One that is just taken away is as good as empty.
        """
        for file in self.directory.glob(f"{names}.db"):
            with suppress(FileNotFoundError):
                if file.stat().st_size:
                    yield str(file)

    def _silent(self) -> Iterator[str]:
        for file in self._begun("gauge_all_*"):
            for key, value, *_ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
                if json.loads(key)[0] == _SEEN and value < time.time() - SILENT_SECONDS:
                    yield Path(file).stem.rpartition("_")[2]
