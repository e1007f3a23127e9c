"""What a mail must be like to survive the clients that it is read in.

`checks(html, text)` gives the faults of one mail, each by the name of its check, which
docs/mail-templates.md explains.
"""

from __future__ import annotations

import html as entities
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from urllib.parse import urlsplit

import tinycss2
from bs4 import BeautifulSoup, Comment, Tag

from features.merge_tags import MERGE_TAG

WIDEST, LARGEST_BYTES, LONGEST_LINE = 600, 100_000, 998
LEAST_CONTRAST, SMALLEST_TEXT = 4.5, 13
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
UNKNOWN_TAGS = (  # to one client or another: taken out, with or without what is in them
    "script", "form", "input", "select", "textarea", "iframe", "object", "embed", "video", "audio",
    "svg", "canvas", "link", "base", "picture",
)  # fmt: skip
UNKNOWN_CSS = {"position", "float", "background-image", "background", "transform", "animation"}
UNKNOWN_DISPLAY = {"flex", "inline-flex", "grid", "inline-grid"}
GENERIC_FONTS = {"sans-serif", "serif", "monospace"}
DARK, PHONE = "prefers-color-scheme: dark", "max-width:"
_MSO = re.compile(r"<!--\[if [^\]]*mso[^\]]*\]>(.*?)<!\[endif\]-->", re.DOTALL)


@dataclass(frozen=True)
class Style:
    """What the declarations of one element, or of one rule, say."""

    values: dict[str, str]

    @classmethod
    def of(cls, text: str) -> Style:
        found = tinycss2.parse_declaration_list(text, skip_comments=True, skip_whitespace=True)
        return cls({one.lower_name: tinycss2.serialize(one.value).strip().lower()
                    for one in found if one.type == "declaration"})  # fmt: skip

    def pixels(self, name: str) -> float | None:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:px)?", self.values.get(name, ""))
        return float(found[1]) if found else None


@dataclass(frozen=True)
class Mail:
    """A mail taken apart."""

    html: str
    text: str

    @cached_property
    def soup(self) -> BeautifulSoup:
        return BeautifulSoup(self.html, "html.parser")

    @cached_property
    def styled(self) -> list[tuple[Tag, Style]]:
        return [(tag, Style.of(tag.get("style", ""))) for tag in self.soup.find_all(True)]

    @cached_property
    def css(self) -> str:
        return "\n".join(style.get_text() for style in self.soup.find_all("style"))

    def all_styles(self) -> Iterator[Style]:
        """Of every element and of every rule of the style block."""
        yield from (style for _, style in self.styled)
        for _, _, style in self.rules():
            yield style

    def rules(self) -> Iterator[tuple[str, str, Style]]:
        """(media query or "", selector, style) of every rule."""
        for rule in tinycss2.parse_stylesheet(self.css, skip_comments=True, skip_whitespace=True):
            if rule.type == "qualified-rule":
                yield "", tinycss2.serialize(rule.prelude).strip(), Style.of(
                    tinycss2.serialize(rule.content))  # fmt: skip
            elif rule.type == "at-rule" and rule.lower_at_keyword == "media":
                media = tinycss2.serialize(rule.prelude).strip()
                inner = tinycss2.parse_rule_list(rule.content, skip_comments=True,
                                                 skip_whitespace=True)  # fmt: skip
                for one in inner:
                    if one.type == "qualified-rule":
                        yield media, tinycss2.serialize(one.prelude).strip(), Style.of(
                            tinycss2.serialize(one.content))  # fmt: skip

    def addresses(self) -> Iterator[tuple[str, str]]:
        """(tag, address) of every link and picture."""
        for tag in self.soup.find_all(["a", "img", "v:roundrect"]):
            yield tag.name, tag.get("href" if tag.name != "img" else "src", "")


Check = Callable[[Mail], Iterator[str]]


def doctype(mail: Mail) -> Iterator[str]:
    if not mail.html.lstrip().lower().startswith("<!doctype html>"):
        yield "does not begin with <!doctype html>"


