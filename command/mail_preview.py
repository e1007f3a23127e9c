"""`feeds mail --preview`: a page with the mailing as several kinds of readers get it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from command.side_by_side import picture_of
from features.config import Config
from features.home import written_beside
from serving.links import address
from serving.mailing.dressing import Dressing
from serving.mailing.personas import Reader, preview
from serving.templating import Templates
from training.catalogue import Catalogue

PAGE = "preview.html"


def write_preview(
    out: Path, readers: list[Reader], dressing: Dressing, config: Config,
    kit: tuple[Templates, Path],
) -> Path:  # fmt: skip
    """Write OUT/preview.html, which needs nothing else; returns where it lies.

    kit: the templates, and the directory of the config, where pictures without an address of the
         web may lie
    """
    templates, base = kit
    shown = {item for one in readers for items in one.blocks.item_ids for item in items}
    pictures = pictures_of(dressing.catalogue, sorted(shown), config.mail.site, base)
    with written_beside(out / PAGE) as beside:
        page = preview(readers, dressing, config, templates, pictures)
        beside.write_text(page, encoding="utf-8")
    return out / PAGE


def pictures_of(
    catalogue: Catalogue, item_ids: Iterable[str], site: str | None, base: Path
) -> dict[str, str]:
    """Address of a picture in the mails -> what a browser shows for it, such as its content.

    A browser shows kinds of pictures that mail clients do not, such as SVG.
    """
    found = {}
    for item_id in item_ids:
        url = catalogue.details(int(catalogue.find([item_id])[0]))["image_url"]
        picture = picture_of(url, base)
        if picture is not None:
            found[address(url, site)] = picture
    return found
