"""Links of a mail: what was signed comes back, what was not does not, and they stay short."""

from __future__ import annotations

import string
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.home import Home
from features.types import MAX_ID
from serving.link_keys import LinkKeys, link_keys, rotate
from serving.links import Link, LinkKey, Refused, address, read, signed, utm

KEY, OTHER = LinkKey(1, b"k" * 32), LinkKey(2, b"o" * 32)
LINK = Link(
    recipient="0123456789abcdef0123456789abcdef", decision_id="5f0c3a9be1d24c7780aa91b3",
    placement="newsletter_top", item_id="SKU-004711", position=3, expires=2_000,
    mailing="2026-w47",
)  # fmt: skip
BEFORE, AT_ITS_END = 1_999_999_999, 2_000_000_000  # microseconds
URL_SAFE = set(string.ascii_letters + string.digits + "-_")

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
links = st.builds(
    Link, recipient=st.text("0123456789abcdef", min_size=32, max_size=32), decision_id=ids,
    placement=ids, item_id=ids, position=st.integers(1, 200),
    expires=st.integers(2, 2**40), mailing=ids | st.just(""),
)  # fmt: skip


def why(keys: list[LinkKey], token: str, now_us: int = BEFORE) -> str:
    with pytest.raises(Refused) as refused:
        read(keys, token, now_us)
    return refused.value.reason


class TestToken:
    @given(links)
    def test_gives_back_what_was_signed(self, link):
        assert read([KEY], signed(KEY, link), now_us=1_000_000) == link

    @given(links)
    def test_goes_into_a_path_as_it_is(self, link):
        assert set(signed(KEY, link)) <= URL_SAFE

    def test_is_short(self):
        assert len(signed(KEY, LINK)) < 200

    @pytest.mark.parametrize("name", ["mailing", "placement", "item_id", "decision_id"])
    def test_is_not_made_where_it_would_not_be_read(self, name):
        link = msgspec.structs.replace(LINK, **{name: "w" * 5000})
        assert read([KEY], signed(KEY, link), BEFORE) == link
        with pytest.raises(ValueError, match=f"the {name} of a link is too long: wwww"):
            signed(KEY, msgspec.structs.replace(LINK, **{name: "w" * 6100}))

    def test_takes_ids_of_the_greatest_length(self):
        longest = dict.fromkeys(("mailing", "placement", "item_id"), "🌹" * MAX_ID)
        link = msgspec.structs.replace(LINK, **longest)
        assert read([KEY], signed(KEY, link), BEFORE) == link

    def test_says_nothing_of_the_person_that_the_log_does_not_say(self):
        with pytest.raises(ValueError, match="pseudonym"):
            signed(KEY, msgspec.structs.replace(LINK, recipient="u:12346"))

    @pytest.mark.parametrize("recipient", ["AB" * 16, "ab " * 10 + "ab", "ab" * 15, "zz" * 16])
    def test_takes_no_other_spelling_of_a_pseudonym(self, recipient):
        with pytest.raises(ValueError, match="32 hexadecimal"):
            signed(KEY, msgspec.structs.replace(LINK, recipient=recipient))


class TestRefused:
    def test_any_other_character_anywhere(self):
        token = signed(KEY, LINK)
        for place, was in enumerate(token):
            for other in "A_z9" if was != "A" else "B_z9":
                if other != was:
                    changed = token[:place] + other + token[place + 1 :]
                    assert why([KEY, OTHER], changed) in ("tampered", "malformed"), changed

    @settings(max_examples=300)
    @given(links, st.data())
    def test_any_other_character_of_any_link(self, link, data):
        token = signed(KEY, link)
        place = data.draw(st.integers(0, len(token) - 1))
        other = data.draw(st.sampled_from(sorted(URL_SAFE - {token[place]})))
        changed = token[:place] + other + token[place + 1 :]
        assert why([KEY, OTHER], changed, now_us=0) in ("tampered", "malformed")

    @given(st.text(max_size=300))
    def test_whatever_is_typed(self, text):
        assert why([KEY], text) in ("tampered", "malformed")

    @pytest.mark.parametrize(
        "token",
        ["", "abc", "ä" * 150, "=" * 150, "a b" * 50, "A" * 10_000, signed(KEY, LINK) + "="],
    )
    def test_what_is_no_token(self, token):
        assert why([KEY], token) == "malformed"

    def test_a_token_that_was_cut_off(self):
        token = signed(KEY, LINK)
        for length in range(len(token)):
            assert why([KEY], token[:length]) in ("tampered", "malformed")

    def test_another_shops_link(self):
        assert why([OTHER], signed(KEY, LINK)) == "tampered"
        same_number = LinkKey(KEY.number, OTHER.secret)
        assert why([same_number], signed(KEY, LINK)) == "tampered"

    def test_a_link_from_its_last_second_on(self):
        token = signed(KEY, LINK)
        assert read([KEY], token, BEFORE) == LINK
        assert why([KEY], token, AT_ITS_END) == "expired"

    def test_a_changed_link_is_not_said_to_be_expired(self):
        changed = signed(LinkKey(1, b"guess" * 6), LINK)
        assert why([KEY], changed, AT_ITS_END) == "tampered"

    def test_says_no_more_than_why(self):
        with pytest.raises(Refused) as refused:
            read([KEY], signed(KEY, LINK), AT_ITS_END)
        assert str(refused.value) == "expired"
        assert "k" * 8 not in repr(KEY)


