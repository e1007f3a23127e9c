"""What is used for nobody's reasons: sensitive items, and the categories that such items are of."""

from __future__ import annotations

import numpy as np

from features.types import Bool
from training.catalogue import Catalogue


def may_be_named(catalogue: Catalogue) -> Bool:
    """(n_items,) neither the item nor its category is sensitive."""
    hidden = np.append(catalogue.sensitive_categories, False)  # -1: of no category
    return np.asarray(~catalogue.sensitive & ~hidden[catalogue.category])
