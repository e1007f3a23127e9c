"""What e-mail services fill in and spreadsheets run: only the config may say such things."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailed import block, blocks, config, decided, dressing

from features.merge_tags import JOINER, MERGE_TAG, inert
from features.messages import filled
from features.types import Texts
from serving.links import address
from serving.mailing.writing import write
from serving.rendering import load_templates

TAGS = [
    "*|EMAIL|*", "{{ contact.email }}", "{{{email}}}", "{email}", "{% include 'x' %}", "{# x #}",
    "%%EMAIL%%", "%%[ set @a = 1 ]%%", "[[data:email]]", "[email]", "<% print(1) %>", "${email}",
    "#{email}", "$email$", "<%=email%>", "{!Contact.Email}", "{$email}",
]  # fmt: skip
OPENERS = ["{{", "{%", "{#", "${", "#{", "*|", "%%", "[[", "<%", "<<", "##", "{!", "{$", "%EMAIL%",
           "$name", "<#", "[#", "@{"]  # fmt: skip
signs = st.text('{}[]<>$%*|#@! \nab"')  # those of tags, and what stands between them


class TestData:
    @pytest.mark.parametrize("tag", TAGS)
    def test_that_looks_like_a_tag_is_none_any_more(self, tag):
        assert MERGE_TAG.search(f"Roses {tag} red")
        assert not MERGE_TAG.search(inert(f"Roses {tag} red"))

    @given(signs | st.text())
    def test_is_never_a_tag_and_looks_the_same(self, text):
        told = inert(text)
        assert not MERGE_TAG.search(told)
        assert told.replace(JOINER, "") == text.replace(JOINER, "")

    @given(signs, signs, st.sampled_from(OPENERS))
    def test_opens_no_tag_either_which_would_spoil_the_whole_mail(self, before, after, opener):
        assert opener not in inert(before + opener + after)

    @pytest.mark.parametrize(
        "text", ["", "50 % off", "20% off, only 5*", "A & B <b>", "Nr. #1!", "a | b", "Ä 🌹 *️⃣"]
    )
    def test_without_tags_stays_as_it_is(self, text):
        assert inert(text) == text


class TestAddresses:
    @given(st.sampled_from([*TAGS, *OPENERS]), signs, st.sampled_from("/?#"))
    def test_of_the_catalogue_are_no_tags(self, tag, more, before):
        for url in (f"https://shop.example{before}{tag}{more}", f"p{before}{tag}{more}"):
            assert not MERGE_TAG.search(address(url, "https://shop.example"))

    @pytest.mark.parametrize("host", ["$a$.example", "%%a%%", "[::1]"])
    def test_whose_host_is_one_are_no_addresses(self, host):
        assert address(f"https://{host}/p") == ""

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("/p?filter[size]=s&price=$5", "/p?filter%5Bsize%5D=s&price=%245"),
            ("/100%/%C3%B6%2?q=%%41", "/100%25/%C3%B6%252?q=%25%41"),
        ],
    )
    def test_lead_where_they_led(self, url, found):
        assert address(url, "https://shop.example") == f"https://shop.example{found}"


class TestNames:
    @pytest.mark.parametrize("name", [*TAGS, "Ann *|EMAIL|*", "<b>Ann</b>"])
    def test_that_hold_tags_are_no_names(self, name):
        assert filled("Hello {first_name|there}", {"first_name": name}) == "Hello there"

    @pytest.mark.parametrize(
        "name",
        ['=HYPERLINK("https://x.example")', "\t=1+1", "+1", "-1+2", "@SUM(1)", "\uff1d1", "a;=1"],
    )
    def test_that_a_spreadsheet_would_run_are_no_names(self, name):
        assert filled("{first_name|you}, look", {"first_name": name}) == "you, look"

    @pytest.mark.parametrize(
        "name", ["Ann", "Anne-Marie", "D'Arcy", "J. R.", "Ann (Annie)", "Æ", "Ann & Bo", "Ann+Bo"]
    )
    def test_of_people_are_told(self, name):
        assert filled("Hello {first_name|there}", {"first_name": name}) == f"Hello {name}"


@pytest.fixture(scope="module")
def mailing(tmp_path_factory):
    """All files of a mail whose item, reason and language are nothing but tags."""
    every, n = " ".join(TAGS), 8
    made = config(["top"], size=1, utm={}, unsubscribe="*|UNSUB|*", shop_name="{{ shop }}")
    row = block("c1", "top", "b", headlines="Hi *|FNAME|*", item_reasons=[every], languages=every)
    out = decided(tmp_path_factory.mktemp("out"), blocks(row), placements=["top"])
    names = "titles", "descriptions", "brands", "categories", "currencies"
    told = dict.fromkeys(names, Texts.of([every] * n))
    pages = dict.fromkeys(("urls", "image_urls"), Texts.of([f"p/{every}"] * n))
    write(out, dressing(made, **told, **pages), made, load_templates(made.mail, Path(), "en"))
    return out


class TestAMailing:
    """Only the tags of the config are left in its files."""

    def test_as_a_table(self, mailing):
        with (mailing / "recipients.csv").open(encoding="utf-8", newline="") as handle:
            (row,) = csv.DictReader(handle)
        found = {name: MERGE_TAG.findall(cell) for name, cell in row.items()}
        assert {name for name, tags in found.items() if tags} == {"subject", "headline"}
        assert found["headline"] == ["*|FNAME|*"]
        assert row["item1_title"].replace(JOINER, "") == " ".join(TAGS)

    def test_as_lines(self, mailing):
        (line,) = (mailing / "mails.jsonl").read_text("utf-8").splitlines()
        (item,) = json.loads(line)["blocks"][0]["items"]
        texts = [text for text in item.values() if isinstance(text, str)]
        assert [text for text in texts if MERGE_TAG.search(text)] == []
        assert item["reason"].replace(JOINER, "") == " ".join(TAGS)

    @pytest.mark.parametrize("end", ["html", "txt"])
    def test_as_pages(self, mailing, end):
        (file,) = mailing.glob(f"html/*/*.{end}")
        page = file.read_text("utf-8")
        for tag in TAGS:
            assert tag not in page
        for opener in ("{{", "{%", "${", "%%", "[["):
            assert page.count(opener) == (opener == "{{" and page.count("{{ shop }}"))
        assert "*|UNSUB|*" in page
        assert "*|FNAME|*" in page
