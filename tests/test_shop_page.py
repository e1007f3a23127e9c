"""The snippet in a real browser, on a shop of the simulated catalogue, at another origin."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from make_shop import make_shop
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from tools import need, own_port

from command.demo import served
from features.home import Home
from serving.keys import add_key

SNIPPET = Path(__file__).parent.parent / "clients" / "javascript"


def test_the_file_that_pages_include_has_at_most_3_kilobytes():
    assert (SNIPPET / "feeds.min.js").stat().st_size <= 3000


def test_the_file_that_pages_include_is_made_of_the_source():
    source = hashlib.sha256((SNIPPET / "feeds.js").read_bytes()).hexdigest()[:12]
    assert (SNIPPET / "feeds.min.js").read_text().startswith(f"/* feeds.js {source} */"), (
        "run `make snippet`"
    )


@dataclass(frozen=True)
class Shop:
    """A shop's pages at one origin, and the service at another.

    site: where the pages lie; url: where they are served
    service: as the shop's own server asks it, with a secret key; home: what it keeps
    """

    site: Path
    url: str
    service: httpx.Client
    home: Home

    def events(self, **where: str) -> list[dict[str, object]]:
        """What the service was told of, oldest first."""
        with contextlib.closing(sqlite3.connect(self.home.state)) as state:
            state.row_factory = sqlite3.Row
            rows = [dict(row) for row in state.execute("SELECT * FROM events ORDER BY seq")]
        return [row for row in rows if where.items() <= row.items()]


@contextlib.contextmanager
def pages(directory: Path) -> Iterator[str]:
    """A web server of static files; yields its origin."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def shop(chromium, trained, tmp_path_factory) -> Iterator[Shop]:
    """A shop of its own: pages with a page's key, and a service that lets these pages ask.

    chromium: without a browser nobody comes, and nothing need be started
    """
    base, site = tmp_path_factory.mktemp("shop") / "shop", tmp_path_factory.mktemp("site")
    shutil.copytree(trained.path.parent, base)
    home = Home(base / ".feeds")
    with pages(site) as url:
        with (base / "feeds.yaml").open("a", encoding="utf-8") as config:
            config.write(f"service: {{origins: ['{url}']}}\n")
        page = add_key(home, "page", ["read", "write"], page=True)
        secret = {"authorization": f"Bearer {add_key(home, 'shop', ['admin'])}"}
        with (
            served(home, own_port(3457), workers=1, config=base / "feeds.yaml") as service,
            httpx.Client(base_url=service, headers=secret) as client,
        ):
            make_shop(base, site, service, page)
            yield Shop(site, url, client, home)


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    need("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1000,800"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, shop) -> webdriver.Chrome:
    """A browser that has never been here, on the home page."""
    come_anew(chromium, shop)
    chromium.get_log("performance")
    chromium.get(shop.url)
    return chromium


def come_anew(page, shop) -> None:
    page.get(f"{shop.url}/shop.css")  # a page without the snippet
    page.delete_all_cookies()
    page.execute_script("localStorage.clear()")
    page.get(shop.url)


def press(page, answer: str) -> None:
    """Answer the shop's question for consent."""
    page.find_element(By.CSS_SELECTOR, f"#consent [data-consent={answer}]").click()


def until(page, found, told: str):
    return WebDriverWait(page, 8, 0.05).until(lambda _: found(), told)


def titles(page, feed: str = "home") -> list[str]:
    """What a feed's place shows."""
    return texts(page, f"[data-feed={feed}] .title")


def reasons(page) -> list[str]:
    """Why, item by item; the shop's own list has no reasons."""
    return [one for one in texts(page, "[data-feed=home] .reason") if one]


def texts(page, of: str) -> list[str]:
    """All at once, as a feed may come in between."""
    script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
    return page.execute_script(script, of)


def agree(page) -> None:
    """Say yes, and wait for the feeds."""
    press(page, "yes")
    until(page, lambda: len(reasons(page)) == 8, "the feed is shown")


def visitor(page) -> str | None:
    """The id of this browser."""
    cookie = page.get_cookie("feeds_visitor")
    return cookie and cookie["value"]


def asked(page, shop) -> list[str]:
    """The paths of the service that the browser has asked since it was last looked."""
    sent = [json.loads(line["message"])["message"] for line in page.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in sent
            if one["method"] == "Network.requestWillBeSent"]  # fmt: skip
    base = str(shop.service.base_url)
    return [re.sub(r"\?.*", "", url.removeprefix(base)) for url in urls if url.startswith(base)]


