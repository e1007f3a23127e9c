"""The preview of a mailing: who stands for whom, and that everybody's decision has words."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from mailed import block, blocks, config, dressing, everybody

from command.mail_preview import pictures_of, write_preview
from features.types import Texts
from serving.mailing.personas import NAMES, Known, Reader, choose, described, preview
from serving.rendering import load_templates
from serving.why import WHY
from training.policy import Reason

MADE = config()
SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.fixture(scope="module")
def templates():
    return load_templates(MADE.mail, Path(), "en")


def known(*people: tuple[str, str, bool, bool, int]) -> Known:
    """user_id, stage, consent to personal feeds, to e-mails, events."""
    user_ids, stages, consent, email, events = zip(*people, strict=True)
    return Known(user_ids, stages, np.array(consent), np.array(email), np.array(events))


PEOPLE = known(
    ("b", "loyal", True, True, 9), ("a", "loyal", True, True, 3), ("c", "lapsing", True, True, 2),
    ("d", "new", True, True, 0), ("e", "new", True, True, 1), ("f", "", False, True, 4),
    ("B", "loyal", True, False, 5), ("g", "active", True, True, 7), ("h", "", False, True, 0),
)  # fmt: skip


class TestWhoStandsForWhom:
    def test_is_the_lowest_id_of_those_who_fit_and_have_a_history(self):
        assert choose(PEOPLE) == {
            "new": "e", "loyal": "a", "lapsing": "c", "no consent": "f",
            "no consent to e-mail": "B", "stranger": "stranger-0", "too few items": "a",
        }  # fmt: skip

    def test_is_the_same_in_any_order(self):
        order = [4, 2, 8, 0, 7, 1, 3, 6, 5]
        rows = zip(PEOPLE.user_ids, PEOPLE.stages, PEOPLE.consent, PEOPLE.consent_email,
                   PEOPLE.events, strict=True)  # fmt: skip
        told = list(rows)
        assert choose(known(*(told[row] for row in order))) == choose(PEOPLE)

    def test_comes_in_the_order_of_the_page(self):
        found = list(choose(PEOPLE))
        assert found == [name for name in NAMES if name in found]

    def test_a_stranger_is_nobody_of_the_list(self):
        assert choose(known(("stranger-0", "new", True, True, 1)))["stranger"] == "stranger-1"

    def test_facts_are_consent_and_history(self):
        assert PEOPLE.facts("e") == {
            "consent": "to personal feeds and e-mails", "history": "1 event"
        }  # fmt: skip
        assert PEOPLE.facts("f") == {"consent": "to e-mails", "history": "4 events"}
        assert PEOPLE.facts("stranger-0") == {}


def told(name, *rows, facts=None, templates):
    reader = Reader(name, blocks(*rows), facts or {})
    own = dressing().dressed(reader.blocks, range(len(rows)))
    return described(reader, own, MADE, templates)


class TestDescribed:
    def test_a_mail_has_its_facts_its_rung_and_its_looks(self, templates):
        found = told(
            "loyal",
            block("c1", "top", "a", stages="loyal", segments="gardeners", messages="spring",
                  rungs="segment"),
            block("c1", "more", "c", stages="loyal", segments="gardeners", messages="spring"),
            facts={"history": "3 events"}, templates=templates,
        )  # fmt: skip
        assert found.facts == {
            "stage": "loyal", "segment": "gardeners", "history": "3 events", "language": "en",
            "key message": "spring",
        }  # fmt: skip
        assert (found.decision, found.rung) == ("show", "one_to_one")
        assert found.reasons == ["their history is known, and was used"]
        assert found.rendered is not None

    def test_blocks_that_were_decided_otherwise_are_told_one_by_one(self, templates):
        found = told("lapsed", block("c2", "top"), block("c2", "more", "a"), templates=templates)
        assert found.reasons == [
            "top, suppress: fewer items were left than the placement wants",
            "more, show: their history is known, and was used",
        ]  # fmt: skip

    @pytest.mark.parametrize("reason", [one.name for one in Reason])
    def test_no_mail_has_a_reason_in_words_and_nothing_to_look_at(self, templates, reason):
        rows = [block("c3", place, reasons=reason) for place in ("top", "more")]
        found = told("stranger", *rows, templates=templates)
        assert (found.decision, found.rung, found.rendered) == ("suppress", "", None)
        assert found.reasons == [WHY[reason]]
        assert found.facts["stage"] == "not known"


class TestThePage:
    def test_has_everybody_beside_one_another(self, templates):
        everyone = everybody()
        rows = [
            blocks(*(
                {name: getattr(everyone, name)[row] for name in everyone.__dataclass_fields__}
                for row in (first, first + 1)
            ))
            for first in (0, 2, 4)
        ]  # fmt: skip
        names = ("loyal", "lapsed", "no consent to e-mail")
        page = preview([Reader(*one) for one in zip(names, rows, strict=True)], dressing(), MADE,
                       templates)  # fmt: skip
        soup = BeautifulSoup(page, "html.parser")
        assert soup.title.text == "2026-w47: preview"
        about = [" ".join(one.text.split()) for one in soup.find_all("h2")]
        assert about == ["loyal show · one_to_one", "lapsed fallback · one_to_one",
                         "no consent to e-mail suppress"]  # fmt: skip
        assert len(soup.find_all("iframe")) == 2
        assert "they have not agreed to get mails" in soup.find_all("article")[2].text

    def test_shows_pictures_that_lie_in_the_shops_directory(self, templates, tmp_path):
        (tmp_path / "i").mkdir()
        (tmp_path / "i" / "a.svg").write_text(SVG)
        own = dressing(image_urls=Texts.of(["i/a.svg", "https://cdn.example/b.png", *"cdefgh"]))
        reader = Reader("loyal", blocks(block("c1", "top", "ab")))
        file = write_preview(tmp_path, [reader], own, MADE, (templates, tmp_path))
        assert file == tmp_path / "preview.html"
        (frame,) = BeautifulSoup(file.read_text("utf-8"), "html.parser").find_all("iframe")
        sources = [one["src"] for one in BeautifulSoup(frame["srcdoc"], "html.parser")("img")]
        inside = f"data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}"
        assert sources == [inside, "https://cdn.example/b.png"]

    def test_shows_no_file_outside_of_it(self, tmp_path):
        (tmp_path / "shop").mkdir()
        (tmp_path / "secret.svg").write_text(SVG)
        shelf = dressing(image_urls=Texts.of(["../secret.svg", *"bcdefgh"])).catalogue
        assert pictures_of(shelf, ["a"], "https://shop.example", tmp_path / "shop") == {}
