"""Links of a mail: signed, so that a click says where it comes from and nobody can make one up.

A token holds no address, neither of a person nor of a page: where it leads is looked up in the
catalogue when it is opened. It is the key's number, the fields in MessagePack, and the first 128
bits of an HMAC-SHA256 (RFC 2104; truncated as its section 5 allows), in base64url.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Container, Mapping, Sequence
from typing import Literal
from urllib.parse import quote, unquote_plus, urlencode, urljoin, urlsplit

import msgspec

from features.merge_tags import MERGE_TAG

Reason = Literal["tampered", "expired", "malformed"]
MAX_TOKEN = 8192  # characters; ids of the greatest length fit, and nobody's megabytes are hashed
_TEXTS = "mailing", "placement", "item_id", "decision_id"
_SEAL = 16  # bytes of the HMAC that are kept
_FIELD = re.compile(r"\{(\w+)\}")
_KEPT = "!#%&'()*+,/:;=?@~"  # what `quote` leaves alone; [], {} and $ would look like merge tags
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")  # others begin what is encoded already


class LinkKey(msgspec.Struct, frozen=True):
    """What links are signed with.

    number: 0 to 255, told in every token, so that a link finds its key after a rotation
    secret: 32 random bytes
    """

    number: int
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret: it may end in a log."""
        return f"LinkKey(number={self.number})"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Where a click comes from.

    recipient: pseudonym as in the decisions, 32 hexadecimal characters
    position:  from 1          expires: seconds since 1970 UTC, the first at which it is refused
    mailing:   as in the UTM parameters; may be empty
    """

    recipient: str
    decision_id: str
    placement: str
    item_id: str
    position: int
    expires: int
    mailing: str = ""


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    recipient: bytes
    decision_id: str
    placement: str
    item_id: str
    position: int
    expires: int
    mailing: str


_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Packed).decode


class Refused(Exception):
    """A link that leads nowhere; says why, and nothing of what it held."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def signed(key: LinkKey, link: Link) -> str:
    """The link as text for a URL path: about 140 characters, only letters, digits, - and _.

    Raises ValueError for a recipient that is no pseudonym: it might be a name; and for a token that
    `read` would refuse, because something in it is too long.
    """
    recipient = _raw(link.recipient)
    packed = _Packed(
        recipient, link.decision_id, link.placement, link.item_id, link.position, link.expires,
        link.mailing,
    )  # fmt: skip
    body = bytes((key.number,)) + _pack(packed)
    token = urlsafe_b64encode(body + _seal(key, body)).rstrip(b"=").decode("ascii")
    if len(token) > MAX_TOKEN:
        name = max(_TEXTS, key=lambda one: len(getattr(link, one).encode()))
        raise ValueError(f"the {name} of a link is too long: {getattr(link, name)[:40]}…")
    return token


def read(keys: Sequence[LinkKey], token: str, now_us: int) -> Link:
    """The link of a token that one of these keys has signed. Raises Refused.

    malformed: no token at all
    tampered:  not signed by any of the keys: changed, made up, of another shop, or of an old key
    expired:   ours, and too old
    """
    raw = _decoded(token)
    body, seal = raw[:-_SEAL], raw[-_SEAL:]
    key = next((one for one in keys if one.number == body[0]), None)
    if key is None or not hmac.compare_digest(_seal(key, body), seal):
        raise Refused("tampered")
    try:
        told = _unpack(body[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):  # signed by another version of this file
        raise Refused("malformed") from None
    if now_us >= told.expires * 1_000_000:
        raise Refused("expired")
    return Link(
        recipient=told.recipient.hex(), decision_id=told.decision_id, placement=told.placement,
        item_id=told.item_id, position=told.position, expires=told.expires, mailing=told.mailing,
    )  # fmt: skip


def utm(url: str, fields: Mapping[str, str], values: Mapping[str, object]) -> str:
    """The address with these query parameters; `{placement}` and such are filled from `values`.

    What the address has already stays as it is, except parameters of the same names: an analytics
    tool that finds two campaigns in one address takes either. Raises KeyError for an unknown field.
    """
    return with_parameters(url, fields, parameters(fields, values))


def parameters(fields: Mapping[str, str], values: Mapping[str, object]) -> str:
    """The query parameters that `utm` adds, encoded."""
    return urlencode({
        name: _FIELD.sub(lambda found: str(values[found[1]]), text) for name, text in fields.items()
    })  # fmt: skip


def with_parameters(url: str, names: Container[str], told: str) -> str:
    """The address with the parameters `told`, encoded; its own of these names go."""
    if told and "?" not in url and "#" not in url:
        return f"{url}?{told}"
    before, mark, fragment = url.partition("#")
    path, _, query = before.partition("?")
    kept = [
        part for part in query.split("&")
        if part and unquote_plus(part.partition("=")[0]) not in names
    ]  # fmt: skip
    whole = "&".join([*kept, told] if told else kept)
    return f"{path}?{whole}{mark}{fragment}" if whole else f"{path}{mark}{fragment}"


def address(url: str, site: str | None = None) -> str:
    """An address of the catalogue as a mail needs it: absolute, ASCII; "" where it is none.

    Nothing in it is a merge tag of an e-mail service: what may be part of one is encoded.

    site: where relative ones belong, `https://shop.example`
    """
    whole = url.strip()
    try:
        parts = urlsplit(whole)
        if site and whole and not parts.scheme:
            parts = urlsplit(urljoin(site.rstrip("/") + "/", whole))
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except ValueError:  # a bracket left open, a label too long
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or MERGE_TAG.search(host):
        return ""
    return _STRAY.sub("%25", quote(parts._replace(netloc=host).geturl(), safe=_KEPT))


def _raw(recipient: str) -> bytes:
    try:
        raw = bytes.fromhex(recipient)
    except ValueError:
        raw = b""
    if len(raw) != 16 or raw.hex() != recipient:
        raise ValueError("the recipient of a link is a pseudonym: 32 hexadecimal characters")
    return raw


def _seal(key: LinkKey, body: bytes) -> bytes:
    return hmac.digest(key.secret, body, "sha256")[:_SEAL]


def _decoded(token: str) -> bytes:
    """The bytes of a token; only the one spelling that `signed` gives is read."""
    if len(token) > MAX_TOKEN:
        raise Refused("malformed")
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"==")
    except ValueError:  # letters that it cannot have, or one too many
        raise Refused("malformed") from None
    if len(raw) < _SEAL + 2 or urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != token:
        raise Refused("malformed")
    return raw
