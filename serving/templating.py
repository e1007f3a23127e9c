"""The templates of mails: built-in ones and own ones by path, compiled once.

At its head a template says what it needs of an item: `{% set requires = ["url", "price"] %}`.
Own templates run in Jinja's sandbox: they see what they are given and nothing of the process.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    nodes,
)
from jinja2 import Template as Compiled
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from features.mail_options import MailLook, MailOptions
from serving.mail_blocks import ITEM_FIELDS
from serving.mail_words import is_language, speech

BUILT_IN = Path(__file__).parent / "mail_templates"
FRAME = "frame"  # goes around the blocks
NAMES = (FRAME, "products", "articles")  # what is built in; an own template may take such a name
HTML, TEXT = ".html.j2", ".txt.j2"
MACROS = "parts.html.j2"  # what every template can call
MACRO_NAMES = ("headline", "picture", "title", "remark", "button", "aside")
FONTS = "-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"  # on the reader's device
DARK, LIGHT = "#000000", "#ffffff"  # one of them stands out 4.5 to 1 from any colour


class TemplateFault(ValueError):
    """A template that cannot be used; the message begins with its file and line."""


@dataclass(frozen=True)
class Template:
    """One template in both forms; needs: fields of BlockItem that no item may lack."""

    html: Compiled
    text: Compiled
    needs: frozenset[str]


class Templates:
    """All templates of a shop and what they are filled with, whoever reads the mail.

    options:  the section `mail` of the config
    base:     the directory that the paths of templates are relative to
    language: the shop's, for readers of whom none is known

    Raises TemplateFault for a file that is missing or no template, ValueError for a language that
    there is not.
    """

    def __init__(self, options: MailOptions, base: Path, language: str) -> None:
        for one in (language, *options.words):
            if not is_language(one):
                raise ValueError(f"there is no language {one!r}; write one such as de or de-AT")
        self._options, self._language = options, language
        self._shared: dict[str, dict[str, Any]] = {}  # by language
        built_in = _environment(Environment, BUILT_IN, _constants(options.look))
        macros = built_in.get_template(MACROS).module  # once: an import costs every mail time
        built_in.globals |= {name: getattr(macros, name) for name in MACRO_NAMES}
        self._templates = {name: _template(built_in, BUILT_IN / f"{name}{HTML}") for name in NAMES}
        for name, path in options.templates.items():
            file = base / path
            own = _environment(ImmutableSandboxedEnvironment, file.parent, built_in.globals)
            self._templates[name] = _template(own, file)

    @property
    def names(self) -> Sequence[str]:
        """What a block can ask for."""
        return [name for name in self._templates if name != FRAME]

    @property
    def frame(self) -> Template:
        """What goes around the blocks."""
        return self._templates[FRAME]

    def of(self, name: str) -> Template:
        """The template of a block; a ValueError says which there are."""
        if name not in self.names:
            raise ValueError(
                f"there is no mail template {name!r}; choose from {', '.join(self.names)}, or "
                "give its file under mail.templates"
            )
        return self._templates[name]

    def required_by(self, name: str) -> frozenset[str]:
        """Which fields of an item a template cannot do without: leave out items that lack one."""
        return self.of(name).needs

    def shared(self, language: str) -> Mapping[str, Any]:
        """The variables that are the same in all mails of a language; docs/mail-templates.md."""
        found = self._shared.get(language)
        if found is None:
            known = language if is_language(language) else self._language
            if known not in self._shared:
                self._shared[known] = self._variables(known)
            found = self._shared[known]
        return found

    def _variables(self, language: str) -> dict[str, Any]:
        spoken = speech(language, self._options.words)
        return {
            "language": spoken.language, "direction": spoken.direction,
            "start": spoken.start, "end": spoken.end,
            "words": spoken.words, "price": spoken.price,
            "shop_name": self._options.shop_name, "footer": self._options.footer,
        }  # fmt: skip


def filled(template: Compiled, values: Mapping[str, Any]) -> str:
    """The text of a template; whatever goes wrong in it is a TemplateFault with file and line."""
    try:
        return template.render(values)
    except Exception as error:  # a template is a program
        raise TemplateFault(f"{_place(error, template)}: {error}") from error


def _constants(look: MailLook) -> dict[str, Any]:
    """What is the same in all mails of a shop; Jinja's own, such as `range`, is not needed."""
    return {"look": look, "on_accent": Markup(_readable_on(look)), "fonts": Markup(FONTS)}


def _environment(
    kind: type[Environment], directory: Path, constants: dict[str, Any]
) -> Environment:
    made = kind(
        loader=FileSystemLoader(directory), autoescape=_is_markup, undefined=StrictUndefined,
        auto_reload=False, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["line"], made.globals = _line, constants
    return made


def _is_markup(name: str | None) -> bool:
    """Is text to be escaped in this file? In all but plain text."""
    return name is None or not name.endswith(TEXT)


def _line(text: str) -> str:
    """Text without line breaks, for plain text, where a break means something."""
    return " ".join(text.split())


def _template(environment: Environment, file: Path) -> Template:
    stem = file.name.removesuffix(HTML)
    html, text = (_compiled(environment, file.with_name(stem + end)) for end in (HTML, TEXT))
    return Template(html, text, _needs(environment, file))


def _compiled(environment: Environment, file: Path) -> Compiled:
    try:
        return environment.get_template(file.name)
    except TemplateNotFound:
        raise TemplateFault(f"{file}: there is no such file; a template is two of them, "
                            f"NAME{HTML} and NAME{TEXT}") from None  # fmt: skip
    except TemplateSyntaxError as error:
        raise TemplateFault(f"{error.filename}:{error.lineno}: {error.message}") from None


def _needs(environment: Environment, file: Path) -> frozenset[str]:
    """What is `set` as `requires` at the head of a template."""
    source = file.read_text(encoding="utf-8")
    for node in environment.parse(source, file.name, str(file)).find_all(nodes.Assign):
        if isinstance(node.target, nodes.Name) and node.target.name == "requires":
            return frozenset(_fields(node, f"{file}:{node.lineno}"))
    return frozenset()


def _fields(node: nodes.Assign, place: str) -> list[str]:
    try:
        told = node.node.as_const() if isinstance(node.node, nodes.Expr) else None
    except nodes.Impossible:
        told = None
    if not isinstance(told, list):
        raise TemplateFault(f'{place}: write requires as a list of names, ["url", "price"]')
    if unknown := [one for one in told if one not in ITEM_FIELDS]:
        raise TemplateFault(
            f"{place}: an item has no {unknown[0]!r}; choose from {', '.join(ITEM_FIELDS)}"
        )
    return told


def _place(error: Exception, template: Compiled) -> str:
    """File and line of the template at fault: Jinja puts them into the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if one.filename.endswith((HTML, TEXT))]
    callers = [one for one in own if not one.filename.endswith(MACROS)] or own
    return f"{callers[-1].filename}:{callers[-1].lineno}" if callers else str(template.filename)


def _readable_on(look: MailLook) -> str:
    """White or dark text, whichever stands out more from the shop's colour (WCAG 2.2, 1.4.3)."""
    red, green, blue = (int(look.accent[at : at + 2], 16) / 255 for at in (1, 3, 5))
    light = 0.2126 * _linear(red) + 0.7152 * _linear(green) + 0.0722 * _linear(blue)
    return LIGHT if 1.05 / (light + 0.05) >= 4.5 else DARK


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
