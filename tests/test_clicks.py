"""What becomes of a link of a mail: where it leads, what is kept, and what it says to nobody."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from contextlib import closing
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import yaml
from msgspec import structs
from small_desk import END_US, at_desk, changed, model

from features.config import Config
from features.decided import Decided, decision_files, own_salt, pseudonym, read_decisions
from features.home import Home
from features.options import ServiceOptions
from serving import telemetry
from serving.clicks import Clicks
from serving.delivery import Holder
from serving.link_keys import link_keys, rotate
from serving.links import MAX_TOKEN, Link, LinkKey, signed
from serving.rates import LINKS_PER_MINUTE, Rates
from serving.refused import Refused
from serving.state import Forget, ItemChange, Met
from serving.todays_mail import TodaysMail

SALT = own_salt()
ANN = pseudonym(b"key", "u:ann", SALT)
DAY_S = 86_400
LINK = Link(recipient=ANN, decision_id="5f0c3a9be1d24c7780aa91b3", placement="newsletter",
            item_id="r1", position=3, expires=END_US // 1_000_000 + DAY_S,
            mailing="2026-w10")  # fmt: skip
SHOP = {
    "site": "https://shop.example", "shop_name": "Purpose & Garden",
    "category_page": "https://shop.example/c/{category}?sort=new",
    "utm": {"utm_campaign": "{mailing}", "utm_content": "{placement}-{position}"},
}  # fmt: skip
UTM = {"utm_campaign": "2026-w10", "utm_content": "newsletter-3"}
ADDRESS = ItemChange(
    item_id="r1", at_us=END_US, url="/p/roses?size=2", category="garden/wild roses"
)


@pytest.fixture
def opened(tmp_path):
    """Opens links: `opened(*links, mail=…, facts=…, method=…)`; what comes of it, in order.

    A link is signed with the home's key; a text is a token as it is.
    """
    home = Home(tmp_path / "home")
    home.root.mkdir()
    key = link_keys(home)[0]

    def run(*links, mail=SHOP, facts=(ADDRESS,), methods=("GET",), and_then=None, before=None):
        async def work(desk):
            await desk.state.keep([Met(salts={"u:ann": SALT})])
            if before is not None:
                await before(desk)
            clicks = Clicks(Holder(home, desk=desk))
            tokens = [one if isinstance(one, str) else signed(key, one) for one in links]
            answers = [clicks.answer(one, counts=method == "GET")
                       for one in tokens for method in methods]  # fmt: skip
            await clicks.done()
            found = and_then and await and_then(desk)
            return (answers, found) if and_then else answers

        return at_desk(tmp_path, work, facts, changed(model(), mail=mail))

    return run


async def events(desk):
    """What Ann has done, as the store has it."""
    return [one.fact for one in await desk.state.since(0) if one.name == "u:ann"]


def counted(metric, outcome):
    found = re.search(rf'{metric}_total{{outcome="{outcome}"}} (\S+)', telemetry.page().decode())
    return float(found[1])


class TestALink:
    def test_leads_to_the_item_at_its_address_of_today_with_the_parameters(self, opened):
        (answer,) = opened(LINK)
        assert answer.status_code == 302
        target = urlsplit(answer.headers["location"])
        assert (target.scheme, target.netloc, target.path) == ("https", "shop.example", "/p/roses")
        assert dict(parse_qsl(target.query)) == {"size": "2", **UTM}
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"available": False}, "/c/garden/wild%20roses"),
            ({"available": False, "category": "a?b/c#d%2F.."}, "/c/a%3Fb/c%23d%252F.."),
            ({"url": "javascript:alert(1)"}, "/c/garden/wild%20roses"),
            ({"url": "", "category": ""}, ""),
        ],
    )
    def test_of_an_item_that_is_not_to_be_had_leads_to_its_category(self, opened, change, path):
        (answer,) = opened(LINK, facts=[structs.replace(ADDRESS, **change)])
        target = urlsplit(answer.headers["location"])
        assert (answer.status_code, target.netloc, target.path) == (302, "shop.example", path)
        assert parse_qsl(target.query)[-2:] == list(UTM.items())

    def test_of_an_item_that_is_gone_leads_to_the_shop_else_to_a_page_that_says_so(self, opened):
        gone = structs.replace(LINK, item_id="<b>gone</b>")
        (answer,) = opened(gone, mail={"site": "https://shop.example/", "utm": {}})
        assert answer.headers["location"] == "https://shop.example/"
        (answer,) = opened(gone, mail={})
        assert (answer.status_code, "location" in answer.headers) == (404, False)
        assert "This item is not there any more." in answer.body.decode()
        assert b"gone" not in answer.body

    def test_goes_on_working_after_one_rotation_of_the_keys_and_not_after_two(
        self, opened, tmp_path
    ):
        token = signed(link_keys(Home(tmp_path / "home"))[0], LINK)
        codes = []
        for _ in range(2):
            rotate(Home(tmp_path / "home"))
            codes += [one.status_code for one in opened(token)]
        assert codes == [302, 404]


class TestWhatIsRefused:
    FOREIGN = signed(LinkKey(0, b"another shop's key of 32 bytes.."), LINK)

    def test_looks_alike_and_says_nothing_of_what_came(self, opened, tmp_path, caplog):
        token = signed(link_keys(Home(tmp_path / "home"))[0], LINK)
        tampered = token[:-1] + ("A" if token[-1] != "A" else "Q")
        wrong = [tampered, self.FOREIGN, "<script>", "", "x" * MAX_TOKEN, "A" * 10 * MAX_TOKEN]
        with caplog.at_level(logging.INFO):
            answers = opened(*wrong, and_then=None)
        assert {one.status_code for one in answers} == {404}
        assert len({one.body for one in answers}) == 1
        assert len({str(one.headers) for one in answers}) == 1
        assert "This link does not work." in answers[0].body.decode()
        assert '<a href="https://shop.example"' in answers[0].body.decode()
        assert "Purpose &amp; Garden" in answers[0].body.decode()
        told = [one.getMessage() for one in caplog.records if one.name == "feeds.clicks"]
        assert set(told) == {"a link of a mail was refused: tampered",
                             "a link of a mail was refused: malformed"}  # fmt: skip

    def test_is_counted_and_is_no_click(self, opened):
        before = counted("feeds_mail_links", "tampered")
        _, kept = opened(self.FOREIGN, self.FOREIGN, and_then=events)
        assert counted("feeds_mail_links", "tampered") == before + 2
        assert kept == []

    def test_an_old_link_is_told_to_be_old(self, opened, caplog):
        with caplog.at_level(logging.INFO, "feeds.clicks"):
            (answer,), kept = opened(structs.replace(LINK, expires=END_US // 1_000_000),
                                     mail={}, and_then=events)  # fmt: skip
        assert (answer.status_code, kept) == (410, [])
        assert "This link is too old." in answer.body.decode()
        assert "<a " not in answer.body.decode()
        assert [one.getMessage() for one in caplog.records] == [
            "a link of a mail was refused: expired"
        ]

    def test_without_any_key_every_link_is(self, tmp_path):
        async def work(desk):
            home = Home(tmp_path / "none")
            return Clicks(Holder(home, desk=desk)).answer(self.FOREIGN, counts=True), home

        answer, home = at_desk(tmp_path, work)
        assert answer.status_code == 404
        assert not home.root.exists()


class TestAClick:
    def test_is_an_event_of_the_recipient_once(self, opened):
        outcomes = ("kept", "again", "without_signal")
        before = [counted("feeds_mail_clicks", one) for one in outcomes]
        answers, found = opened(*[LINK] * 10, structs.replace(LINK, position=4),
                                mail={**SHOP, "click_event": "view"}, and_then=events)  # fmt: skip
        assert {one.status_code for one in answers} == {302}
        first, second = found
        assert (first.item_id, first.event_type, first.user_id) == ("r1", "view", "ann")
        assert (first.channel, first.placement) == ("email", "newsletter")
        assert (first.decision_id, first.position) == (LINK.decision_id, 3)
        assert first.occurred_us == END_US + 1  # where the clock stands still: after the model's
        assert second.position == 4
        after = [counted("feeds_mail_clicks", one) for one in outcomes]
        assert [b - a for a, b in zip(before, after, strict=True)] == [2, 9, 0]

    def test_of_a_type_that_teaches_nothing_is_kept_counted_apart_and_told_once(
        self, opened, caplog
    ):
        """As when the config names a new type, and the model that is served knows of none."""
        outcomes = ("kept", "again", "without_signal")
        before = [counted("feeds_mail_clicks", one) for one in outcomes]
        links = [structs.replace(LINK, position=n) for n in (1, 2, 2)]
        _, found = opened(*links, and_then=events)
        after = [counted("feeds_mail_clicks", one) for one in outcomes]
        assert [one.event_type for one in found] == ["email_click"] * 2
        assert [b - a for a, b in zip(before, after, strict=True)] == [0, 1, 2]
        (told,) = [one.getMessage() for one in caplog.records if one.name == "feeds.clicks"]
        assert "'email_click', for which the served model has no signal" in told

    def test_is_none_where_somebody_only_asks_what_is_there(self, opened):
        (answer,), kept = opened(LINK, methods=("HEAD",), and_then=events)
        assert (answer.status_code, kept) == (302, [])

    def test_of_somebody_who_was_forgotten_lands_and_leaves_nothing(self, opened, caplog):
        async def forget(desk):
            await desk.state.write([Forget(user_id="ann", at_us=END_US)])

        async def all_there_is(desk):
            return [one for one in await desk.state.since(0) if one.name]

        before = counted("feeds_mail_clicks", "unknown")
        with caplog.at_level(logging.DEBUG):
            (answer,), kept = opened(LINK, before=forget, and_then=all_there_is)
        assert answer.headers["location"].startswith("https://shop.example/p/roses")
        assert kept == []
        assert counted("feeds_mail_clicks", "unknown") == before + 1
        assert not [one for one in caplog.records if ANN in one.getMessage()]

    def test_is_lost_and_the_reader_lands_where_the_store_is_away(self, opened):
        async def away(desk):
            await desk.state.close()

        before = counted("feeds_mail_clicks", "lost")
        (answer,) = opened(LINK, before=away)
        assert answer.status_code == 302
        assert counted("feeds_mail_clicks", "lost") == before + 1


class TestTheMailOfToday:
    def test_is_followed_and_the_last_one_that_could_be_read_counts(self, tmp_path, caplog):
        sources = {"sources": {"events": {"path": "log.parquet"}},
                   "signals": {"view": {"weight": 1}}}  # fmt: skip
        file, old = tmp_path / "feeds.yaml", {**sources, "mail": {"site": "https://old.example"}}
        trained = Config.model_validate(old)
        today = TodaysMail(file)
        assert today.of(trained) is trained
        file.write_text(yaml.safe_dump({**sources, "mail": {"site": "https://new.example"}}))
        assert today.of(trained).mail.site == "https://new.example"
        assert today.reading == 1
        today.of(trained)
        assert today.reading == 1  # it has not changed
        file.write_text("mail: {site: nowhere}")
        assert today.of(trained).mail.site == "https://new.example"
        assert "mails stay as they were" in caplog.text

    def test_is_the_models_where_no_config_is_followed(self):
        trained = Config.model_validate({"sources": {"events": {"path": "log.parquet"}},
                                         "signals": {"view": {"weight": 1}}})  # fmt: skip
        assert TodaysMail(None).of(trained) is trained


def test_an_address_may_open_many_links_and_not_any_number():
    rates, reader = Rates(ServiceOptions()), ("192.0.2.1", 1)
    refused = [one for _ in range(2 * LINKS_PER_MINUTE + 2) if (one := turned_away(rates, reader))]
    assert {one.status for one in refused} == {429}  # at least one of two minutes is too full
    assert turned_away(rates, ("192.0.2.2", 1)) is None


def turned_away(rates, reader):
    try:
        rates.check_link(reader)
    except Refused as refused:
        return refused
    return None


class TestTheService:
    """The real one, behind keys: a reader has none."""

    @pytest.fixture
    def recipient(self, guarded):
        """The pseudonym that the decisions have of a customer, and their id."""
        body = {"placement": "home", "user_id": "clicks-reader"}
        headers = guarded.bearer("reader")
        told = httpx.post(f"{guarded.url}/feed", json=body, headers=headers, timeout=5).json()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for file in decision_files(guarded.home.decisions):
                for one in read_decisions(file):
                    if isinstance(one, Decided) and one.decision_id == told["decision_id"]:
                        return one.person, one.decision_id, one.item_ids[0]
            time.sleep(0.1)
        raise TimeoutError("no decision was logged")

    def test_answers_a_reader_and_keeps_the_click(self, guarded, recipient):
        person, decision_id, item_id = recipient
        link = Link(recipient=person, decision_id=decision_id, placement="home", item_id=item_id,
                    position=1, expires=2**40)  # fmt: skip
        url = f"{guarded.url}/r/{signed(link_keys(guarded.home)[0], link)}"
        time.sleep(0.3)  # until it is noted who was met
        asked = httpx.head(url)
        answers = [httpx.get(url) for _ in range(3)]
        assert {one.status_code for one in (asked, *answers)} == {302}
        assert len({one.headers["location"] for one in (asked, *answers)}) == 1
        with closing(sqlite3.connect(guarded.home.state)) as state:
            query = "SELECT person, item_id, channel FROM events WHERE decision_id = ?"
            until, found = time.monotonic() + 10, []
            while not found and time.monotonic() < until:
                found = state.execute(query, (decision_id,)).fetchall()
                time.sleep(0.05)
        assert found == [("u:clicks-reader", item_id, "email")]

    @pytest.mark.parametrize("token", ["made-up-zq", "", "zq/zq", "%2e%2e/zq", "zq" * 10_000])
    def test_turns_a_made_up_link_away_without_a_key(self, guarded, token):
        answer = httpx.get(f"{guarded.url}/r/{token}")
        assert (answer.status_code, answer.headers["content-type"]) == (
            404, "text/html; charset=utf-8")  # fmt: skip
        assert "zq" not in answer.text + guarded.log

    def test_takes_no_post(self, guarded):
        assert httpx.post(f"{guarded.url}/r/made-up", content=b"x").status_code == 405
