"""What a desk needs to write mails: templates, what is known of items, and which of them suit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import ReferenceType

import numpy as np

from features.messages import Message
from features.types import Bool
from serving.desk import Desk
from serving.link_keys import LinkKeys
from serving.mailing.dressing import Dressing, template_of
from serving.templating import Templates

DAY_SECONDS = 86_400
_KEPT = 64  # masks


@dataclass
class Mailer:
    """A desk that writes mails: what it needs besides.

    _desk:    which knows its mailer. Were each held by the other, a model that is served no more
              would stay in memory: a worker does not look for cycles in what it opened
    messages: in the order in which they are asked
    dressing: of no mailing yet; others share what it knows of items
    keys:     signs links, where the config says that there are some
    """

    _desk: ReferenceType[Desk]
    messages: Sequence[Message]
    templates: Templates
    dressing: Dressing
    keys: LinkKeys | None = None
    _suits: dict[tuple[str, int], tuple[int, Bool, Bool]] = field(default_factory=dict)

    @property
    def desk(self) -> Desk:
        """Whose mails these are."""
        found = self._desk()
        assert found is not None  # whoever asks has got the mailer from it
        return found

    def dressing_of(self, mailing: str, written_us: int) -> Dressing:
        """What makes the items of a mailing ready whose links run from `written_us` on."""
        days = self.dressing.mail.link_days
        expires = int(written_us / 1e6 + days * DAY_SECONDS)
        key = None if self.keys is None else self.keys.newest
        return replace(self.dressing.of(mailing, expires), key=key)

    def suitable(self, placement: str, open_: Bool) -> Bool:
        """(n_items,) bool, of the open items those that a block here can show to anybody.

        It is there now, even where a rule shows what is sold out; it has what the template needs,
        picture and price for example; and neither it nor its category is sensitive: a mail lies
        open on a table.
        """
        version = self.desk.living.version
        kept = self._suits.get((placement, id(open_)))
        if kept is not None and kept[0] == version and kept[1] is open_:
            return kept[2]
        if any(one[0] != version for one in self._suits.values()):
            self.dressing.changed()
            self._suits.clear()
        elif len(self._suits) >= _KEPT:
            self._suits.clear()
        found = self._suited(placement, open_)
        self._suits[placement, id(open_)] = version, open_, found
        return found

    def _suited(self, placement: str, open_: Bool) -> Bool:
        catalogue = self.desk.living.catalogue
        hidden = np.append(catalogue.sensitive_categories, np.False_)  # of category -1: the last
        found = open_ & self.desk.living.opened & ~catalogue.sensitive & ~hidden[catalogue.category]
        items = np.flatnonzero(found).astype(np.int32)
        place = self.desk.bundle.config.placements[placement]
        needs = self.templates.required_by(template_of(place))
        found[items[self.dressing.lacking(items, needs)]] = False
        return found