def language(mail: Mail) -> Iterator[str]:
    root = mail.soup.html
    if root is None or not root.get("lang") or root.get("dir") not in ("ltr", "rtl"):
        yield "<html> lacks lang or dir"


def title(mail: Mail) -> Iterator[str]:
    if mail.soup.title is None or not mail.soup.title.get_text(strip=True):
        yield "no <title>, or an empty one"


def charset(mail: Mail) -> Iterator[str]:
    found = mail.soup.find("meta", charset=True)
    if found is None or found["charset"].lower() != "utf-8":
        yield "no <meta charset=utf-8>"


def viewport(mail: Mail) -> Iterator[str]:
    found = mail.soup.find("meta", attrs={"name": "viewport"})
    if found is None or "width=device-width" not in found.get("content", ""):
        yield "no viewport as wide as the device: phones show it small"


def colour_schemes(mail: Mail) -> Iterator[str]:
    for name in ("color-scheme", "supported-color-schemes"):
        found = mail.soup.find("meta", attrs={"name": name})
        if found is None or not {"light", "dark"} <= set(found.get("content", "").split()):
            yield f"no <meta name={name}> with light and dark"


def dark_styles(mail: Mail) -> Iterator[str]:
    if not any(DARK in media for media, _, _ in mail.rules()):
        yield f"no rule for ({DARK})"


def phone_styles(mail: Mail) -> Iterator[str]:
    if not any(PHONE in media for media, _, _ in mail.rules()):
        yield "no rule for narrow screens"


def style_block(mail: Mail) -> Iterator[str]:
    for media, selector, _ in mail.rules():
        if not media and selector != ":root" and not selector.startswith("[data-ogs"):
            yield f"{selector!r} holds everywhere: write it inline"


def outside_styles(mail: Mail) -> Iterator[str]:
    for word in ("@import", "@font-face"):
        if word in mail.css.lower():
            yield f"{word} in the style block"
    for tag in mail.soup.find_all("link"):
        yield f"<link rel={tag.get('rel')}>"


def known_tags(mail: Mail) -> Iterator[str]:
    for tag in mail.soup.find_all(UNKNOWN_TAGS):
        yield f"<{tag.name}>"


def no_handlers(mail: Mail) -> Iterator[str]:
    for tag in mail.soup.find_all(True):
        yield from (f"{name} of <{tag.name}>" for name in tag.attrs if name.startswith("on"))


def known_css(mail: Mail) -> Iterator[str]:
    for style in mail.all_styles():
        for name, value in style.values.items():
            if name in UNKNOWN_CSS or "url(" in value or "var(" in value or "calc(" in value:
                yield f"{name}: {value}"
            if name == "display" and value in UNKNOWN_DISPLAY:
                yield f"{name}: {value}"
    for tag in mail.soup.find_all(background=True):
        yield f"background of <{tag.name}>"


def device_fonts(mail: Mail) -> Iterator[str]:
    for style in mail.all_styles():
        fonts = style.values.get("font-family")
        if fonts and fonts.split(",")[-1].strip().strip("'\"") not in GENERIC_FONTS:
            yield f"font-family: {fonts} does not end with a kind of font"


def readable_size(mail: Mail) -> Iterator[str]:
    for style in mail.all_styles():
        size = style.pixels("font-size")
        if size is not None and 0 < size < SMALLEST_TEXT:  # 0 closes gaps, it is no text
            yield f"font-size {size:g}px: phones make it larger, or nobody reads it"


def layout_tables(mail: Mail) -> Iterator[str]:
    hidden = "".join(_MSO.findall(mail.html))
    for place in (mail.soup, BeautifulSoup(hidden, "html.parser")):
        for table in place.find_all("table"):
            if table.get("role") != "presentation":
                yield "a <table> without role=presentation is read out as data"


