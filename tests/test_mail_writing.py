"""The files of a mailing: what stands where, for whom, and that nothing is ever half there."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mailed
import numpy as np
import pyarrow.parquet as pq
import pytest
from bs4 import BeautifulSoup
from mailed import AWKWARD, PLACEMENTS, block, blocks, config, decided, dressing, everybody

from features.types import Texts
from serving.links import Link, read
from serving.mailing.parts import Record, as_blocks, parts, tables
from serving.mailing.writing import finish, write
from serving.rendering import load_templates

FILES = {"blocks.parquet", "recipients.csv", "mails.jsonl", "summary.json"}
ITEM = "id", "title", "url", "image_url", "price", "list_price", "currency", "brand", "reason"


def written(out: Path, *given, made=None, html=False, **more):
    """The files of these parts; those of everybody where none are given."""
    made = made or config()
    own = decided(out, *(given or [everybody()]), **more)
    templates = load_templates(made.mail, Path(), "en") if html else None
    summary = write(own, dressing(made), made, templates)
    finish(own, summary)
    return summary


def sheet(out: Path) -> list[dict[str, str]]:
    with (out / "recipients.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, strict=True))


def lines(out: Path):
    return [json.loads(line) for line in (out / "mails.jsonl").read_text("utf-8").splitlines()]


class TestTheWideTable:
    def test_has_a_line_for_whoever_gets_a_mail_and_for_nobody_else(self, tmp_path):
        written(tmp_path)
        assert [row["user_id"] for row in sheet(tmp_path)] == ["c1", "c2"]

    def test_has_every_field_of_every_item_in_a_column(self, tmp_path):
        written(tmp_path)
        first, _ = sheet(tmp_path)
        assert [first[f"top_item2_{one}"] for one in ITEM] == [
            "b", "Item b", "https://shop.example/p/b?utm_source=feeds&utm_content=top-2",
            "https://shop.example/i/b.png", "20.00", "25.50", "EUR", "Ada", "for you",
        ]  # fmt: skip
        assert list(first) == [
            "user_id", "language", "subject",
            *(f"{name}_{one}" for name in PLACEMENTS
              for one in ("headline", *(f"item{place}_{one}" for place in (1, 2) for one in ITEM))),
        ]  # fmt: skip

    def test_has_plain_names_where_there_is_one_block(self, tmp_path):
        made = config(["top"], size=1)
        written(tmp_path, blocks(block("c1", "top", "b")), made=made, placements=["top"])
        (row,) = sheet(tmp_path)
        assert list(row) == [
            "user_id", "language", "subject", "headline", *(f"item1_{one}" for one in ITEM),
        ]  # fmt: skip
        assert (row["item1_id"], row["headline"], row["subject"]) == ("b", "", "")

    def test_leaves_empty_what_is_not_there(self, tmp_path):
        written(tmp_path)
        first, second = sheet(tmp_path)
        assert {first[f"more_item2_{one}"] for one in ITEM} == {""}
        assert {second[f"top_item{place}_{one}"] for place in (1, 2) for one in ITEM} == {""}
        assert first["top_item1_list_price"] == ""

    def test_takes_its_subject_from_the_first_block_that_is_shown(self, tmp_path):
        written(tmp_path)
        assert [(row["subject"], row["language"], row["top_headline"]) for row in sheet(tmp_path)] \
            == [("Hello, c1", "en", "Hello, c1"), ("Wieder da", "de", "")]  # fmt: skip

    @pytest.mark.parametrize("text", [AWKWARD, 'a"', ",", "\r", "  ", ";", "Ä 🌹", "=1+1"])
    def test_gives_back_any_text_as_it_was(self, tmp_path, text):
        row = block(text, "top", "b", headlines=text, item_reasons=[text])
        told = config(["top"])
        out = decided(tmp_path, blocks(row), placements=["top"])
        write(out, dressing(told, titles=Texts.of(["", text, *"cdefgh"])), told)
        (found,) = sheet(out)
        own = ("user_id", "subject", "headline", "item1_title", "item1_reason")
        assert {found[name] for name in own} == {text}

    def test_quotes_addresses_with_commas(self, tmp_path):
        told = config(["top"], utm={})
        out = decided(tmp_path, blocks(block("c1", "top", "b")), placements=["top"])
        write(out, dressing(told, urls=Texts.of(["", "p/1,2", *"cdefgh"])), told)
        assert sheet(out)[0]["item1_url"] == "https://shop.example/p/1,2"

    def test_refuses_more_items_than_the_placement_has(self, tmp_path):
        with pytest.raises(ValueError, match=r"placements\.top\.size is 1"):
            written(tmp_path, made=config(size=1))


class TestTheLines:
    def test_have_a_mail_each_for_whoever_gets_one(self, tmp_path):
        written(tmp_path)
        assert [(one["user_id"], one["decision"], one["language"]) for one in lines(tmp_path)] == [
            ("c1", "show", "en"), ("c2", "fallback", "de"),
        ]  # fmt: skip

    def test_tell_every_block_with_its_decision_and_its_items(self, tmp_path):
        written(tmp_path)
        first, second = lines(tmp_path)
        assert [(one["placement"], [item["item_id"] for item in one["items"]])
                for one in first["blocks"]] == [("top", ["a", "b"]), ("more", ["c"])]  # fmt: skip
        top, more = second["blocks"]
        assert (top["decision"], top["reason"], top["items"]) == ("suppress", "too_few_items", [])
        assert {name: more[name] for name in ("decision", "reason", "rung", "headline")} == {
            "decision": "fallback", "reason": "no_opinion", "rung": "one_to_one",
            "headline": "Wieder da",
        }  # fmt: skip

    def test_tell_all_that_a_template_may_show_of_an_item(self, tmp_path):
        written(tmp_path)
        assert lines(tmp_path)[0]["blocks"][0]["items"][1] == {
            "item_id": "b", "position": 2, "title": "Item b",
            "url": "https://shop.example/p/b?utm_source=feeds&utm_content=top-2",
            "image_url": "https://shop.example/i/b.png", "price": 20.0, "list_price": 25.5,
            "currency": "EUR", "brand": "Ada", "category": "x/1", "text": "About b",
            "reason": "for you", "label": "",
        }  # fmt: skip

    def test_name_rendered_mails_where_there_are_some(self, tmp_path):
        written(tmp_path)
        assert not {"html", "text"} & lines(tmp_path)[0].keys()
        written(tmp_path, html=True)
        name = mailed.pseudonym("c1")
        assert lines(tmp_path)[0]["html"] == f"html/{name[:2]}/{name}.html"
        assert lines(tmp_path)[0]["text"] == f"html/{name[:2]}/{name}.txt"

    def test_name_none_of_an_earlier_time_and_those_are_gone(self, tmp_path):
        written(tmp_path, html=True)
        written(tmp_path)
        assert not {"html", "text"} & lines(tmp_path)[0].keys()
        assert not (tmp_path / "html").exists()


@pytest.fixture(scope="module")
def rendered_mails(tmp_path_factory):
    out = tmp_path_factory.mktemp("mailing")
    written(out, html=True)
    return out


class TestRenderedMails:
    def test_are_there_for_whoever_gets_a_mail_under_a_pseudonym(self, rendered_mails):
        files = {one.name for one in rendered_mails.glob("html/*/*")}
        assert files == {f"{mailed.pseudonym(one)}{end}" for one in ("c1", "c2")
                         for end in (".html", ".txt")}  # fmt: skip

    def test_hold_the_blocks_that_are_shown_and_no_markup_of_the_catalogue(self, rendered_mails):
        first, second = (
            (rendered_mails / one["html"]).read_text("utf-8") for one in lines(rendered_mails)
        )
        assert "<b>red</b>" not in first
        assert "<b>red</b>" in BeautifulSoup(first, "html.parser").get_text()
        assert ("Hello, c1" in first, "And more" in first) == (True, True)
        assert ("Wieder da" in second, "Ansehen" in second) == (True, True)

    def test_have_the_same_links_as_the_lines(self, rendered_mails):
        for one in lines(rendered_mails):
            page, text = (
                (rendered_mails / one[kind]).read_text("utf-8").replace("&amp;", "&")
                for kind in ("html", "text")
            )
            for url in (item["url"] for own in one["blocks"] for item in own["items"]):
                assert url in page
                assert url in text


class TestAllBlocks:
    def test_have_everybody_also_without_a_mail(self, tmp_path):
        written(tmp_path)
        table = pq.read_table(tmp_path / "blocks.parquet")
        assert table["user_id"].to_pylist() == ["c1", "c1", "c2", "c2", "c3", "c3"]
        assert table["reason"].to_pylist()[4:] == ["no_email_consent"] * 2

    def test_are_the_parts_one_after_the_other(self, tmp_path):
        first, second = everybody(), blocks(block("c4", "top", "b"), block("c4", "more", "e"))
        written(tmp_path, first, second)
        file = pq.ParquetFile(tmp_path / "blocks.parquet")
        assert file.num_row_groups == 2
        assert as_blocks(file.read_row_group(0)) == first
        assert as_blocks(file.read_row_group(1)) == second


class TestLinks:
    def test_lead_through_us_where_the_config_says_so_and_say_where_they_come_from(self):
        made = config(links="https://feeds.shop.example/")
        own = dressing(made, mailed.KEY).dressed(everybody(), range(2))
        item = own.blocks[0].items[1]
        base, _, token = item.url.rpartition("/")
        assert base == "https://feeds.shop.example/r"
        assert read([mailed.KEY], token, 0) == Link(
            recipient=mailed.pseudonym("c1"), decision_id=own.blocks[0].decision_id,
            placement="top", item_id="b", position=2, expires=mailed.EXPIRES, mailing="2026-w47",
        )  # fmt: skip

    def test_lead_straight_on_without_a_key(self):
        made = config(links="https://feeds.shop.example")
        (item,) = dressing(made).items("", "", "top", ["b"], [""], [[]])
        assert item.url.startswith("https://shop.example/p/b?")

    def test_carry_the_parameters_of_their_slot(self):
        utm = {"utm_campaign": "{mailing}", "utm_content": "{placement}-{position}-{item_id}"}
        own = dressing(config(utm=utm))
        for placement in PLACEMENTS:
            for first, second in ("ab", "ba"):
                found = own.items("", "", placement, [first, second], ["", ""], [[], []])
                assert [parse_qs(urlsplit(item.url).query) for item in found] == [
                    {"utm_campaign": ["2026-w47"], "utm_content": [f"{placement}-1-{first}"]},
                    {"utm_campaign": ["2026-w47"], "utm_content": [f"{placement}-2-{second}"]},
                ]  # fmt: skip

    def test_of_another_mailing_name_it(self):
        own = dressing(config(utm={"utm_campaign": "{mailing}"}))
        own.items("", "", "top", ["a"], [""], [[]])
        (item,) = own.of("2026-w48", 0).items("", "", "top", ["a"], [""], [[]])
        assert item.url.endswith("utm_campaign=2026-w48")

    @pytest.mark.parametrize("key", [None, mailed.KEY])
    def test_are_none_where_the_item_has_no_page(self, key):
        made = config(links="https://feeds.shop.example")
        own = dressing(made, key, urls=Texts.of(["javascript:alert(1)", "", *"cdefgh"]))
        found = own.items("0" * 32, "", "top", ["a", "b"], ["", ""], [[], []])
        assert [item.url for item in found] == ["", ""]


class TestItems:
    def test_that_were_promoted_say_so(self):
        own = dressing().dressed(everybody(), range(2))
        assert [item.label for block in own.blocks for item in block.items] == ["", "", "promoted"]

    def test_that_lack_what_a_template_needs_are_told_apart(self):
        own = dressing(urls=Texts.of(["p/a", "", *"cdefgh"]))
        assert own.lacking(np.array([0, 1, 7]), {"url", "price"}).tolist() == [False, True, True]

    def test_are_looked_at_anew_when_the_catalogue_has_moved(self):
        own = dressing()
        own.items("", "", "top", ["a"], [""], [[]])
        own.catalogue.prices[0] = 5
        own.changed(["a"])
        assert own.items("", "", "top", ["a"], [""], [[]])[0].price == 5

    def test_of_another_model_are_refused(self):
        with pytest.raises(ValueError, match="no item 'zz': the mailing was decided with another"):
            dressing().items("", "", "top", ["zz"], [""], [[]])


class TestSummary:
    def test_counts_who_gets_what_and_why(self, tmp_path):
        found = written(tmp_path)
        assert (found.recipients, found.mails) == (3, 2)
        assert found.decisions == {"show": 1, "fallback": 1, "suppress": 1}
        assert found.reasons == {
            "fallback": {"no_opinion": 1}, "show": {"known_history": 1},
            "suppress": {"no_email_consent": 1},
        }  # fmt: skip
        assert found.segments == {
            "gardeners": {"show": 1, "fallback": 1}, "": {"suppress": 1},
        }  # fmt: skip
        assert found.stages == {
            "": {"suppress": 1}, "lapsed": {"fallback": 1}, "loyal": {"show": 1},
        }  # fmt: skip
        assert {(one.segment, one.stage): one.decisions for one in found.cells} == {
            ("", ""): {"suppress": 1}, ("gardeners", "lapsed"): {"fallback": 1},
            ("gardeners", "loyal"): {"show": 1},
        }  # fmt: skip
        assert found.messages == {"spring": 1}

    def test_counts_every_block_by_itself(self, tmp_path):
        top, more = written(tmp_path).placements.values()
        assert top.decisions == {"suppress": 2, "show": 1}
        assert top.reasons["suppress"] == {"no_email_consent": 1, "too_few_items": 1}
        assert (more.items, more.different) == (3, 3)  # c, then a and d

    def test_says_how_much_of_the_catalogue_is_shown_and_how_personal_it_is(self, tmp_path):
        found = written(tmp_path)
        more = found.placements["more"]
        assert (more.could_be, more.coverage) == (
            6,
            0.5,
        )  # of eight one is sold out, one an article
        assert more.rungs == {"one_to_one": 0.3333, "one_for_all": 0.3333, "segment": 0.3333}
        assert found.rungs == {"one_to_one": 0.6, "one_for_all": 0.2, "segment": 0.2}

    def test_names_what_is_shown_most(self, tmp_path):
        found = written(tmp_path).top_items
        assert [(one.item_id, one.mails) for one in found] == [
            ("a", 2), ("b", 1), ("c", 1), ("d", 1),
        ]  # fmt: skip
        assert found[1].title == "Item b"

    def test_would_tell_of_items_that_stand_twice_in_a_mail(self, tmp_path):
        assert written(tmp_path).repeated == 0
        twice = blocks(block("c1", "top", "ab"), block("c1", "more", "b"))
        assert written(tmp_path / "twice", twice).repeated == 1

    def test_is_the_file_that_lies_there(self, tmp_path):
        found = written(tmp_path)
        told = json.loads((tmp_path / "summary.json").read_text())
        assert told["decisions"] == found.decisions
        assert told["mailing"] == "2026-w47"

    def test_of_nobody_is_empty(self, tmp_path):
        found = written(tmp_path, blocks())
        assert (found.recipients, found.mails, found.top_items) == (0, 0, [])
        assert sheet(tmp_path) == lines(tmp_path) == []

    def test_is_shown_as_tables(self, tmp_path, capsys):
        from command.mail_summary import mail_summary

        mail_summary(written(tmp_path), config())
        told = " ".join(capsys.readouterr().out.split())
        assert "2 mails for 3 recipients; 1 less personal than they could be, 1 get none" in told
        assert "suppress no_email_consent they have not agreed to get mails 1 33.3%" in told
        assert "gardeners loyal 1 0 0 100.0%" in told
        assert "more 2 1.5 of 2 33.3% 33.3% 0.0% 33.3% 3 of 6 (50.0%)" in told
        assert "b Item b 1" in told


class TestNothingIsHalfThere:
    def test_a_fault_in_the_middle_leaves_the_files_of_before(self, tmp_path):
        written(tmp_path, html=True)
        before = {one: (tmp_path / one).read_bytes() for one in FILES - {"summary.json"}}
        with pytest.raises(ValueError, match="no item 'z'"):
            written(tmp_path, everybody(), blocks(block("c4", "top", "z"), block("c4", "more")))
        assert {one: (tmp_path / one).read_bytes() for one in before} == before
        assert {one.name for one in tmp_path.iterdir()} == {
            *before, "html", "mailing.json", "parts",
        }  # fmt: skip

    def test_what_a_killed_run_left_is_taken_away(self, tmp_path):
        (tmp_path / ".mails.jsonl.0a1b2c3d").write_text("torn")
        (tmp_path / ".html.0a1b2c3d" / "ab").mkdir(parents=True)
        written(tmp_path)
        assert {one.name for one in tmp_path.iterdir()} == {*FILES, "mailing.json", "parts"}

    def test_a_part_that_is_being_written_is_none(self, tmp_path):
        decided(tmp_path, everybody())
        (tmp_path / "parts" / ".00001.parquet.0a1b2c3d").write_text("torn")
        assert [one.name for one in parts(tmp_path)] == ["00000.parquet"]

    def test_missing_parts_are_told(self, tmp_path):
        with pytest.raises(ValueError, match="of 9 recipients 3 are decided; the same command"):
            written(tmp_path, recipients=9)

    def test_parts_of_another_mailing_are_told(self, tmp_path):
        swapped = blocks(block("c1", "more"), block("c1", "top"))
        with pytest.raises(ValueError, match=r"00000\.parquet: its placements are not top, more"):
            written(tmp_path, swapped)

    def test_a_file_that_is_no_part_is_told(self, tmp_path):
        out = decided(tmp_path, everybody())
        table = pq.read_table(out / "parts" / "00000.parquet").drop_columns("reason")
        pq.write_table(table, out / "parts" / "00000.parquet")
        record = Record.read(out)
        assert record is not None
        with pytest.raises(ValueError, match="is no part of a mailing as this version writes them"):
            list(tables(out, record))

    def test_a_directory_without_a_mailing_is_told(self, tmp_path):
        with pytest.raises(ValueError, match=r"has no mailing\.json: no mailing was decided there"):
            write(tmp_path, dressing(), config())

    def test_a_record_that_is_none_is_told(self, tmp_path):
        (tmp_path / "mailing.json").write_text("{}")
        with pytest.raises(ValueError, match="it is no record of a mailing"):
            Record.read(tmp_path)


def test_progress_says_how_much_is_written(tmp_path):
    told = []
    out = decided(tmp_path, everybody(), blocks(block("c4", "top", "b"), block("c4", "more")))
    write(out, dressing(), config(), progress=lambda _what, share: told.append(share))
    assert told == [0.75, 1.0]
