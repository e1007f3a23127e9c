"""Mails as they are sent: what is in them, in whose language, and that clients can show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from mail_checks import NAMES, checks
from pydantic import ValidationError

from features.mail_options import MailOptions
from serving.mail_blocks import Block, BlockItem, Mail, lacks
from serving.mail_preview import Persona, preview_page
from serving.mail_words import BUILT_IN, speech
from serving.rendering import Rendered, fragment, load_templates, rendered
from serving.templating import NAMES as TEMPLATE_NAMES
from serving.templating import TemplateFault

DOCS = Path(__file__).parent.parent / "docs" / "mail-templates.md"
HERE = Path()
SHOP = MailOptions(
    shop_name="Purpose & Garden", footer=["1 Example Street"],
    unsubscribe="*|UNSUB|*", web_view="https://shop.example/mail?a=1&b=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def templates():
    return load_templates(SHOP, HERE, "en-GB")


def item(position=1, **changed):
    known = {
        "item_id": f"P-{position}", "position": position, "title": f"Tulips no. {position}",
        "url": f"https://feeds.shop.example/r/token{position}",
        "image_url": f"https://shop.example/{position}.png", "price": 12.34, "currency": "GBP",
        "brand": "Alderbrook", "reason": "because you bought Wild daffodils",
    }  # fmt: skip
    return BlockItem(**(known | changed))


def block(template="products", *items, headline="Back in time for spring"):
    return Block("newsletter", template, headline, items or [item(n) for n in (1, 2, 3)])


def mail(*blocks, language="en-GB", **more):
    known = {"unsubscribe_url": SHOP.unsubscribe, "web_view_url": SHOP.web_view}
    return Mail(blocks or [block("articles"), block()], language, **(known | more))


def words(part: str) -> str:
    """What a reader sees of some HTML; prices with plain blanks."""
    soup = BeautifulSoup(part, "html.parser")
    return " ".join(soup.body.get_text(" ").split() if soup.body else soup.get_text(" ").split())


class TestItems:
    @pytest.mark.parametrize("template", ["products", "articles"])
    def test_have_picture_title_reason_and_link(self, templates, template):
        found = rendered(mail(block(template, item(1))), templates)
        soup = BeautifulSoup(found.html, "html.parser")
        assert soup.find("img")["src"] == "https://shop.example/1.png"
        assert soup.find("img")["alt"] == "Tulips no. 1"
        links = [a["href"] for a in soup.find_all("a") if "/r/" in a["href"]]
        assert links == ["https://feeds.shop.example/r/token1"] * 3  # picture, title, button
        for part in (words(found.html), found.text):
            assert "Tulips no. 1" in part
            assert "because you bought Wild daffodils" in part
        assert "https://feeds.shop.example/r/token1" in found.text

    def test_stand_in_the_order_of_the_block(self, templates):
        found = rendered(mail(block("products", item(1), item(2), item(3))), templates)
        for part in (found.html, found.text):
            assert re.findall(r"token(\d)", part) == sorted(re.findall(r"token(\d)", part))

    def test_articles_say_who_published_them_and_how_they_begin(self, templates):
        one = item(1, brand="The Slow Pan", text="It is easier than it looks. " * 20)
        found = rendered(mail(block("articles", one)), templates)
        for part in (words(found.html), found.text):
            assert "The Slow Pan" in part
            assert "It is easier than it looks." in part
            assert part.count("It is easier") < 8

    def test_what_the_rules_did_is_said(self, templates):
        found = rendered(mail(block("products", item(1, label="promoted"))), templates)
        assert "Promoted" in words(found.html)
        assert "Promoted" in found.text

    def test_the_list_price_is_struck_through_where_it_is_higher(self, templates):
        found = rendered(mail(block("products", item(1, list_price=20.0))), templates)
        soup = BeautifulSoup(found.html, "html.parser")
        assert [s.get_text() for s in soup.find_all("s")] == ["£20.00"]
        assert "£12.34 (instead of £20.00)" in found.text

    @pytest.mark.parametrize("list_price", [None, 12.34, 10.0])
    def test_no_other_list_price_is_shown(self, templates, list_price):
        found = rendered(mail(block("products", item(1, list_price=list_price))), templates)
        assert "<s>" not in found.html
        assert "instead" not in found.html + found.text

    def test_outlook_too_puts_two_products_in_a_row(self, templates):
        found = rendered(mail(block("products", item(1), item(2), item(3))), templates)
        hidden = "".join(re.findall(r"<!--\[if mso\]>(.*?)<!\[endif\]-->", found.html))
        ghosts = BeautifulSoup(hidden, "html.parser").select('table[width="568"] tr')
        assert [len(row.find_all("td")) for row in ghosts] == [2, 1]

    def test_say_what_they_lack(self, templates):
        needs = templates.required_by("products")
        assert needs == {"title", "url", "image_url", "price"}
        assert templates.required_by("articles") == {"title", "url", "image_url"}
        assert lacks(item(), needs) is None
        assert lacks(item(price=None), needs) == "price"
        assert lacks(item(image_url=""), needs) == "image_url"
        assert lacks(item(price=0.0), needs) is None

    def test_an_item_that_lacks_something_is_an_error_that_names_it(self, templates):
        with pytest.raises(ValueError, match="'P-1' has no price, which the template 'products'"):
            rendered(mail(block("products", item(1, price=None))), templates)

    @pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "/shop/p-1"])
    def test_no_item_leads_anywhere_but_to_the_web(self, url):
        for name in ("url", "image_url"):
            with pytest.raises(ValueError, match=r"'P-1'.*neither https:// nor"):
                item(1, **{name: url})


class TestMail:
    def test_has_the_shops_name_footer_web_view_and_a_way_out(self, templates):
        found = rendered(mail(), templates)
        for part in (words(found.html), found.text):
            assert "Purpose & Garden" in part
            assert "1 Example Street" in part
            assert "Unsubscribe" in part
        assert "https://shop.example/mail?a=1&b=2" in found.text
        assert 'href="https://shop.example/mail?a=1&amp;b=2"' in found.html

    def test_merge_tags_stay_as_they_are(self, templates):
        for tag in ("*|UNSUB|*", "{{ unsubscribe }}", "<%unsubscribe%>", "{% leave_link %}"):
            found = rendered(mail(unsubscribe_url=tag), templates)
            assert f'href="{tag}"' in found.html
            assert tag in found.text

    def test_every_text_is_escaped(self, templates):
        evil = '<script>"&'
        one = item(1, title=evil, reason=evil, brand=evil, text=evil, label=evil, currency=evil)
        blocks = [block("products", one, headline=evil), block("articles", one, headline=evil)]
        found = rendered(
            mail(*blocks, subject=evil, preheader=evil, unsubscribe_url=evil), templates
        )
        assert "<script>" not in found.html
        assert found.html.count("&lt;script&gt;&#34;&amp;") >= 12

    def test_in_plain_text_a_title_stays_on_its_line(self, templates):
        one = item(1, title="Tulips\r\n\nhttps://elsewhere.example")
        for template in ("products", "articles"):
            found = rendered(mail(block(template, one, headline="a\nb")), templates)
            assert "\nTulips https://elsewhere.example\n" in found.text
            assert "\na b\n===\n" in found.text

    def test_the_mailbox_shows_the_preheader_else_the_first_titles(self, templates):
        told = rendered(mail(preheader="Only until Sunday"), templates)
        left = rendered(mail(block("products", item(1), item(2), item(3))), templates)
        first = BeautifulSoup(told.html, "html.parser").body.find(True).get_text()
        assert first.strip().startswith("Only until Sunday")
        first = BeautifulSoup(left.html, "html.parser").body.find(True).get_text()
        assert first.strip().startswith("Tulips no. 1 · Tulips no. 2")

    def test_the_blocks_alone_have_no_frame(self, templates):
        whole, alone = rendered(mail(), templates), fragment(mail(), templates)
        assert "<html" not in alone.html
        assert "Purpose" not in alone.html + alone.text
        assert all(line in whole.html for line in alone.html.splitlines())

    def test_one_without_blocks_or_items_is_an_error(self, templates):
        with pytest.raises(ValueError, match="without blocks"):
            rendered(Mail([], "en"), templates)
        with pytest.raises(ValueError, match="'newsletter' has no items"):
            rendered(mail(Block("newsletter", "products", "Hello", [])), templates)

    def test_a_template_that_there_is_not_is_an_error_that_names_those_there_are(self, templates):
        with pytest.raises(ValueError, match=r"no mail template 'frame'.*products, articles"):
            rendered(mail(block("frame")), templates)

    def test_buttons_have_text_that_can_be_read_on_the_shops_colour(self):
        for accent, text in (
            ("#1f5c8a", "#ffffff"),
            ("#ffcc00", "#000000"),
            ("#777777", "#000000"),
        ):
            shop = MailOptions(shop_name="Shop", look={"accent": accent})
            found = rendered(mail(), load_templates(shop, HERE, "en"))
            assert f"font-weight:bold;color:{text};text-decoration:none" in found.html
            assert checks(found.html, found.text) == []


class TestLanguage:
    @pytest.mark.parametrize(
        ("language", "currency", "price"),
        [
            ("en-GB", "GBP", "£1,234.50"), ("en-GB", "EUR", "€1,234.50"),
            ("de", "EUR", "1.234,50 €"), ("de-AT", "EUR", "€ 1.234,50"),
            ("de_AT", "EUR", "€ 1.234,50"), ("fr", "EUR", "1 234,50 €"),
            ("ja", "JPY", "￥1,234"), ("en", "", "1,234.5"),
        ],
    )  # fmt: skip
    def test_prices_are_written_as_readers_write_them(self, templates, language, currency, price):
        one = item(1, price=1234.5, currency=currency)
        found = rendered(mail(block("products", one), language=language), templates)
        assert price in re.sub("[\xa0\u202f]", " ", found.text)
        assert price in re.sub("[\xa0\u202f]", " ", words(found.html))

    def test_the_few_words_are_in_the_readers_language(self, templates):
        found = rendered(mail(language="de"), templates)
        assert 'lang="de"' in found.html
        for word in ("Ansehen", "Weiterlesen", "Abbestellen", "Im Browser ansehen"):
            assert word in words(found.html)

    def test_who_speaks_none_that_we_know_gets_the_shops(self):
        found = rendered(mail(language="klingon"), load_templates(SHOP, HERE, "nl"))
        assert 'lang="nl"' in found.html
        assert "Bekijk" in found.html

    def test_the_shops_own_words_go_first(self):
        shop = MailOptions(words={"de": {"view": "Zeig her"}, "pl": {"view": "Zobacz"}})
        templates = load_templates(shop, HERE, "de")
        for language, word in (("de-AT", "Zeig her"), ("pl", "Zobacz"), ("pt", "View")):
            assert word in words(rendered(mail(language=language), templates).html)

    def test_a_language_that_there_is_not_is_an_error(self):
        with pytest.raises(ValueError, match="no language 'klingon'"):
            load_templates(MailOptions(words={"klingon": {"view": "x"}}), HERE, "en")
        with pytest.raises(ValueError, match="no language ''"):
            load_templates(MailOptions(), HERE, "")

    def test_every_language_has_all_words(self):
        for name, known in BUILT_IN.items():
            assert set(known) == set(BUILT_IN["en"]), name

    def test_one_reads_from_right_to_left_where_that_is_so(self, templates):
        found = rendered(mail(language="ar"), templates)
        assert '<html lang="ar" dir="rtl"' in found.html
        assert "text-align:right" in found.html
        assert (speech("ar", {}).start, speech("ar", {}).end) == ("right", "left")
        assert (speech("en", {}).start, speech("en", {}).end) == ("left", "right")
        assert checks(found.html, found.text) == []


class TestOwnTemplates:
    @pytest.fixture
    def write(self, tmp_path):
        def write(html, text="{{ items[0].title }}", name="sale"):
            (tmp_path / f"{name}.html.j2").write_text(html)
            if text is not None:
                (tmp_path / f"{name}.txt.j2").write_text(text)
            return load_templates(MailOptions(templates={name: f"{name}.html.j2"}), tmp_path, "en")

        return write

    def test_the_one_of_the_docs(self, tmp_path):
        files = re.findall(r"`(mail/\S+)`:\n\n```jinja\n(.*?)```", DOCS.read_text(), re.DOTALL)
        assert [name for name, _ in files] == ["mail/sale.html.j2", "mail/sale.txt.j2"]
        (tmp_path / "mail").mkdir()
        for name, content in files:
            (tmp_path / name).write_text(content)
        shop = MailOptions(shop_name="Shop", templates={"sale": "mail/sale.html.j2"})
        templates = load_templates(shop, tmp_path, "en-GB")
        assert templates.required_by("sale") == {"title", "url", "price"}
        found = rendered(mail(block("sale", item(1, image_url=""))), templates)
        assert checks(found.html, found.text) == []
        assert "1. Tulips no. 1 : £12.34" in words(found.html)
        assert "1. Tulips no. 1: £12.34 https://feeds.shop.example/r/token1" in found.text

    def test_every_variable_of_the_docs_is_there(self, write):
        table = DOCS.read_text().partition("| variable |")[2].partition("\n\n")[0]
        first = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
        names = {name for cell in first for name in re.findall(r"`(\w+)", cell)} - {"blocks"}
        assert len(names) >= 17
        html = "".join(f"{{% set {name}_ = {name} %}}{{{{ {name} }}}}" for name in sorted(names))
        found = rendered(mail(block("sale")), write(html))
        assert "Back in time for spring" in found.html

    def test_the_docs_name_all_fields_of_an_item(self):
        told = re.search(r"^\| `items` \| (.+) \|$", DOCS.read_text(), re.MULTILINE)[1]
        assert set(re.findall(r"`(\w+)`", told)) - {"None"} == set(BlockItem.__slots__)

    def test_take_the_place_of_built_in_ones(self, write):
        found = rendered(mail(block("products")), write("<p>ours</p>", name="products"))
        assert "<p>ours</p>" in found.html
        found = rendered(mail(), write("<main>{{ blocks | length }}</main>", "frame", "frame"))
        assert found == Rendered("<main>2</main>", "frame")

    def test_escape_by_themselves(self, write):
        found = rendered(mail(block("sale", item(1, title="<i>"))), write("{{ items[0].title }}"))
        assert "&lt;i&gt;" in found.html
        assert "<i>" in found.text

    @pytest.mark.parametrize(
        ("html", "line", "says"),
        [
            ("<p>\n{% for %}", 2, "Expected"),
            ("<p>\n\n{{ item.price }}", 3, "'item' is undefined"),
            ("{% for item in items %}\n{{ item.prise }}\n{% endfor %}", 2, "prise"),
            ("{% for item in items %}\n{{ 1 / 0 }}\n{% endfor %}", 2, "division"),
            ("\n{{ ''.__class__.__mro__ }}", 2, "__class__"),
            ("{% set n = items.append(1) %}", 1, "append"),
            ('\n{% set requires = ["prise"] %}', 2, "an item has no 'prise'; choose from"),
            ("{% set requires = items %}", 1, "as a list of names"),
            ("{% set requires = 'price' %}", 1, "as a list of names"),
            ("\n{{ button() }}", 2, "'url' was not provided"),
        ],
    )
    def test_a_fault_is_told_with_file_and_line_when_they_are_loaded(self, write, html, line, says):
        with pytest.raises(TemplateFault, match=re.escape(says)) as fault:
            write(html)
        assert re.search(rf"/sale\.html\.j2:{line}: ", str(fault.value)), fault.value

    def test_a_fault_that_only_shows_without_a_price_is_found_too(self, write):
        with pytest.raises(TemplateFault, match=r"sale\.html\.j2:1"):
            write("{{ price(items[0].price, 'EUR') }}")  # it does not say that it requires one

    def test_plain_text_has_faults_too(self, write):
        with pytest.raises(TemplateFault, match=r"sale\.txt\.j2:2: 'nobody' is undefined"):
            write("", "\n{{ nobody }}")

    def test_both_files_must_be_there(self, write, tmp_path):
        with pytest.raises(TemplateFault, match=r"sale\.txt\.j2: there is no such file"):
            write("<p>", text=None)
        with pytest.raises(TemplateFault, match=r"lost\.html\.j2: there is no such file"):
            load_templates(MailOptions(templates={"lost": "lost.html.j2"}), tmp_path, "en")


class TestOptions:
    @pytest.mark.parametrize(
        ("section", "says"),
        [
            ({"unsubscribe": "javascript:x"}, "neither an address"),
            ({"web_view": "unsubscribe"}, "merge tag"),
            ({"utm": {"utm_term": "{user}"}}, "no field {user}"),
            ({"site": "shop.example"}, "site"),
            ({"links": "https://shop.example/feeds?x=1"}, "links"),
            ({"look": {"accent": "blue"}}, "accent"),
            ({"look": {"logo": {"url": "http://a/b.png", "width": 99, "height": 9}}}, "logo"),
            ({"templates": {"sale": "sale.html"}}, "templates"),
            ({"words": {"de": {"veiw": "x"}}}, "veiw"),
            ({"sit": "https://shop.example"}, "sit"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, section, says):
        with pytest.raises(ValidationError, match=says):
            MailOptions(**section)

    def test_the_config_of_the_docs_is_one(self):
        import yaml

        found = re.search(r"```yaml\nmail:\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
        assert MailOptions(**yaml.safe_load(found)).look.logo.width == 160


def changed(old, new):
    """A mail in which something is otherwise."""

    def change(html, text):
        assert old in html
        return html.replace(old, new), text

    return change


def with_body(extra):
    return changed("</body>", f"{extra}</body>")


P = '<p style="color:#23211d;'
BROKEN = {  # check -> a mail that has just this fault, and perhaps others
    "doctype": changed("<!doctype html>", ""),
    "language": changed(' dir="ltr"', ""),
    "title": lambda html, text: (re.sub("<title>.*?</title>", "<title></title>", html), text),
    "charset": changed('charset="utf-8"', 'charset="latin-1"'),
    "viewport": changed("width=device-width", "width=600"),
    "colour_schemes": changed('name="supported-color-schemes"', 'name="schemes"'),
    "dark_styles": changed("(prefers-color-scheme: dark)", "print"),
    "phone_styles": changed("(max-width: 599px)", "(min-width: 599px)"),
    "style_block": changed("</style>\n</head>", ".ink { color: #000000 }</style>\n</head>"),
    "outside_styles": changed("<title>", '<link rel="stylesheet" href="https://a.example"><title>'),
    "known_tags": with_body("<form></form>"),
    "no_handlers": with_body('<p onclick="x()">a</p>'),
    "known_css": with_body('<div style="display: flex"></div>'),
    "device_fonts": with_body('<div style="font-family: Lobster"></div>'),
    "readable_size": with_body('<div style="font-size: 11px"></div>'),
    "layout_tables": with_body("<table></table>"),
    "width": with_body('<div style="width: 700px"></div>'),
    "outlook": changed("<!--[if mso]></td></tr></table><![endif]-->", ""),
    "nesting": with_body("<b><i></b></i>"),
    "alt_texts": changed('alt="Tulips no. 1"', 'alt=""'),
    "picture_sizes": changed('width="268" ', ""),
    "picture_formats": changed("/1.png", "/1.svg"),
    "web_addresses": changed("https://feeds.shop.example/r/token1", "http://feeds.shop.example/r"),
    "links_say_where": with_body('<a href="https://a.example"></a>'),
    "buttons": changed("mso-padding-alt:10px 22px", ""),
    "preheader": changed("mso-hide:all", ""),
    "contrast": with_body(f'{P}background-color:#555555">grey on grey</p>'),
    "dark_contrast": changed(".ink { color: #f1eee7 !important; }", ".ink {}"),
    "size": with_body("x\n" * 50_000),
    "line_length": with_body("x" * 999),
    "plain_text": lambda html, text: (html, text + "&nbsp;"),
    "same_links": lambda html, text: (html, text.replace("token2", "")),
    "same_words": lambda html, text: (html, text.replace("no. 3", "")),
}


class TestChecks:
    def test_every_mail_passes(self, templates):
        for language in (*BUILT_IN, "ar", "ja"):
            found = rendered(mail(language=language), templates)
            assert checks(found.html, found.text) == []

    def test_so_does_one_with_a_logo_and_other_pictures(self):
        shop = MailOptions(
            shop_name="Shop",
            look={"logo": {"url": "https://shop.example/l.png", "width": 160, "height": 40},
                  "product_picture": 0.75},
        )  # fmt: skip
        found = rendered(mail(), load_templates(shop, HERE, "en"))
        assert checks(found.html, found.text) == []
        assert 'width="268" height="357"' in found.html

    @settings(max_examples=20, deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=300),
            min_size=2, max_size=5,
        )
    )  # fmt: skip
    def test_whatever_words_there_are(self, templates, texts):
        items = [item(n, title=text, reason=text, text=text) for n, text in enumerate(texts, 1)]
        found = rendered(
            mail(block("products", *items, headline=texts[0]), block("articles", *items)),
            templates,
        )
        assert [one for one in checks(found.html, found.text) if "plain_text" not in one] == []

    def test_twelve_items_stay_far_below_what_gmail_cuts_off(self, templates):
        long = "https://feeds.shop.example/r/" + "x" * 250
        items = [item(n, url=long, title="A title of some length " * 4) for n in range(1, 5)]
        found = rendered(mail(*[block("products", *items)] * 3), templates)
        assert len(found.html.encode()) < 60_000

    @pytest.mark.parametrize("name", BROKEN)
    def test_each_can_fail(self, templates, name):
        found = rendered(mail(), templates)
        faults = checks(*BROKEN[name](found.html, found.text))
        assert name in {fault.partition(":")[0] for fault in faults}

    def test_each_is_broken_once_and_explained_once(self):
        assert set(BROKEN) == set(NAMES)
        table = DOCS.read_text().partition("| check |")[2].partition("\n\n")[0]
        first = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
        assert [name for cell in first for name in re.findall(r"`(\w+)`", cell)] == list(NAMES)


class TestPreview:
    def persona(self, name, found=None, **changed):
        known = {
            "facts": {"stage": name}, "decision": "show", "reasons": ["their history pays"],
            "rung": "one_to_one",
        }  # fmt: skip
        return Persona(name=name, rendered=found, **(known | changed))

    def test_shows_each_mail_in_a_frame_in_which_no_script_runs(self, templates):
        found = rendered(mail(), templates)
        page = BeautifulSoup(preview_page([self.persona("loyal", found)]), "html.parser")
        frame = page.find("iframe")
        assert frame["srcdoc"] == found.html
        assert frame["sandbox"] == ["allow-same-origin"]
        assert page.find("pre").get_text() == found.text
        assert "their history pays" in page.find("article").get_text()

    def test_says_why_there_is_no_mail(self):
        none = self.persona("too few", decision="suppress", reasons=["1 of 3 articles", "no more"])
        page = BeautifulSoup(preview_page([none]), "html.parser")
        assert page.find("iframe") is None
        assert " ".join(page.select_one(".nothing").get_text(" ").split()) == (
            "No mail 1 of 3 articles; no more"
        )

    def test_counts_who_gets_one(self, templates):
        found = rendered(mail(), templates)
        people = [self.persona("a", found), self.persona("b"), self.persona("c", found)]
        page = BeautifulSoup(preview_page(people, title="Week 47"), "html.parser")
        assert page.find("h1").get_text() == "Week 47"
        assert "2 get a mail, 1 get none" in " ".join(page.header.get_text().split())

    def test_escapes_every_text(self):
        evil = "<script>x</script>"
        persona = self.persona(evil, decision="show", facts={evil: evil}, reasons=[evil], rung=evil)
        assert evil not in preview_page([persona], title=evil)

    def test_shows_other_pictures_where_it_is_told_to(self, templates):
        found = rendered(mail(), templates)
        shown = {"https://shop.example/1.png": "data:image/svg+xml;base64,AA=="}
        page = preview_page([self.persona("a", found)], pictures=shown)
        srcdoc = BeautifulSoup(page, "html.parser").find("iframe")["srcdoc"]
        sources = {one["src"] for one in BeautifulSoup(srcdoc, "html.parser").find_all("img")}
        assert "data:image/svg+xml;base64,AA==" in sources
        assert "https://shop.example/1.png" not in sources
        assert "https://shop.example/2.png" in sources

    def test_the_templates_are_all_there(self):
        assert TEMPLATE_NAMES == ("frame", "products", "articles")