def width(mail: Mail) -> Iterator[str]:
    for tag, style in mail.styled:
        told = [style.pixels("width"), style.pixels("max-width"), style.pixels("min-width")]
        if tag.get("width", "").isdigit():
            told.append(float(tag["width"]))
        if any(one is not None and one > WIDEST for one in told):
            yield f"<{tag.name}> is wider than {WIDEST}px"
        if tag.name == "table" and tag.get("width", "100%").isdigit():
            yield "a <table> of a fixed width does not shrink on phones"
    if not any(style.pixels("max-width") == WIDEST for _, style in mail.styled):
        yield f"nothing has a max-width of {WIDEST}px"


def outlook(mail: Mail) -> Iterator[str]:
    """Outlook on Windows knows no max-width: it is given tables in conditional comments."""
    told = _MSO.findall(mail.html)
    tables = "".join(told)
    if 'width="600"' not in tables:
        yield "no table of 600px for Outlook"
    for tag in ("table", "tr", "td"):
        opened, closed = len(re.findall(rf"<{tag}[ >]", tables)), tables.count(f"</{tag}>")
        if opened != closed:
            yield f"conditional comments open {opened} <{tag}> and close {closed}"
    if mail.html.count("<!--[if") != mail.html.count("<![endif]"):
        yield "a conditional comment is not closed"


