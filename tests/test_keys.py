"""Keys: what is kept of them, who may do what, and how a running service comes to know them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from command.keys import open_to
from features.home import Home
from serving.keys import NEEDED, Keyring, add_key, read_keys, revoke_key
from serving.link_keys import link_keys


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def out_of_order(file):
    raise OSError("the disk is out of order")


class TestTheFile:
    def test_has_no_token_and_only_its_owner_reads_it(self, home):
        token = add_key(home, "shop", ["read"])
        assert re.fullmatch(r"fk_[\w-]{43}", token)
        assert token[3:] not in home.keys.read_text()
        assert home.keys.stat().st_mode & 0o777 == 0o600

    def test_says_what_each_key_may(self, home):
        add_key(home, "shop", ["write", "read"], days=30)
        add_key(home, "page", ["read"], page=True)
        shop, page = read_keys(home.keys)
        assert (shop.name, shop.scopes, shop.page) == ("shop", ["read", "write"], False)
        assert shop.expires == shop.made + timedelta(days=30)
        assert (page.name, page.scopes, page.page, page.expires) == ("page", ["read"], True, None)

    def test_keeps_the_others_when_one_is_revoked(self, home):
        for name in ("a", "b"):
            add_key(home, name, ["read"])
        assert revoke_key(home, "a") == 1
        assert [one.name for one in read_keys(home.keys)] == ["b"]

    @pytest.mark.parametrize(
        ("name", "scopes", "page", "told"),
        [
            ("taken", ["read"], False, "there is a key 'taken' already"),
            ("two words", ["read"], False, "is no name for a key"),
            ("x", ["reed"], False, "no scope 'reed'; choose from read, write, admin"),
            ("x", [], False, "needs a scope"),
            ("x", ["admin"], True, "cannot have the scope admin"),
        ],
    )
    def test_takes_no_key_that_makes_no_sense(self, home, name, scopes, page, told):
        add_key(home, "taken", ["read"])
        with pytest.raises(ValueError, match=told):
            add_key(home, name, scopes, page=page)
        assert len(read_keys(home.keys)) == 1

    def test_revoking_what_is_not_there_says_what_is(self, home):
        add_key(home, "shop", ["read"])
        with pytest.raises(ValueError, match="no key 'shap'; there are: shop"):
            revoke_key(home, "shap")

    @pytest.mark.parametrize("text", ["{", '{"keys": [{"name": "a"}]}', '{"kees": []}', "\xff"])
    def test_that_is_broken_is_named(self, home, text):
        home.keys.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"keys\.json: .*feeds keys add"):
            read_keys(home.keys)


class TestWhatAKeyMay:
    @pytest.mark.parametrize(
        ("scopes", "page", "endpoints"),
        [
            (["read"], False, "feed sort similar questions profile validate block"),
            (["write"], False, "events identify unlink preferences"),
            (["admin"], False, " ".join(NEEDED)),
            (["read", "write"], True, "feed sort similar questions events preferences"),
            (["read"], True, "feed sort similar questions"),
        ],
    )
    def test_is_what_its_scopes_say(self, home, scopes, page, endpoints):
        add_key(home, "it", scopes, page=page)
        key = read_keys(home.keys)[0]
        assert [one for one in NEEDED if key.may(one)] == [
            one for one in NEEDED if one in endpoints.split()
        ]


class TestAWorker:
    def test_knows_a_key_by_its_token_only(self, home):
        token = add_key(home, "shop", ["read"])
        ring = Keyring(home.keys)
        assert ring.find(token.encode()).name == "shop"
        for other in (token[:-1], token + "x", "", "shop", read_keys(home.keys)[0].digest):
            assert ring.find(other.encode()) is None

    def test_follows_the_file_and_two_keys_count_at_once(self, home):
        old = add_key(home, "old", ["read"])
        ring = Keyring(home.keys)
        new = add_key(home, "new", ["read"])
        assert ring.find(new.encode()) is None
        ring.refresh()
        assert {ring.find(one.encode()).name for one in (old, new)} == {"old", "new"}
        revoke_key(home, "old")
        ring.refresh()
        assert ring.find(old.encode()) is None
        assert ring.find(new.encode()).name == "new"

    def test_refuses_a_key_whose_days_are_over(self, home):
        token = add_key(home, "shop", ["read"], days=1).encode()
        ring = Keyring(home.keys)
        assert ring.find(token, in_an_hour).name == "shop"
        assert ring.find(token, lambda: in_an_hour() + timedelta(days=1)) is None

    def test_keeps_its_keys_when_the_file_breaks(self, home, caplog):
        token = add_key(home, "shop", ["read"])
        ring = Keyring(home.keys, no_keys_is_open=True)
        home.keys.write_text("{")
        ring.refresh()
        assert ring.find(token.encode()).name == "shop"
        assert not ring.open
        assert "the keys stay as they were" in caplog.text

    def test_lets_nobody_in_while_the_file_is_broken_from_the_start(self, home):
        home.keys.write_text("{")
        assert not Keyring(home.keys, no_keys_is_open=True).open

    def test_is_open_without_keys_only_where_that_is_meant(self, home, caplog):
        assert not Keyring(home.keys).open
        assert "nobody may ask" in caplog.text
        ring = Keyring(home.keys, no_keys_is_open=True)
        assert ring.open
        assert "anyone who reaches this port may ask" in caplog.text
        add_key(home, "first", ["read"])
        ring.refresh()
        assert not ring.open

    def test_stays_closed_once_there_was_a_file(self, home, caplog):
        ring = Keyring(home.keys, no_keys_is_open=True)
        token = add_key(home, "only", ["read"])
        ring.refresh()
        assert ring.find(token.encode())
        home.keys.unlink()  # lost
        ring.refresh()
        assert (ring.open, ring.find(token.encode())) == (False, None)
        assert "nobody may ask" in caplog.text
        add_key(home, "other", ["read"])
        revoke_key(home, "other")  # a file without a key
        ring.refresh()
        assert not ring.open
        assert not Keyring(home.keys, no_keys_is_open=True).open

    def test_reads_a_file_again_that_could_not_be_read(self, home, caplog, monkeypatch):
        token = add_key(home, "shop", ["read"])
        monkeypatch.setattr(type(home.keys), "read_bytes", out_of_order)
        ring = Keyring(home.keys, no_keys_is_open=True)
        ring.refresh()
        assert caplog.text.count("out of order") == 1
        monkeypatch.undo()
        ring.refresh()
        assert ring.find(token.encode()).name == "shop"

    def test_says_once_that_it_is_open(self, home, caplog):
        ring = Keyring(home.keys, no_keys_is_open=True)
        for _ in range(3):
            ring.refresh()
        assert caplog.text.count("no keys") == 1


class TestWhereAServiceMayListen:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    def test_on_this_machine_without_keys(self, home, host):
        assert open_to(home, host, is_open=False) == "here"
        assert open_to(home, host, is_open=True) == "1"

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "shop.internal"])
    def test_elsewhere_with_keys_and_closed_should_they_go(self, home, host):
        with pytest.raises(ValueError, match="feeds keys add"):
            open_to(home, host, is_open=False)
        assert open_to(home, host, is_open=True) == "1"
        add_key(home, "shop", ["read"])
        assert open_to(home, host, is_open=False) == "0"


class TestTheCommand:
    def test_shows_a_token_once_and_lists_without_it(self, run, home):
        code, told, _ = run("keys", "add", "shop", "--scope", "read", "--days", 9,
                            "--home", home.root)  # fmt: skip
        token = told.splitlines()[-1]
        assert code == 0
        assert Keyring(home.keys).find(token.encode()).name == "shop"
        _, listed, _ = run("keys", "list", "--home", home.root)
        assert "shop" in listed
        assert "read" in listed
        assert token not in listed

    def test_revokes_and_warns_when_none_is_left(self, run, home):
        add_key(home, "shop", ["read"])
        code, told, _ = run("keys", "revoke", "shop", "--home", home.root)
        assert code == 0
        assert "without any key" in told
        assert json.loads(home.keys.read_text()) == {"keys": []}

    def test_rotates_what_links_are_signed_with_and_shows_no_secret(self, run, home):
        assert "no link was signed yet" in run("keys", "links", "--home", home.root)[1]
        assert not home.link_keys.exists()
        (first,) = link_keys(home)
        code, told, _ = run("keys", "links", "--rotate", "--home", home.root)
        second, before = link_keys(home)
        assert (code, before) == (0, first)
        assert "signed with key 1" in told
        assert "signed with key 0 work until the next rotation" in " ".join(told.split())
        assert b64encode(second.secret).decode() not in told

    def test_warns_of_a_page_that_no_site_may_have(self, run, tmp_path):
        config = tmp_path / "feeds.yaml"
        plain = "sources: {events: {path: e.parquet}}\nsignals: {view: {weight: 1}}\n"
        config.write_text(plain)
        assert "service.origins" in run("keys", "add", "one", "--page", "-c", config)[1]
        config.write_text(f"{plain}service: {{origins: ['https://shop.example']}}\n")
        assert "service.origins" not in run("keys", "add", "two", "--page", "-c", config)[1]

    def test_makes_no_key_for_a_shop_that_is_not_there(self, run, tmp_path):
        code, _, told = run("keys", "add", "x", "--scope", "read", "-c", tmp_path / "feeds.yml")
        assert code == 1
        assert "feeds.yml" in told
        assert not (tmp_path / ".feeds").exists()
