"""Every notebook is committed clean and runs from top to bottom: on a small shop, on real logs.

FEEDS_SHOP names another shop's feeds.yaml, FEEDS_DATA the directory of the real logs.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from command.demo import bring_example
from command.tour import QUICK
from features.config import load_config
from features.home import Home
from training.jobs import train
from training.promotion import promote

ROOT = Path(__file__).parents[1]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LOGS = Path(os.environ.get("FEEDS_DATA") or ROOT.parent / "shared" / "data")
KNOWN = {
    "deskdrop": "deskdrop",
    "eshop_clothing": "eshop_clothing_clicks",
    "online_retail": "online_retail",
}
SECONDS = 300  # for one cell
START = """\
import os
from pathlib import Path

import matplotlib.pyplot as plt

from features.config import load_config
from features.home import Home

shop = Path(os.environ.get("FEEDS_SHOP", "../.feeds/demo/shop/feeds.yaml"))
if not shop.exists():
    raise FileNotFoundError(
        f"no shop at {shop}: run `make demo ONCE=1`, or let FEEDS_SHOP name a trained feeds.yaml"
    )
config, home = load_config(shop), Home(shop.parent / ".feeds")
plt.style.use("feeds.mplstyle")"""
every_notebook = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)


def execute(book: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all cells; the first that fails raises, and its process ends in any case."""
    monkeypatch.setenv("FEEDS_SHOP", str(shop.resolve()))
    content = nbformat.read(book, as_version=4)
    where = {"metadata": {"path": str(book.parent)}}
    NotebookClient(content, timeout=SECONDS, kernel_name="python3", resources=where).execute()


@pytest.fixture(scope="session")
def small_shop(request: pytest.FixtureRequest) -> Path:
    """The shop that FEEDS_SHOP names, else the small one that the other tests have trained too."""
    named = os.environ.get("FEEDS_SHOP")
    path: Path = Path(named) if named else request.getfixturevalue("trained").path
    return path


@pytest.fixture(scope="module", params=KNOWN)
def real_shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real log's shop as the demo makes it: the example's config, the quick rankers, promoted."""
    data = LOGS / KNOWN[request.param]
    if not data.is_dir():
        pytest.skip(f"no directory {data}: set FEEDS_DATA to where the real logs lie; "
                    f"examples/{request.param}/README.md says how to get this one")  # fmt: skip
    path = bring_example(request.param, data, tmp_path_factory.mktemp(request.param))
    config, home = load_config(path), Home(path.parent / ".feeds")
    promote(config, home, train(config, path.parent, home, rankers=QUICK).version)
    return path


def test_there_are_notebooks():
    assert BOOKS


@every_notebook
def test_a_notebook_is_committed_as_written(book):
    content = nbformat.read(book, as_version=4)
    nbformat.validate(content)
    assert content.metadata.kernelspec.name == "python3"
    title, introduction = content.cells[0].source.split("\n\n")
    assert title.startswith(f"# {book.stem[0]}. ")
    assert len(introduction) > 60
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert code[0].source == START
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert {cell.execution_count for cell in code} == {None}
    ids = [cell.id for cell in content.cells]
    assert ids == [f"cell-{number:02d}" for number in range(1, len(ids) + 1)]


@pytest.mark.long
@every_notebook
def test_a_notebook_runs_on_a_small_shop(book, small_shop, monkeypatch):
    execute(book, small_shop, monkeypatch)


@pytest.mark.real_shop
@every_notebook
def test_a_notebook_runs_on_real_logs(book, real_shop, monkeypatch):
    execute(book, real_shop, monkeypatch)
