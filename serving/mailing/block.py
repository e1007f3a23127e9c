"""One mail for one person, asked for by whatever triggers it: the same decision as in a mailing.

What was answered stands for an hour: a mail system asks again when it tries again, and the reader
must not get another mail than the one that was logged.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

import msgspec

from features.mail_options import EMAIL
from serving.api_mail import BlockRequest
from serving.desk import BadRequest, Desk
from serving.mailing.blocks import Mailing
from serving.mailing.deciding import decide_mails
from serving.mailing.dressing import DressedMail, mail_of
from serving.mailing.mailer import Mailer
from serving.mailing.recipients import Given, Recipients, recipients_of
from serving.mailing.sent import decisions_of
from serving.mailing.telling import names_for, told
from serving.rendering import fragment, rendered
from serving.state import Met, Shown

STANDS_SECONDS = 3600.0
_encode = msgspec.json.Encoder().encode


class Said(msgspec.Struct, frozen=True):
    """What is kept of an answer: the mail, its moment, and which model and rules made it."""

    mail: DressedMail
    at_us: int
    model_version: str
    rules_version: str
    as_of: str


_decode = msgspec.json.Decoder(Said).decode


async def block(desk: Desk, request: BlockRequest) -> dict[str, Any]:
    """Answer one request, as the fields of a BlockResponse; `html`: what its format asks for.

    Raises BadRequest, and StateUnavailable: without the store nobody knows who said no.
    """
    mailer = mailer_at(desk)
    mailing = Mailing(request.mailing, _placements(desk, request), desk.now_us(request.at))
    given = Given(request.first_name, request.language, request.consent_email)
    recipients = await recipients_of(
        desk, mailer.dressing.mail, [request.user_id], mailing.at_us, [given]
    )
    key = _key(request, mailing, recipients)
    name = f"u:{request.user_id}"
    before = await desk.state.said_before(name, key, STANDS_SECONDS)
    if before is not None and (said := _understood(before)) is not None:
        await desk.state.keep(_shown(said))  # the first time the store may have failed in between
        return _answer(mailer, request, said, again=True)
    return await _fresh(desk, request, mailing, (recipients, key))


def mailer_at(desk: Desk) -> Mailer:
    """What the desk writes mails with; BadRequest says why it writes none."""
    if desk.mailer is None:
        raise BadRequest("placements", desk.no_mails)
    return desk.mailer


def _understood(kept: bytes) -> Said | None:
    """None: another version of this program wrote it; it is decided anew."""
    try:
        return _decode(kept)
    except msgspec.DecodeError:
        return None


async def _fresh(
    desk: Desk, request: BlockRequest, mailing: Mailing, known: tuple[Recipients, str]
) -> dict[str, Any]:
    """Decide it now; of two who ask at the same moment the first is right for both."""
    began, (recipients, key) = time.perf_counter(), known
    mailer, name = mailer_at(desk), f"u:{request.user_id}"
    names = names_for(desk, recipients)
    mails = decide_mails(mailer, recipients, mailing.placements)
    asked = replace(mailing, name=f"{mailing.name} {secrets.token_hex(8)}")  # of this answer alone
    blocks = told(mailer, mails, asked, names)  # so that its ids are no other answer's
    dressing = mailer.dressing_of(mailing.name, time.time_ns() // 1000)
    said = Said(
        dressing.dressed(blocks, range(len(blocks))), mailing.at_us, desk.bundle.version,
        desk.rulebook.version, desk.bundle.manifest["as_of"],
    )  # fmt: skip
    own = _encode(said)
    stands = await desk.state.once(name, key, own, STANDS_SECONDS)
    other = None if stands == own else _understood(stands)
    if other is None:
        met = [Met(salts=names.salts)] if names.salts else []
        await desk.state.keep([*met, *_shown(said)])
        took = round((time.perf_counter() - began) * 1e6)
        for one in decisions_of(blocks, mailing, (desk.bundle.version, desk.rulebook.version)):
            desk.log.write(msgspec.structs.replace(one, latency_us=took))
    return _answer(mailer, request, other or said, again=other is not None)


def _shown(said: Said) -> list[Shown]:
    """What the reader was shown; to keep it twice does no harm."""
    return [
        Shown(
            decision_id=one.decision_id, name=f"u:{said.mail.user_id}", placement=one.placement,
            item_ids=[item.item_id for item in one.items], at_us=said.at_us, mail=True,
        )
        for one in said.mail.blocks if one.items
    ]  # fmt: skip


def _placements(desk: Desk, request: BlockRequest) -> tuple[str, ...]:
    places = desk.bundle.config.placements
    ours = [name for name, place in places.items() if place.channel == EMAIL]
    for nth, name in enumerate(request.placements or ()):
        if name not in ours:
            raise BadRequest(
                f"placements.{nth}", f"no placement with `channel: email` is called {name!r}; "
                f"there are {ours}",
            )  # fmt: skip
    found = tuple(dict.fromkeys(request.placements or ours))
    if not found:
        raise BadRequest("placements", "no placement of the config has `channel: email`")
    return found


def _key(request: BlockRequest, mailing: Mailing, recipients: Recipients) -> str:
    """What makes it another answer: above all a word on consent since the last one."""
    consent = bool(recipients.people.consent[0])
    more = [request.first_name, request.language, request.consent_email, consent]
    return _encode([mailing.name, mailing.placements, *more]).decode()


def _answer(mailer: Mailer, request: BlockRequest, said: Said, *, again: bool) -> dict[str, Any]:
    mail = said.mail
    first = next((one for one in mail.blocks if one.decision == mail.decision), mail.blocks[0])
    answer: dict[str, Any] = {
        "mailing": request.mailing, "decision": mail.decision, "reason": first.reason,
        "again": again, "subject": mail.subject, "language": mail.language, "blocks": mail.blocks,
        "html": None, "text": None, "model_version": said.model_version,
        "rules_version": said.rules_version, "as_of": said.as_of,
    }  # fmt: skip
    if request.format != "json" and mail.decision != "suppress":
        form = rendered if request.format == "html" else fragment
        config = mailer.desk.bundle.config.model_copy(update={"mail": mailer.dressing.mail})
        made = form(mail_of(mail, config), mailer.templates)
        answer["html"], answer["text"] = made.html, made.text
    return answer
