"""Runs in an environment of its own, where RecTools is: a job directory in, feeds out.

Stands alone: it imports nothing of this project, and NumPy files are all that passes between them.

job.json      model (sasrec | ease), settings, seed, size, tasks, minutes
log.npz       users, items (m,), in each person's time order; weights (m,)
<task>.npz    indptr, items, weights of the histories; away_indptr, away of what must not be shown
<task>.feeds.npy   (n, size) int32, best first, -1 where nothing is left       done.json   seconds
"""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import EASEModel, SASRecModel

VALIDATED = 2000  # people at most whose last item says when to stop
PATIENCE = 5  # epochs without a better loss
CHUNK = 512  # people asked at once


def main(job: Path) -> None:
    """Fit once, answer every task of the job."""
    about = json.loads((job / "job.json").read_text())
    pl.seed_everything(about["seed"], workers=True)
    log = np.load(job / "log.npz")
    frame = _interactions(log["users"], log["items"], log["weights"])
    start = time.perf_counter()
    model, dataset = (_sasrec if about["model"] == "sasrec" else _ease)(frame, about, job)
    seconds = time.perf_counter() - start
    for task in about["tasks"]:
        asked = np.load(job / f"{task}.npz")
        weighting = about["settings"].get("weighting", "binary")
        feeds = _feeds(model, (dataset, weighting), asked, about["size"])
        np.save(job / f"{task}.feeds.npy", feeds)
    epochs = getattr(getattr(model, "fit_trainer", None), "current_epoch", None)
    (job / "done.json").write_text(json.dumps({"seconds": seconds, "epochs": epochs}))


def _interactions(users: np.ndarray, items: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """The library's table; the time is the place in the log, so that order is all there is."""
    place = pd.to_datetime(np.arange(len(items)), unit="s")
    return pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: weights,
                         Columns.Datetime: place})  # fmt: skip


def _ease(frame: pd.DataFrame, about: dict, job: Path) -> tuple[EASEModel, Dataset]:
    del job
    dataset = Dataset.construct(_summed(frame, about["settings"]["weighting"]))
    model = EASEModel(
        regularization=about["settings"]["regularization"], recommend_use_gpu_ranking=False
    )
    return model.fit(dataset), dataset


def _summed(frame: pd.DataFrame, weighting: str) -> pd.DataFrame:
    """One row per person and item; binary: 1, count: how many, signal: their weights."""
    pair = frame.groupby([Columns.User, Columns.Item], sort=False)
    weight = pair[Columns.Weight].sum() if weighting == "signal" else pair.size().astype(float)
    summed = weight.clip(upper=1) if weighting == "binary" else weight
    out = summed.rename(Columns.Weight).reset_index()
    return out.assign(**{Columns.Datetime: pd.Timestamp(0)})


def _sasrec(frame: pd.DataFrame, about: dict, job: Path) -> tuple[SASRecModel, None]:
    """Trained until the last items of some people are told no better; the best epoch is kept."""
    settings = dict(about["settings"])

    def trainer() -> pl.Trainer:
        return pl.Trainer(
            max_epochs=settings["epochs"], max_time={"minutes": about["minutes"]}, devices=1,
            accelerator="gpu" if torch.cuda.is_available() else "cpu", logger=False,
            enable_progress_bar=False, enable_model_summary=False,
            callbacks=[
                EarlyStopping(SASRecModel.val_loss_name, patience=PATIENCE),
                ModelCheckpoint(job, "best", monitor=SASRecModel.val_loss_name),
            ],
        )  # fmt: skip

    model = SASRecModel(
        n_factors=settings["factors"], n_blocks=settings["layers"], n_heads=settings["heads"],
        session_max_len=settings["length"], dropout_rate=settings["dropout"],
        lr=settings["learning_rate"], loss=settings["loss"], n_negatives=settings["negatives"],
        batch_size=settings["batch"], use_key_padding_mask=True, get_trainer_func=trainer,
        get_val_mask_func=_last_of_some, recommend_n_threads=1,
    )  # fmt: skip
    model.fit(Dataset.construct(frame.assign(**{Columns.Weight: 1.0})))  # it weighs the loss
    if (job / "best.ckpt").exists():
        model.load_weights_from_checkpoint(job / "best.ckpt")
        (job / "best.ckpt").unlink()
    return model, None


def _last_of_some(interactions: pd.DataFrame) -> np.ndarray:
    """(m,) bool: the last interaction of at most VALIDATED people who have three or more."""
    count = interactions.groupby(Columns.User)[Columns.Item].transform("size")
    place = interactions.groupby(Columns.User)[Columns.Datetime].rank(method="first")
    last = ((place == count) & (count > 2)).to_numpy()
    kept = np.flatnonzero(last)
    share = max(len(kept) // 10, min(len(kept), 100))
    chosen = np.random.default_rng(0).permutation(kept)[: min(share, VALIDATED)]
    mask = np.zeros(len(interactions), dtype=bool)
    mask[chosen] = True
    return mask


def _feeds(model, fitted_on: tuple, asked, size: int) -> np.ndarray:
    """What `recommend` lists for the histories, without what must not be shown."""
    indptr = asked["indptr"]
    feeds = np.full((len(indptr) - 1, size), -1, dtype=np.int32)
    for begin in range(0, len(feeds), CHUNK):
        rows = np.arange(begin, min(begin + CHUNK, len(feeds)))
        _answer(model, fitted_on, asked, rows, feeds)
    return feeds


def _answer(model, fitted_on: tuple, asked, rows: np.ndarray, feeds: np.ndarray) -> None:
    """Fill the feeds of some people, in place."""
    indptr, away_indptr = asked["indptr"], asked["away_indptr"]
    part = slice(indptr[rows[0]], indptr[rows[-1] + 1])
    users = np.repeat(rows, np.diff(indptr)[rows])
    if not len(users):
        return
    frame = _interactions(users, asked["items"][part], asked["weights"][part])
    deep = feeds.shape[1] + int(np.diff(away_indptr)[rows].max(initial=0))
    known = _known(frame, *fitted_on)
    listed = model.recommend(
        np.unique(users), known, k=deep, filter_viewed=False, on_unsupported_targets="ignore"
    )
    for row, own in listed.groupby(Columns.User, sort=False)[Columns.Item]:
        away = asked["away"][away_indptr[row] : away_indptr[row + 1]]
        shown = own.to_numpy()[~np.isin(own.to_numpy(), away)][: feeds.shape[1]]
        feeds[row, : len(shown)] = shown


def _known(frame: pd.DataFrame, dataset: "Dataset | None", weighting: str) -> Dataset:
    """The histories as a data set; EASE needs the item numbers of the one that it was fitted on."""
    if dataset is None:
        return Dataset.construct(frame)
    items = dataset.item_id_map.external_ids
    everything = np.full(len(items), -1), items, np.ones(len(items))  # or the matrix gets narrower
    frame = pd.concat([frame[frame[Columns.Item].isin(items)], _interactions(*everything)])
    summed = _summed(frame, weighting)
    users = IdMap.from_values(summed[Columns.User].to_numpy())
    return Dataset(
        users, dataset.item_id_map, Interactions.from_raw(summed, users, dataset.item_id_map)
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    main(Path(sys.argv[1]))
