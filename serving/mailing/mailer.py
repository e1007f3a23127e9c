"""What a desk needs to write mails: templates, what is known of items, and which of them suit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import ReferenceType

import numpy as np

from features.messages import Message
from features.types import Bool, Int8, Int32
from serving.desk import Desk
from serving.link_keys import LinkKeys
from serving.mailing.dressing import Dressing, template_of
from serving.templating import Templates

DAY_SECONDS = 86_400
_UNKNOWN, _COMPLETE, _LACKING = -1, 0, 1  # of an item and what a template needs


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
    _known: dict[frozenset[str], Int8] = field(default_factory=dict, repr=False)  # by needs

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
        found = self.allowed(open_)
        place = self.desk.bundle.config.placements[placement]
        needs = self.templates.required_by(template_of(place))
        return np.asarray(found & (self._complete(needs, found) == _COMPLETE))

    def allowed(self, open_: Bool) -> Bool:
        """(n_items,) bool, the same whatever a template needs."""
        living = self.desk.living
        hidden = np.append(living.catalogue.sensitive_categories, np.False_)  # of category -1
        found = open_ & living.opened & ~living.catalogue.sensitive
        return np.asarray(found & ~hidden[living.catalogue.category])

    def changed(self, items: Int32) -> None:
        """These items are others than before: look at them anew."""
        self.dressing.changed(self.desk.living.catalogue.texts(items))
        for known in self._known.values():
            known[items] = _UNKNOWN

    def _complete(self, needs: frozenset[str], asked: Bool) -> Int8:
        """(n_items,) int8: do the `asked` ones have what a template needs? Each is looked at once.

        To look at one costs 30 microseconds, so `opening.equipped` asks for all before a service
        answers.
        """
        known = self._known.setdefault(needs, np.full(len(asked), _UNKNOWN, np.int8))
        items = np.flatnonzero(asked & (known == _UNKNOWN)).astype(np.int32)
        if items.size:
            known[items] = np.where(self.dressing.lacking(items, needs), _LACKING, _COMPLETE)
        return known
