"""A block that could never show anything is told of before a mailing begins."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from mail_desk import dressed, equipped, item_array, shop
from small_desk import at_desk, model

from features.types import Texts
from serving.desk import Desk
from serving.mailing.suiting import check_suiting

ARTICLES = {"channel": "email", "kind": "article", "size": 1}


@pytest.fixture
def check(tmp_path):
    """Look at the blocks of a shop whose items have these arrays."""

    def checked(*placements, mail=None, **arrays):
        async def work(desk: Desk) -> None:
            check_suiting(equipped(desk), placements or ("top",))

        bundle = shop(mail=mail or {}, placements={"read": ARTICLES})
        at_desk(tmp_path, work, (), replace(bundle, catalogue=dressed(bundle.catalogue, **arrays)))

    return checked


def texts(text):
    return Texts.of([text] * len(model().catalogue.ids))


def prices(known):
    return item_array(model(), known, np.nan)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"mail": {"site": None}}, "7 of 7 items that top could show lack url, which its template "
                                   "'products' needs: relative addresses need mail.site"),
        ({"urls": texts("https://shop.example/p"), "mail": {"site": None}},
         "lack image_url, which its template 'products' needs: relative addresses need mail.site"),
        ({"image_urls": texts("data:image/png;base64,AA")},
         "lack image_url, which its template 'products' needs: a mail can only have addresses that "
         "begin with https:// or http://"),
        ({"image_urls": texts("")}, "needs: map image_url in the items' source, or give the "
                                    "placement another template"),
        ({"prices": prices({})}, "7 of 7 items that top could show lack price, which its template"),
    ],
)  # fmt: skip
def test_what_nothing_has_is_named_with_what_to_do(check, arrays, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        check(**arrays)


def test_the_field_that_most_lack_is_named(check):
    with pytest.raises(ValueError, match="7 of 7 items that top could show lack image_url"):
        check(prices=prices({"r1": 5}), image_urls=texts(""))
    with pytest.raises(ValueError, match="7 of 7 items that top could show lack price"):
        check(prices=prices({}), image_urls=Texts.of(["/i", *[""] * 12]))


def test_every_block_is_looked_at(check):
    check("read", prices=prices({}))  # the template of articles needs no price
    with pytest.raises(ValueError, match="items that more could show lack price"):
        check("read", "more", prices=prices({}))


def test_one_item_that_can_be_shown_is_enough(check):
    check(prices=prices({"k2": 5}))


@pytest.mark.parametrize("item", ["sold", "h1", "h3", "a1"])
def test_one_that_no_mail_shows_is_not(check, item):
    with pytest.raises(ValueError, match="7 of 7 items that top could show lack price"):
        check(prices=prices({item: 5}))