def known(shop, visitor_id: str) -> dict:
    return shop.service.post("/profile", json={"visitor_id": visitor_id}).json()


def arms(shop, visitor_id: str) -> dict[str, str]:
    asked = {"placement": "home", "visitor_id": visitor_id}
    return shop.service.post("/feed", json=asked).json()["arms"]


class TestWithoutConsent:
    def test_nothing_is_asked_told_or_stored(self, page, shop):
        best_sellers = titles(page)
        page.execute_script("feeds.event('cart', 'SKU-00001'); feeds.show()")
        page.find_element(By.CSS_SELECTOR, ".card a").click()
        time.sleep(0.8)  # an item in view would be told of after half a second
        page.get(shop.url)
        assert titles(page) == best_sellers
        assert len(best_sellers) == 8
        assert asked(page, shop) == []
        assert page.get_cookies() == []
        assert page.execute_script("return localStorage.length + sessionStorage.length") == 0

    def test_no_is_no(self, page, shop):
        press(page, "no")
        page.get(shop.url)
        assert asked(page, shop) == []
        assert page.get_cookies() == []


class TestWithConsent:
    def test_the_feed_takes_the_place_of_what_the_shop_had_there(self, page, shop):
        agree(page)
        assert reasons(page) == ["popular right now"] * 8
        first = page.find_element(By.CSS_SELECTOR, "[data-feed=home] .card")
        item = shop.service.post("/feed", json={"placement": "home"}).json()["items"][0]
        assert first.find_element(By.CSS_SELECTOR, ".title").text == item["title"]
        assert first.find_element(By.CSS_SELECTOR, ".price").text == f"€{item['price']:.2f}"
        link = first.find_element(By.TAG_NAME, "a").get_attribute("href")
        picture = first.find_element(By.TAG_NAME, "img").get_property("src")
        assert (link, picture) == (shop.url + item["url"], f"{shop.url}/{item['image_url']}")
        assert len(titles(page, "magazine")) == 4

    def test_the_service_knows_that_this_browser_agreed(self, page, shop):
        agree(page)
        consent = known(shop, visitor(page))["consent"]
        assert consent == {"personalise": True, "said_by": "the person"}

    def test_the_browser_has_one_name_on_all_pages(self, page, shop):
        agree(page)
        name = visitor(page)
        page.get(shop.url)
        until(page, lambda: reasons(page), "the feed is shown")
        assert visitor(page) == name

    def test_what_was_in_view_is_told_once_with_its_place(self, page, shop):
        agree(page)
        in_view = page.execute_script(
            "return [...document.querySelectorAll('[data-feed=home] .card')].filter(card => {"
            "const {top, height} = card.getBoundingClientRect();"
            "return top + height / 2 < innerHeight}).map(card => card.querySelector('a').href)"
        )
        time.sleep(0.7)
        page.execute_script("scrollTo(0, 100)")
        page.execute_script("scrollTo(0, 0)")
        time.sleep(0.7)
        name = visitor(page)
        page.get(f"{shop.url}/shop.css")  # leaving the page sends what has waited

        def told():
            return shop.events(visitor_id=name, event_type="impression", placement="home")

        until(page, told, "impressions have come")
        places = [one["position"] for one in told()]
        assert 0 < len(in_view) < 8
        assert sorted(places) == list(range(1, len(in_view) + 1))
        assert {one["event_id"] for one in told()} == {
            f"{one['decision_id']}.{one['position']}" for one in told()
        }

    def test_a_click_is_told_and_the_next_feed_is_another(self, page, shop):
        agree(page)
        while arms(shop, visitor(page)) == {"purpose": "holdout"}:  # one in twenty
            come_anew(page, shop)
            agree(page)
        before, name = titles(page), visitor(page)
        page.find_elements(By.CSS_SELECTOR, "[data-feed=home] .card a")[2].click()
        until(page, lambda: page.current_url != f"{shop.url}/", "the item's page is open")
        until(page, lambda: shop.events(visitor_id=name, event_type="view"), "the click has come")
        (click,) = shop.events(visitor_id=name, event_type="view")
        assert (click["placement"], click["position"]) == ("home", 3)
        assert click["decision_id"]
        page.get(shop.url)
        until(page, lambda: reasons(page), "the feed is shown")
        assert titles(page) != before
        assert set(reasons(page)) - {"popular right now"}

    def test_an_article_is_read_and_not_viewed(self, page, shop):
        agree(page)
        name = visitor(page)
        link = page.find_element(By.CSS_SELECTOR, "[data-feed=magazine] .card a")
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()
        until(page, lambda: shop.events(visitor_id=name, event_type="read"), "the click has come")

    def test_a_cart_is_told_with_what_the_shop_says(self, page, shop):
        agree(page)
        name = visitor(page)
        page.find_elements(By.CSS_SELECTOR, "[data-feed=home] .card a")[0].click()
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, "[data-cart]"), "the item's page")
        button = page.find_element(By.CSS_SELECTOR, "[data-cart]")
        button.click()
        until(page, lambda: shop.events(visitor_id=name, event_type="cart"), "the cart has come")
        (cart,) = shop.events(visitor_id=name, event_type="cart")
        assert cart["item_id"] == button.get_attribute("data-cart")
        assert cart["value"] == pytest.approx(float(button.get_attribute("data-value")))
        assert (cart["currency"], cart["quantity"]) == ("EUR", 1)

    def test_what_the_catalogue_says_is_text_and_never_markup_or_script(self, page, shop):
        agree(page)
        first = shop.service.post("/feed", json={"placement": "home"}).json()["items"][0]
        change = {
            "item_id": first["item_id"],
            "title": "<img src=x onerror=document.title='hurt'>",
            "url": "javascript:document.title='hurt'",
            "image_url": "data:image/svg+xml,x",
        }
        assert shop.service.post("/catalogue", json={"items": [change]}).status_code == 200
        page.get(shop.url)
        until(page, lambda: change["title"] in titles(page), "the title is shown as it is")
        card = page.find_elements(By.CSS_SELECTOR, "[data-feed=home] .card")[
            titles(page).index(change["title"])
        ]
        assert card.find_element(By.TAG_NAME, "a").get_attribute("href") is None
        assert not card.find_element(By.TAG_NAME, "img").get_property("src")
        assert page.title != "hurt"
        change = {name: first[name] for name in ("item_id", "title", "url", "image_url")}
        shop.service.post("/catalogue", json={"items": [change]})


