"""What is used for nobody's reasons: sensitive items, and the categories that such items are of."""

from __future__ import annotations

import numpy as np

from features.types import Bool
from training.catalogue import Catalogue


def sensitive_categories(catalogue: Catalogue) -> Bool:
    """(n_categories,) does a sensitive item lie in it, or in one above it?"""
    codes = catalogue.category[catalogue.sensitive]
    found = np.zeros(len(catalogue.tree), dtype=np.bool_)
    for code in np.unique(codes[codes >= 0]).tolist():
        begin, end = catalogue.below(catalogue.tree[code])
        found[begin:end] = True
    return found


def may_be_named(catalogue: Catalogue) -> Bool:
    """(n_items,) neither the item nor its category is sensitive."""
    hidden = np.append(sensitive_categories(catalogue), False)  # -1: of no category
    return np.asarray(~catalogue.sensitive & ~hidden[catalogue.category])
