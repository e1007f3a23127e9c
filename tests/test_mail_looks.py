"""Mails and the preview as a real browser draws them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from tools import need

from features.mail_options import MailOptions
from serving.mail_blocks import Block, BlockItem, Mail
from serving.mail_preview import Persona, preview_page
from serving.rendering import load_templates, rendered

pytestmark = pytest.mark.long
PICTURE = "https://shop.example/a.png"
SHOWN = "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
DARK_PAPER, LIGHT_PAPER = "rgb(23, 24, 26)", "rgb(244, 242, 237)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    need("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def a_mail(language="en"):
    items = [
        BlockItem(
            f"P-{n}", n, "A title of several words", "https://shop.example/r/x", PICTURE, 9.5, 12.0,
            "EUR", reason="because you bought something with a long name" if n % 2 else "for you",
        )
        for n in range(1, 5)
    ]  # fmt: skip
    blocks = [
        Block("top", "articles", "To read", items),
        Block("more", "products", "To have", items),
    ]
    return rendered(Mail(blocks, language), load_templates(MailOptions(), Path(), "en"))


@pytest.fixture
def opened(chromium, tmp_path):
    """Show a page on a screen of this width, in the light or in the dark."""

    def opened(page, width, colours="light"):
        (tmp_path / "page.html").write_text(page.replace(PICTURE, SHOWN))
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        chromium.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": colours}]},
        )
        chromium.get((tmp_path / "page.html").as_uri())
        return chromium

    return opened


def without_styles(html):
    """As a client shows it that takes the style block out."""
    return re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)


def per_row(page):
    """How many products stand beside one another."""
    tops = [one.rect["y"] for one in page.find_elements(By.CSS_SELECTOR, ".part:has(.near)")]
    return tops.count(tops[0])


@pytest.mark.parametrize(("width", "columns"), [(800, 2), (600, 2), (360, 1), (320, 1)])
@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("taken_out", [False, True])
def test_a_mail_fits_every_screen(opened, width, columns, language, taken_out):
    html = a_mail(language).html
    page = opened(without_styles(html) if taken_out else html, width)
    assert page.execute_script("return document.documentElement.scrollWidth") == width
    assert per_row(page) == columns


def test_on_a_phone_pictures_are_as_wide_as_the_screen_leaves(opened):
    page = opened(a_mail().html, 360)
    assert {one.size["width"] for one in page.find_elements(By.TAG_NAME, "img")} == {360 - 2 * 16}


def test_the_buttons_of_a_row_stand_side_by_side(opened):
    page = opened(a_mail().html, 600)
    tops = [one.rect["y"] for one in page.find_elements(By.CSS_SELECTOR, ".near td[bgcolor]")]
    assert tops[0] == tops[1] < tops[2] == tops[3]


@pytest.mark.parametrize(("colours", "paper"), [("light", LIGHT_PAPER), ("dark", DARK_PAPER)])
def test_a_mail_follows_the_readers_colours(opened, colours, paper):
    body = opened(a_mail().html, 600, colours).find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("background-color").startswith(
        paper.replace("rgb", "rgba").rstrip(")")
    )


def test_the_preview_shows_a_mail_at_both_widths_in_both_colours_and_as_text(opened):
    found = a_mail()
    loyal = Persona("loyal", {"stage": "loyal"}, "show", ["it pays"], "one_to_one", found)
    page = opened(preview_page([loyal], pictures={PICTURE: SHOWN}), 1440)

    def choose(value):
        page.execute_script(f"document.querySelector('input[value=\"{value}\"]').click()")

    def shows(width, paper):
        drawn = page.execute_script(
            "const mail = document.querySelector('iframe').contentWindow;"
            "const styles = mail.document.body && mail.getComputedStyle(mail.document.body);"
            "return [mail.innerWidth, styles && styles.backgroundColor]"
        )
        return drawn == [width, paper]

    def until(width, paper):
        WebDriverWait(page, 8, 0.05).until(lambda _: shows(width, paper), f"{width}, {paper}")

    until(640, LIGHT_PAPER)
    choose("dark")
    until(640, DARK_PAPER)
    choose("360")
    until(360, DARK_PAPER)
    choose("light")
    until(360, LIGHT_PAPER)
    assert not page.find_element(By.TAG_NAME, "pre").is_displayed()
    choose("plain")
    assert page.find_element(By.TAG_NAME, "pre").text.startswith("To read")
    assert not page.find_element(By.TAG_NAME, "iframe").is_displayed()