class TestWhatFails:
    def test_the_shops_own_list_stays_when_the_service_is_away(self, page, shop):
        best_sellers = titles(page)
        home = (shop.site / "index.html").read_text()
        away = home.replace(str(shop.service.base_url).rstrip("/"), "http://127.0.0.1:9")
        (shop.site / "away.html").write_text(away)
        page.get(f"{shop.url}/away.html")
        press(page, "yes")
        until(page, lambda: "Failed to fetch" in str(page.get_log("browser")), "it has tried")
        assert titles(page) == best_sellers

    def test_the_shops_own_list_stays_when_the_service_refuses(self, page, shop):
        best_sellers = titles(page)
        home = (shop.site / "index.html").read_text()
        (shop.site / "wrong.html").write_text(home.replace('data-feed="home"', 'data-feed="hom"'))
        page.get(f"{shop.url}/wrong.html")
        press(page, "yes")
        until(page, lambda: "1 validation error" in str(page.get_log("browser")), "it was refused")
        assert titles(page, "hom") == best_sellers


class TestConsentTakenBack:
    def test_the_name_is_gone_the_service_knows_and_the_shops_list_is_back(self, page, shop):
        best_sellers = titles(page)
        agree(page)
        name = visitor(page)
        page.execute_script("scrollTo(0, document.body.scrollHeight)")
        page.find_element(By.CSS_SELECTOR, "footer [data-consent=no]").click()
        assert visitor(page) is None
        assert titles(page) == best_sellers
        until(page, lambda: not known(shop, name)["consent"]["personalise"], "the service knows")
        page.get_log("performance")
        page.execute_script("feeds.event('cart', 'SKU-00001')")
        page.get(shop.url)
        assert asked(page, shop) == []

    def test_who_agrees_again_has_another_name(self, page):
        agree(page)
        before = visitor(page)
        page.find_element(By.CSS_SELECTOR, "footer [data-consent=no]").click()
        page.execute_script("feeds.consent(true)")
        until(page, lambda: visitor(page), "there is a name")
        assert visitor(page) != before
