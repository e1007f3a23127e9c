"""What a mail says by itself, in the reader's language: a few words, and prices.

Prices are written by Babel, from the CLDR's rules for the language and the currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, format_decimal

from features.mail_options import Word

BUILT_IN: Mapping[str, Mapping[Word, str]] = {
    "en": {
        "view": "View", "read": "Read on", "instead_of": "instead of", "promoted": "Promoted",
        "web_view": "View in your browser", "unsubscribe": "Unsubscribe",
    },
    "de": {
        "view": "Ansehen", "read": "Weiterlesen", "instead_of": "statt", "promoted": "Empfohlen",
        "web_view": "Im Browser ansehen", "unsubscribe": "Abbestellen",
    },
    "es": {
        "view": "Ver", "read": "Seguir leyendo", "instead_of": "en vez de",
        "promoted": "Destacado", "web_view": "Ver en el navegador",
        "unsubscribe": "Darse de baja",
    },
    "fr": {
        "view": "Voir", "read": "Lire la suite", "instead_of": "au lieu de",
        "promoted": "Mis en avant", "web_view": "Voir dans le navigateur",
        "unsubscribe": "Se désabonner",
    },
    "it": {
        "view": "Vedi", "read": "Continua a leggere", "instead_of": "invece di",
        "promoted": "In evidenza", "web_view": "Apri nel browser",
        "unsubscribe": "Annulla l’iscrizione",
    },
    "nl": {
        "view": "Bekijk", "read": "Lees verder", "instead_of": "in plaats van",
        "promoted": "Uitgelicht", "web_view": "Bekijk in je browser",
        "unsubscribe": "Afmelden",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Speech:
    """A language as the templates need it.

    language: as in HTML, `en-GB`       direction: ltr or rtl
    start, end: left and right, or the other way round
    """

    language: str
    direction: str
    words: Mapping[str, str]  # by `Word`

    @property
    def start(self) -> str:
        """Where a line begins."""
        return "left" if self.direction == "ltr" else "right"

    @property
    def end(self) -> str:
        """Where a line ends."""
        return "right" if self.direction == "ltr" else "left"

    def price(self, amount: float, currency: str) -> str:
        """12,34 € in German, £12.34 in English; without a currency the number."""
        return _price(amount, currency, self.language)


def speech(language: str, own: Mapping[str, Mapping[Word, str]]) -> Speech:
    """A language that `is_language` knows.

    own: the shop's words by language, before the built-in ones; in a language that neither has, the
    words are English
    """
    locale = Locale.parse(_spelled(language), sep="-")
    tag, base = str(locale).replace("_", "-"), locale.language
    words: dict[str, str] = {}
    for told in (BUILT_IN["en"], BUILT_IN.get(base, {}), own.get(base, {}), own.get(tag, {})):
        words.update((name, text) for name, text in told.items())
    return Speech(tag, locale.text_direction, words)


@lru_cache(maxsize=1000)
def is_language(language: str) -> bool:
    """Does the CLDR know it? `de`, `de-AT`, `de_AT`."""
    try:
        Locale.parse(_spelled(language), sep="-")
    except (UnknownLocaleError, ValueError):
        return False
    return True


def _spelled(language: str) -> str:
    return language.strip().replace("_", "-")


@lru_cache(maxsize=100_000)
def _price(amount: float, currency: str, language: str) -> str:
    """Babel takes 60 µs, and every item stands in many mails."""
    locale = language.replace("-", "_")
    if not currency:
        return format_decimal(round(amount, 2), locale=locale)
    return format_currency(amount, currency, locale=locale)
