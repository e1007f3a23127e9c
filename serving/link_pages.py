"""The small pages for links of a mail that lead nowhere, in the shop's language."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Literal
from urllib.parse import urlsplit

from features.mail_options import MailOptions

Why = Literal["gone", "expired", "broken", "later"]
BUILT_IN: Mapping[str, Mapping[Why, str]] = {
    "en": {
        "gone": "This item is not there any more.", "expired": "This link is too old.",
        "broken": "This link does not work.", "later": "Please try again in a moment.",
    },
    "de": {
        "gone": "Diesen Artikel gibt es nicht mehr.", "expired": "Dieser Link ist zu alt.",
        "broken": "Dieser Link funktioniert nicht.",
        "later": "Bitte versuchen Sie es gleich noch einmal.",
    },
    "es": {
        "gone": "Este artículo ya no está disponible.", "expired": "Este enlace ha caducado.",
        "broken": "Este enlace no funciona.", "later": "Inténtelo de nuevo en un momento.",
    },
    "fr": {
        "gone": "Cet article n’est plus disponible.", "expired": "Ce lien a expiré.",
        "broken": "Ce lien ne fonctionne pas.", "later": "Veuillez réessayer dans un instant.",
    },
    "it": {
        "gone": "Questo articolo non è più disponibile.", "expired": "Questo link è scaduto.",
        "broken": "Questo link non funziona.", "later": "Riprova tra un momento.",
    },
    "nl": {
        "gone": "Dit artikel is er niet meer.", "expired": "Deze link is verlopen.",
        "broken": "Deze link werkt niet.", "later": "Probeer het zo nog eens.",
    },
}  # fmt: skip
_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{words}</title>
</head>
<body style="font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
max-width:36em;margin:15vh auto 0;padding:0 1.5em;font-size:1.1em;line-height:1.5">
<p>{words}</p>
{to_shop}</body>
</html>
"""


def page(why: Why, mail: MailOptions, language: str) -> str:
    """The page as HTML; nothing of a request is in it.

    language: the shop's, `de` or `de-AT`; one that has no words here reads English
    """
    base = language.replace("_", "-").partition("-")[0]
    known = base if base in BUILT_IN else "en"
    to_shop = ""
    if mail.site is not None:
        name = escape(mail.shop_name or urlsplit(mail.site).netloc)
        to_shop = f'<p><a href="{escape(mail.site)}" rel="noreferrer">{name}</a></p>\n'
    return _PAGE.format(language=known, words=escape(BUILT_IN[known][why]), to_shop=to_shop)
