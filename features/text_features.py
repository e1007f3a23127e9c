"""What the words of an item say, as a short vector: items of like words lie near each other.

By default latent semantic analysis (Deerwester, Dumais, Furnas, Landauer & Harshman 1990): TF-IDF,
then a truncated singular value decomposition. A local directory of sentence-transformers may do it
instead. Small steps on collected tables; nothing is ever downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.utils.extmath import randomized_svd

from features.config import ConfigError
from features.options import TextOptions
from features.types import Float32

MAX_WORDS = 50_000  # of the vocabulary: the most frequent ones
MANY_ITEMS = 1000  # from so many on, words that set no items apart are left out
_WORD = r"[^\W_]{2,}"
_SPOKEN_OF = ("title", "text", "category", "brand")
_NOISE = 1e-5  # of the largest singular value: what rounding makes of none
_NOTHING = 1e-3  # of a unit vector: what is left of an item that shares no words with others


@dataclass(frozen=True)
class TextFeatures:
    """What became of the words.

    vectors:            (n_items, d) float32, rows of length 1; an item without words is all zero
    method:             "tfidf-svd", or the name of the model's directory
    explained_variance: the share of the squared TF-IDF weights that the vectors keep; None for a
                        model
    n_words:            size of the vocabulary; 0 for a model, which brings its own
    """

    vectors: Float32
    method: str
    explained_variance: float | None
    n_words: int


def item_words(items: pa.Table) -> list[str]:
    """All words of each item: title, text, category and brand, of these what the table has."""
    given = [items[name].to_pylist() for name in _SPOKEN_OF if name in items.column_names]
    rows = zip(*given, strict=True) if given else ((),) * items.num_rows
    return [" ".join(filter(None, row)) for row in rows]


def text_features(
    words: Sequence[str], options: TextOptions, seed: int, base: Path = Path()
) -> TextFeatures:
    """A vector per item out of its `words`; identical words give identical vectors.

    base: the directory of the config, to which `options.model` is relative
    Raises ConfigError when the model cannot be used.
    """
    if options.model is not None:
        return _by_model(words, base / options.model)
    weights = _tfidf(words)
    return _shortened(weights, options.dimensions, seed)


def _tfidf(words: Sequence[str]) -> sp.csr_matrix:
    """(n_items, n_words) float32, rows of length 1.

    Words are runs of two or more letters and digits, without case and accents. In a large catalogue
    a word of one item alone likens it to none, and a word of half of all items (stop words of any
    language) to everything: both are left out.
    """
    count = CountVectorizer(
        strip_accents="unicode", token_pattern=_WORD, max_features=MAX_WORDS, dtype=np.float32
    )
    analyse = count.build_analyzer()
    if not any(map(analyse, words)):
        return sp.csr_matrix(np.zeros((len(words), 0), np.float32))
    counts: sp.csr_matrix = count.fit_transform(words)
    if len(words) >= MANY_ITEMS:
        spread = np.bincount(counts.indices, minlength=counts.shape[1])
        telling = (spread > 1) & (spread <= len(words) / 2)
        counts = counts[:, telling] if telling.any() else counts
    weights: sp.csr_matrix = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    return weights


def _shortened(weights: sp.csr_matrix, dimensions: int, seed: int) -> TextFeatures:
    """Truncated SVD, its signs fixed by the largest loading of each dimension being positive."""
    n_items, n_words = weights.shape
    dimensions = min(dimensions, n_items, n_words)
    if not dimensions:
        return TextFeatures(np.zeros((n_items, 0), np.float32), "tfidf-svd", 0.0, n_words)
    _, sizes, axes = randomized_svd(weights, dimensions, random_state=seed, flip_sign=False)
    axes = axes[sizes > _NOISE * sizes[0]]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    # rows times axes rather than left singular vectors: equal rows come out equal to the last bit
    vectors = np.asarray(weights @ axes.T, dtype=np.float32)
    kept = float(np.square(vectors, dtype=np.float64).sum() / weights.multiply(weights).sum())
    return TextFeatures(_normalised(vectors), "tfidf-svd", min(kept, 1.0), n_words)


def _normalised(vectors: Float32) -> Float32:
    """Rows of length 1; rows of (nearly) no length become zero instead of magnified noise."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    told = length > _NOTHING
    unit: Float32 = np.where(told, vectors / np.where(told, length, 1), 0).astype(np.float32)
    return unit


def _by_model(words: Sequence[str], directory: Path) -> TextFeatures:
    """Every distinct text once: a text must not depend on those it is encoded with."""
    model = _model(directory)
    distinct, place = np.unique(np.array([*words, ""], dtype=object), return_inverse=True)
    found = model.encode(distinct.tolist(), convert_to_numpy=True, show_progress_bar=False)
    vectors = _normalised(np.asarray(found, dtype=np.float32))
    vectors[[not text.strip() for text in distinct]] = 0
    return TextFeatures(vectors[place[:-1]], directory.name, None, 0)


def _model(directory: Path) -> Any:
    """The sentence-transformers model of a local directory; raises ConfigError."""
    where = f"catalogue.text.model: {str(directory)!r}"
    if not (directory / "modules.json").is_file():
        raise ConfigError(
            f"{where} is no directory of a sentence-transformers model (it would have a "
            "modules.json); save one there with `SentenceTransformer(NAME).save(DIRECTORY)`, "
            "nothing is downloaded here"
        )
    try:
        package = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise ConfigError(
            f"{where} needs sentence-transformers ({error}); "
            "install it with `pip install 'purposeful-feeds[text]'`"
        ) from None
    try:
        return package.SentenceTransformer(str(directory), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{where} cannot be loaded: {error}") from error