class TestKeys:
    @pytest.fixture
    def home(self, tmp_path):
        return Home(tmp_path)

    def test_are_made_once(self, home):
        assert link_keys(home) == link_keys(home)
        assert len(link_keys(home)[0].secret) == 32

    def test_are_for_their_owner_only(self, home):
        link_keys(home)
        assert home.link_keys.stat().st_mode & 0o077 == 0

    def test_the_one_before_still_reads_and_the_one_before_that_does_not(self, home):
        first = signed(link_keys(home)[0], LINK)
        second = signed(rotate(home)[0], LINK)
        assert read(link_keys(home), first, BEFORE) == read(link_keys(home), second, BEFORE)
        rotate(home)
        assert why(link_keys(home), first) == "tampered"
        assert read(link_keys(home), second, BEFORE) == LINK

    def test_a_worker_follows_the_file(self, home):
        worker = LinkKeys(home)
        sent_before = signed(worker.newest, LINK)
        sent_by_another_process = signed(rotate(home)[0], LINK)
        for token in (sent_before, sent_by_another_process):
            assert read(worker.valid(), token, BEFORE) == LINK
        assert worker.newest == link_keys(home)[0]

    def test_a_worker_keeps_its_keys_when_the_file_is_gone_or_broken(self, home, caplog):
        worker = LinkKeys(home)
        token = signed(worker.newest, LINK)
        home.link_keys.write_text("{")
        assert read(worker.valid(), token, BEFORE) == LINK
        assert "stay as they were" in caplog.text
        home.link_keys.unlink()
        assert read(worker.valid(), token, BEFORE) == LINK
        assert not home.link_keys.exists()

    def test_a_broken_file_is_not_made_anew(self, home):
        home.link_keys.write_text("{}")
        with pytest.raises(ValueError, match=r"link_keys\.json.*put the file back"):
            link_keys(home)

    def test_numbers_begin_again_after_256(self, home):
        for _ in range(257):
            keys = rotate(home)
        assert [key.number for key in keys] == [0, 255]


FIELDS = {
    "utm_source": "mail", "utm_campaign": "{mailing}", "utm_content": "{placement}-{position}",
}  # fmt: skip
VALUES = {"mailing": "w 47&8", "placement": "top", "position": 2, "item_id": "a/b"}


class TestUtm:
    def test_adds_what_the_config_says(self):
        assert utm("https://shop.example/p", FIELDS, VALUES) == (
            "https://shop.example/p?utm_source=mail&utm_campaign=w+47%268&utm_content=top-2"
        )

    def test_keeps_query_and_fragment_as_they_are(self):
        found = utm(
            "https://shop.example/p?c=r%C3%B6d&x&c=2#size", {"utm_term": "{item_id}"}, VALUES
        )
        assert found == "https://shop.example/p?c=r%C3%B6d&x&c=2&utm_term=a%2Fb#size"

    def test_takes_the_place_of_a_parameter_of_the_same_name(self):
        found = utm("https://shop.example/p?utm_source=old&a=1", {"utm_source": "mail"}, {})
        assert found == "https://shop.example/p?a=1&utm_source=mail"

    @pytest.mark.parametrize(
        "url", ["https://s.example/p", "https://s.example/p?a=1#b", "https://s.example/#"]
    )
    def test_without_fields_the_address_stays(self, url):
        assert utm(url, {}, {}) == url

    def test_a_field_that_nobody_knows_is_an_error(self):
        with pytest.raises(KeyError, match="user"):
            utm("https://shop.example/p", {"utm_term": "{user}"}, VALUES)

    @given(st.lists(st.tuples(ids, ids), max_size=4), ids, ids)
    def test_every_value_comes_through(self, before, item_id, placement):
        url = "https://shop.example/p?" + urlencode(before) + "#there"
        fields = {"utm_term": "{item_id}", "utm_content": "{placement}"}
        found = urlsplit(utm(url, fields, {"item_id": item_id, "placement": placement}))
        kept = [pair for pair in before if pair[0] not in fields]
        told = [("utm_term", item_id), ("utm_content", placement)]
        assert parse_qsl(found.query, keep_blank_values=True) == kept + told
        assert found.fragment == "there"


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("/shop/p-1", "https://shop.example/shop/p-1"),
            ("images/p-1.png", "https://shop.example/images/p-1.png"),
            ("https://cdn.example/a.png", "https://cdn.example/a.png"),
            (" https://cdn.example/röd vas.png?w=1&q=%20#x ",
             "https://cdn.example/r%C3%B6d%20vas.png?w=1&q=%20#x"),
            ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
            ("//cdn.example/a.png", "https://cdn.example/a.png"),
        ],
    )  # fmt: skip
    def test_is_absolute_and_ascii(self, url, found):
        assert address(url, "https://shop.example/") == found

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "  ",
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "mailto:a",
            "ftp://shop.example/a",
            "https://",
            "https://[a",
        ],
    )
    def test_is_empty_for_what_no_mail_may_hold(self, url):
        assert address(url, "https://shop.example") == ""

    def test_a_relative_address_without_a_site_is_none(self):
        assert address("/shop/p-1") == ""
