"""`/r/TOKEN`: a link of a mail leads where the catalogue says, and the click is kept.

Whoever opens it is redirected at once; whose click it is, and that it is kept, comes after. Nothing
of the token or the request is in an answer or a log.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from features.mail_options import MailOptions
from serving import telemetry, telling
from serving.api_told import EventIn, EventsRequest
from serving.delivery import Holder
from serving.desk import Desk
from serving.link_keys import LinkKeys
from serving.link_pages import Why, page
from serving.links import Link, LinkKey, Refused, address, read, utm

PATH = "/r"
MOST_WAITING = 1000  # clicks that are being kept; beyond it the store is too slow for what comes
_QUIET = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_PAGE = _QUIET | {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
_REFUSED: dict[str, tuple[Why, int]] = {
    "expired": ("expired", 410), "tampered": ("broken", 404), "malformed": ("broken", 404),
}  # fmt: skip
_log = logging.getLogger("feeds.clicks")


@dataclass
class Clicks:
    """The links of one worker."""

    holder: Holder
    _keys: LinkKeys | None = None
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _silent: set[str] = field(default_factory=set)  # types of events that were told to be so

    def answer(self, token: str, *, counts: bool) -> Response:
        """Where a link leads; counts: somebody opens it, and does not only ask about it (HEAD)."""
        desk = self.holder.desk
        if desk is None:
            return HTMLResponse(page("later", MailOptions(), "en"), 503, _PAGE)
        mail, language = self.holder.mail(desk), desk.bundle.config.shop.language
        try:
            link = read(self._valid(), token, desk.now_us(None))
        except Refused as refused:
            level = logging.INFO if refused.reason == "expired" else logging.WARNING
            _log.log(level, "a link of a mail was refused: %s", refused.reason)
            telemetry.link_opened(refused.reason)
            why, status = _REFUSED[refused.reason]
            return HTMLResponse(page(why, mail, language), status, _PAGE)
        outcome, url = _target(desk, mail, link)
        if counts:
            telemetry.link_opened(outcome)
            self._keep(desk, link, mail.click_event)
        if not url:
            return HTMLResponse(page("gone", mail, language), 404, _PAGE)
        return RedirectResponse(url, 302, _QUIET)

    async def done(self) -> None:
        """When every click that came has been kept, or is lost."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _valid(self) -> list[LinkKey]:
        """The keys to read with; there are none before something was signed."""
        if self._keys is None:
            if not self.holder.home.link_keys.exists():
                return []
            try:
                self._keys = LinkKeys(self.holder.home)
            except (ValueError, OSError) as error:
                _log.error("no link of a mail can be read: %s", error)
                return []
        return list(self._keys.valid())

    def _keep(self, desk: Desk, link: Link, event_type: str) -> None:
        if len(self._under_way) >= MOST_WAITING:
            telemetry.clicked("lost")
            return
        task = asyncio.create_task(self._count(desk, link, event_type))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _count(self, desk: Desk, link: Link, event_type: str) -> None:
        outcome = await _kept(desk, link, event_type)
        telemetry.clicked(outcome)
        if outcome == "without_signal" and event_type not in self._silent:
            self._silent.add(event_type)
            _log.warning(
                "clicks in mails are kept as %r, for which the served model has no signal: they "
                "teach nothing; see that it is one of `signals`, and train", event_type,
            )  # fmt: skip


def _target(desk: Desk, mail: MailOptions, link: Link) -> tuple[str, str]:
    """What became of a link, for the metric, and where it leads; "": nowhere.

    Only the catalogue and the config say where: an item that is not to be had leads to its
    category, one that is gone to the shop.
    """
    catalogue = desk.living.catalogue
    item = int(catalogue.find([link.item_id])[0])
    card = desk.card(item) if item >= 0 else {}
    there = item >= 0 and bool(desk.living.opened[item])
    outcome, url = "item", address(card["url"], mail.site) if there else ""
    if not url and mail.category_page and card.get("category"):
        path = quote(card["category"], safe="/")
        outcome, url = "category", address(mail.category_page.replace("{category}", path))
    if not url and mail.site:
        outcome, url = "site", address(mail.site)
    if not url:
        return "gone", ""
    told = {"mailing": link.mailing, "placement": link.placement, "position": link.position,
            "item_id": link.item_id}  # fmt: skip
    return outcome, utm(url, mail.utm, told)


async def _kept(desk: Desk, link: Link, event_type: str) -> str:
    """File the click as a page's event is filed; of somebody who was forgotten there is none.

    returns: what became of it, one of telemetry.CLICKS
    """
    try:
        name = await desk.state.whose(link.recipient)
        if name is None:
            return "unknown"
        click = EventIn(
            item_id=link.item_id, event_type=event_type, user_id=name[2:], channel="email",
            placement=link.placement, decision_id=link.decision_id, position=link.position,
            event_id=f"{link.decision_id}.{link.position}.click",
        )  # fmt: skip
        told = await telling.events(desk, EventsRequest(events=[click]))
    except Exception as error:  # the reader is where they wanted to be; nobody else would see it
        _log.warning("a click was not kept: %s", type(error).__name__)
        return "lost"
    if not told["accepted"]:
        return "again"
    return "without_signal" if told["without_signal"] else "kept"


async def _open(request: Request) -> Response:
    clicks: Clicks = request.app.state.clicks
    return clicks.answer(request.path_params["token"], counts=request.method == "GET")


def links_of(holder: Holder) -> Clicks:
    """Answer with this worker's holder from now on."""
    pages.state.clicks = Clicks(holder)
    return pages.state.clicks  # type: ignore[no-any-return]


pages = Starlette(routes=[Route("/{token:path}", _open)])  # to be mounted at PATH
