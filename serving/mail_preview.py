"""A page with the same mailing as several people get it, beside one another."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from serving.rendering import Rendered
from serving.templating import BUILT_IN


@dataclass(frozen=True)
class Persona:
    """One kind of reader, and what becomes of their mail.

    name:     of the kind, such as `lapsing`; of no person
    facts:    what is known of them, in words: segment, stage, consent, history …
    reasons:  why this decision, in words
    rung:     the highest that this reader can have here; "" where that plays no part
    rendered: None: they get no mail, and `reasons` say why
    """

    name: str
    facts: Mapping[str, str]
    decision: Literal["show", "fallback", "suppress"]
    reasons: Sequence[str]
    rung: str
    rendered: Rendered | None


def preview_page(
    personas: Sequence[Persona],
    *,
    title: str = "Mailing",
    pictures: Mapping[str, str] | None = None,
) -> str:
    """A page that needs nothing else: every mail in a frame of its own, in which no script runs.

    It shows them on a desktop and on a phone, light and dark, and as plain text.

    pictures: address of a picture in the mails -> what to show for it, such as a data: URL; others
        are fetched from where they lie
    """
    found = pictures or {}
    mails = [one.rendered and _with(one.rendered.html, found) for one in personas]
    return _template().render(title=title, personas=list(zip(personas, mails, strict=True)))


def _with(mail: str, pictures: Mapping[str, str]) -> str:
    for url, shown in pictures.items():
        mail = mail.replace(f'src="{html.escape(url)}"', f'src="{html.escape(shown)}"')
    return mail


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(BUILT_IN), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("preview.html.j2")
