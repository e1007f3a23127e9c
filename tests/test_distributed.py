"""Two processes under `torchrun` learn what one learns. Slow: two fresh interpreters with torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import worlds

from features.training_options import SequenceOptions
from training.fitting import CannotFit, torch_run
from training.fitting.sequence import fit_sequence
from training.rankers.sequence import SequenceRanker

HERE = Path(__file__).parent
OPTIONS = SequenceOptions(factors=8, layers=1, length=6, dropout=0.0, batch=60, epochs=3, steps=1)


def job() -> SequenceRanker:
    """Two fits, of which the first cannot be: helpers must survive what the first one does."""
    with pytest.raises(CannotFit):
        fit_sequence(worlds.past(worlds.timelines([[1]])), OPTIONS)
    random = np.random.default_rng(0)
    rows = [random.integers(0, 10, random.integers(2, 12)).tolist() for _ in range(40)]
    return fit_sequence(worlds.past(worlds.timelines(rows)), OPTIONS)


def torchrun(directory: Path, processes: int) -> subprocess.CompletedProcess[str]:
    """This file as a program, in several processes on this machine, by gloo."""
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *words, __file__, str(directory)],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    run = torchrun(tmp_path, 2)
    assert run.returncode == 0, run.stderr[-3000:]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.npz", "1-helped"]
    alone, both = job(), np.load(tmp_path / "0.npz")
    np.testing.assert_allclose(both["item_vectors"], alone.item_vectors, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(both["curve"][:, 2:], alone.curve[:, 2:], rtol=1e-3)


def main(directory: Path) -> None:
    """What each process runs: the first writes what was fitted and leaves as a command does."""

    def first() -> None:
        ranker = job()
        np.savez(directory / "0.npz", item_vectors=ranker.item_vectors, curve=ranker.curve)
        sys.exit(0)

    assert torch_run.lead(first) is None
    (directory / f"{os.environ['RANK']}-helped").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
