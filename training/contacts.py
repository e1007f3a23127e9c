"""What mails need to know of people: may they be written to, how often, in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from features.feature_set import FeatureSet
from features.types import Float32, Int8, Int64, Texts

_SAID = {True: 1, False: 0, None: -1}


@dataclass(frozen=True)
class Contacts:
    """A row per row of `Bundle.persons`; of visitors nothing is known.

    consent_email:  (n,) int8, 1 yes, 0 no, -1 nobody said
    mails_per_week: (n,) float32, at most so many; NaN where nobody said
    first_names, languages: as the shop's table of customers has them, "" unknown
    channels:       the newest answer to `mail.withhold.channel_question`, "" none
    """

    consent_email: Int8
    mails_per_week: Float32
    first_names: Texts
    languages: Texts
    channels: Texts

    @classmethod
    def nobody(cls, rows: int) -> Self:
        """`rows` people of whom nothing is known."""
        unknown = np.full(rows, np.nan, dtype=np.float32)
        said_nothing = np.full(rows, -1, dtype=np.int8)
        none = Texts.of([""] * rows)
        return cls(said_nothing, unknown, none, none, none)

    @classmethod
    def of(cls, features: FeatureSet, persons: Int64) -> Self:
        """Of these rows of the feature set's persons, in their order.

        A feature set that was put together by hand may have no table of contacts.
        """
        if not (features.directory / "contacts.parquet").exists():
            return cls.nobody(len(persons))
        table = features.table("contacts").set_index("person_index").reindex(persons)
        texts = table.astype(object).where(table.notna(), None)
        return cls(
            np.array([_SAID[one] for one in texts["consent_email"]], dtype=np.int8),
            table["mails_per_week"].to_numpy(np.float32),
            *(Texts.of(texts[name].tolist()) for name in ("first_name", "language", "channel")),
        )

    def __len__(self) -> int:
        return len(self.consent_email)