class _Nesting(HTMLParser):
    """Notes where an end does not belong to the last tag that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> in line {self.getpos()[0]} closes something else")


def nesting(mail: Mail) -> Iterator[str]:
    reader = _Nesting()
    reader.feed(mail.html)
    yield from reader.faults[:1]  # all that follow come of the first
    if reader.open and not reader.faults:
        yield f"<{reader.open[-1]}> is not closed"


def alt_texts(mail: Mail) -> Iterator[str]:
    for picture in mail.soup.find_all("img"):
        if not picture.get("alt", "").strip():
            yield f"the picture {picture.get('src')} has no alt text: many clients block pictures"


def picture_sizes(mail: Mail) -> Iterator[str]:
    for picture in mail.soup.find_all("img"):
        if not (picture.get("width", "").isdigit() and picture.get("height", "").isdigit()):
            yield f"the picture {picture.get('src')} lacks width or height"


def picture_formats(mail: Mail) -> Iterator[str]:
    for picture in mail.soup.find_all("img"):
        path = urlsplit(picture.get("src", "")).path.lower()
        if path.endswith((".svg", ".webp", ".avif")):
            yield f"{path}: Outlook or Gmail do not draw it; send PNG, JPEG or GIF"


def web_addresses(mail: Mail) -> Iterator[str]:
    for tag, url in mail.addresses():
        other = tag == "a" and (MERGE_TAG.fullmatch(url) or url.startswith("mailto:"))
        if not other and not (url.startswith("https://") and urlsplit(url).hostname):
            yield f"<{tag}> leads to {url!r}, not to https://"


def links_say_where(mail: Mail) -> Iterator[str]:
    for link in mail.soup.find_all("a"):
        picture = link.find("img")
        if not link.get_text(strip=True) and not (picture and picture.get("alt", "").strip()):
            yield f"the link to {link.get('href')} has neither text nor a picture with alt text"


def buttons(mail: Mail) -> Iterator[str]:
    """A link that looks like a button: a cell with a colour around it, for Outlook."""
    found = False
    for link, style in mail.styled:
        if link.name == "a" and style.values.get("display") == "inline-block":
            cell, found = link.parent, True
            if cell.name != "td" or not cell.get("bgcolor") or not cell.get("style"):
                yield f"the button {link.get_text(strip=True)!r} is not in a <td> with bgcolor"
            elif "mso-padding-alt" not in cell["style"]:
                yield f"the button {link.get_text(strip=True)!r} has no room in Outlook"
    if not found:
        yield "there is no button"


def preheader(mail: Mail) -> Iterator[str]:
    first = mail.soup.body.find(True) if mail.soup.body else None
    style = Style.of(first.get("style", "")).values if first else {}
    if style.get("display") != "none" or style.get("mso-hide") != "all":
        yield "the body does not begin with a hidden preheader"
    elif not first.get_text(strip=True).strip("\u034f\u200c\xa0 "):
        yield "the preheader is empty: the mailbox shows whatever comes first"


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _ratio(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _colour(tag: Tag, name: str, over: dict[str, dict[str, str]]) -> str | None:
    """The colour that holds for a tag: of the dark rules first, then its own, then from above."""
    for one in (tag, *tag.parents):
        if one.name == "[document]":
            return None
        for of_class in one.get("class", []):
            if name in over.get(of_class, {}):
                return over[of_class][name].removesuffix("!important").strip()
        own = Style.of(one.get("style", "")).values.get(name)
        if own is None and name == "background-color":
            own = one.get("bgcolor")
        if own:
            return own.lower()
    return None


def _contrasts(mail: Mail, over: dict[str, dict[str, str]]) -> Iterator[str]:
    seen = set()
    for text in (mail.soup.body or mail.soup).find_all(string=True):
        hidden = any("display:none" in one.get("style", "") for one in text.parents)
        if isinstance(text, Comment) or not text.strip() or hidden:
            continue
        pair = (_colour(text.parent, "color", over), _colour(text.parent, "background-color", over))
        if pair in seen:
            continue
        seen.add(pair)
        if None in pair:
            yield f"{text.strip()[:30]!r} has no colour of its own, or none behind it"
        elif _ratio(*pair) < LEAST_CONTRAST:
            yield f"{text.strip()[:30]!r}: {pair[0]} on {pair[1]} is {_ratio(*pair):.1f}"


def contrast(mail: Mail) -> Iterator[str]:
    yield from _contrasts(mail, {})


def dark_contrast(mail: Mail) -> Iterator[str]:
    over: dict[str, dict[str, str]] = {}
    for media, selector, style in mail.rules():
        if DARK in media and re.fullmatch(r"\.[\w-]+", selector):
            over.setdefault(selector[1:], {}).update(style.values)
    yield from _contrasts(mail, over)


def size(mail: Mail) -> Iterator[str]:
    if (found := len(mail.html.encode())) >= LARGEST_BYTES:
        yield f"{found} bytes: Gmail cuts mails off at 102 kB"


def line_length(mail: Mail) -> Iterator[str]:
    for name, part in (("HTML", mail.html), ("text", mail.text)):
        longest = max(len(line.encode()) for line in part.split("\n"))
        if longest > LONGEST_LINE:
            yield f"a line of the {name} has {longest} bytes (RFC 5322, 2.1.1: {LONGEST_LINE})"


def plain_text(mail: Mail) -> Iterator[str]:
    if not mail.text.strip():
        yield "there is no plain text"
    if re.search(r"</?[a-z]+[ >]|&(?:#\d+|\w+);", mail.text.replace("<%", "")):
        yield "the plain text holds HTML"


def same_links(mail: Mail) -> Iterator[str]:
    """Whoever reads the plain text can go where the others can."""
    for tag, url in mail.addresses():
        if tag == "a" and entities.unescape(url) not in mail.text:
            yield f"the plain text lacks the link {url}"


def same_words(mail: Mail) -> Iterator[str]:
    told = " ".join(mail.text.split())
    for picture in mail.soup.select("a img"):
        if " ".join(picture.get("alt", "").split()) not in told:
            yield f"the plain text lacks {picture['alt']!r}"


CHECKS: tuple[Check, ...] = (
    doctype, language, title, charset, viewport, colour_schemes, dark_styles, phone_styles,
    style_block, outside_styles, known_tags, no_handlers, known_css, device_fonts, readable_size,
    layout_tables, width, outlook, nesting, alt_texts, picture_sizes, picture_formats,
    web_addresses, links_say_where, buttons, preheader, contrast, dark_contrast, size, line_length,
    plain_text, same_links, same_words,
)  # fmt: skip
NAMES = tuple(check.__name__ for check in CHECKS)


def checks(html: str, text: str) -> list[str]:
    """Every fault of a mail, as `name of the check: what is wrong`; none: it is as it should be."""
    mail = Mail(html, text)
    return [f"{check.__name__}: {fault}" for check in CHECKS for fault in check(mail)]
