"""A small static shop out of the simulated one: home page, a page per item, pictures, snippet.

    python clients/javascript/shop/make_shop.py .feeds/demo/shop site --service http://127.0.0.1:3000

Serve `site` with any web server; its address belongs into `service.origins` of the shop's config.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import jinja2
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

HERE = Path(__file__).parent
BEST_SELLERS, NEWEST_ARTICLES = 8, 4


def make_shop(shop: Path, out: Path, service: str, key: str | None = None) -> None:
    """Write the pages of a simulated shop.

    shop: the directory of `feeds simulate`, with items, events and images
    key:  a page's key of the service; None: the service has no keys
    """
    items = pq.read_table(shop / "items.parquet").to_pylist()
    for item in items:  # the address of a page is that of its directory here
        item["url"] = f"{item['url'].lstrip('/')}/"
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["money"] = _money
    own = {"service": service, "key": key, "best_sellers": _best_sellers(shop, items),
           "articles": _newest_articles(items)}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(pages.get_template("home.html").render(own), encoding="utf-8")
    for item in items:
        page = out / item["url"] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(pages.get_template("item.html").render(own, item=item), encoding="utf-8")
    for file in (HERE / "shop.css", HERE / "shop.js", HERE.parent / "feeds.min.js"):
        shutil.copy(file, out)
    shutil.copytree(shop / "images", out / "images", dirs_exist_ok=True)


def _best_sellers(shop: Path, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a shop's server shows to everybody: the products that were bought most often."""
    events = pq.read_table(shop / "events.parquet", columns=["item_id", "event_type"])
    bought = events.filter(pc.equal(events["event_type"], "purchase"))["item_id"]
    order = {one["values"]: -one["counts"] for one in pc.value_counts(bought).to_pylist()}
    products = [one for one in items if one["kind"] == "product" and one["available"]]
    return sorted(products, key=lambda one: order.get(one["item_id"], 0))[:BEST_SELLERS]


def _newest_articles(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    articles = [one for one in items if one["kind"] == "article"]
    return sorted(articles, key=lambda one: one["published_at"])[-NEWEST_ARTICLES:]


def _money(item: dict[str, Any]) -> str:
    return "" if item["price"] is None else f"€{item['price']:.2f}"


def _command(
    shop: Annotated[Path, typer.Argument(help="the directory of a simulated shop")],
    out: Annotated[Path, typer.Argument(help="where the pages go")],
    service: Annotated[str, typer.Option(help="where the service answers")],
    key: Annotated[str | None, typer.Option(help="a page's key")] = None,
) -> None:
    make_shop(shop, out, service, key)


if __name__ == "__main__":
    typer.run(_command)
