"""Merge tags: what an e-mail service fills in or runs, wherever in a file of ours it stands.

Only the config may hold them. In data they are torn by a character that has no width: the reader
sees the same, and no service finds a tag. Escaping would not do: services read tags before HTML is
decoded or after, and CSV, JSON and plain text know no such escapes.
"""

from __future__ import annotations

import re

JOINER = "\u200c"  # zero-width non-joiner: no break, no box in old fonts, no change of letters
# {{ url }}, {% url %}, *|URL|*, %%url%%, [url], <%url%>, $url$; with a joiner inside it is none.
MERGE_TAG = re.compile(
    rf"\{{+[^{{}}\"<>{JOINER}]+\}}+|\*\|[^\"<>|]+\|\*|%%[^\"<>%]+%%"
    rf"|\[+[^\[\]\"<>{JOINER}]+\]+|<%[^\"<>]+%>|\$[^\"<>${JOINER}]+\$"
)
# After what opens a tag by itself, before what closes one, and between two signs: <%, *|, %%, ##.
_TEARS = re.compile(r"(?<=[{\[$])|(?=[}\]])|(?<=%)(?=\w)|(?<=[<>*|%#@!])(?=[<>*|%#{\[])")
_SUSPECT = re.compile(r"[]{}[<>*|%#$]")
_NO_NAME = re.compile(r"[]{}[<>|*%#$=;]|^[-+@\uff0b\uff0d\uff1d\uff20]")  # or their wide forms


def inert(text: str) -> str:
    """The text as a reader sees it, with nothing in it that an e-mail service fills in or runs."""
    return _TEARS.sub(JOINER, text) if _SUSPECT.search(text) else text


def is_name(text: str) -> bool:
    """May a person be called so? Not with signs of merge tags, markup or a spreadsheet's formulas.

    A formula begins with =, +, - or @ (OWASP, CSV injection); where ; parts the cells, any = may
    begin one.
    """
    return _NO_NAME.search(text) is None
