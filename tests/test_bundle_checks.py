"""A bundle is served only if its files are what was written and it answers as it did then."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import small_desk
from versions import SIMILARITY, change_file, flip, other_factors, reseal, version

from features import arrays
from features.home import Home
from features.types import Ragged
from training.bundle import Bundle, NoModel
from training.probes import KNOWN, STRANGERS, VISITORS, Probes, checked, differences, kept, probed


@pytest.fixture
def bundle(tmp_path):
    """A version of the small shop's model, to be spoilt."""
    return version(Home(tmp_path), "v2")


def refusal(directory):
    with pytest.raises(NoModel) as error:
        checked(directory)
    return str(error.value)


class TestTheSeal:
    def test_lets_pass_what_is_as_it_was_written(self, bundle):
        assert checked(bundle).version == "v2"

    @pytest.mark.parametrize(
        "file",
        [SIMILARITY, "timelines/items.npy", "catalogue/titles/blob.npy", "probes/scores.npy",
         "persons/values.json"],
    )  # fmt: skip
    def test_is_broken_by_a_flipped_byte(self, bundle, file):
        flip(bundle / file)
        assert f"v2 fails its checks: {file} is not what was written" in refusal(bundle)

    def test_is_broken_by_a_file_that_was_cut_short(self, bundle):
        os.truncate(bundle / SIMILARITY, 200)
        assert f"{SIMILARITY} has 200 bytes, not " in refusal(bundle)

    def test_is_broken_by_a_file_that_is_gone(self, bundle):
        (bundle / "consent.npy").unlink()
        assert "consent.npy cannot be read (No such file" in refusal(bundle)

    def test_is_broken_by_a_manifest_that_somebody_wrote_into(self, bundle):
        manifest = bundle / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"size": 4', '"size": 3'))
        assert "manifest.json is not what was written" in refusal(bundle)

    def test_does_not_cover_an_index_that_is_made_later(self, bundle):
        (bundle / "indexes").mkdir()
        (bundle / "indexes" / "als.faiss").write_bytes(b"made when it was opened")
        assert checked(bundle).version == "v2"

    def test_says_what_to_do(self, bundle):
        flip(bundle / SIMILARITY)
        assert f"Move {bundle} away and run `feeds promote v2`" in refusal(bundle)

    def test_of_another_format_says_so_before_anything_else(self, bundle):
        reseal(bundle, format_version=5)
        assert "it has format 5, this code reads 7; run `feeds train`" in refusal(bundle)

    def test_is_not_looked_at_by_a_batch(self, bundle):
        change_file(bundle / "catalogue" / "prices.npy", np.zeros_like)
        assert Bundle.open(bundle).version == "v2"


class TestTheProbes:
    def test_are_strangers_visitors_and_people_with_a_past(self):
        asked = kept(small_desk.directory())
        nobody = asked.persons[: STRANGERS + VISITORS]
        lengths = np.diff(asked.recent.indptr)
        assert nobody.tolist() == [-1] * (STRANGERS + VISITORS)
        assert (lengths[:STRANGERS] == 0).all()
        assert (lengths[STRANGERS : STRANGERS + VISITORS] > 0).all()
        assert len(set(asked.persons[len(nobody) :].tolist())) == KNOWN

    def test_ask_every_placement_and_every_ranker(self):
        assert kept(small_desk.directory()).questions == [
            "placement home", "placement magazine",
            "ranker popularity", "ranker transitions", "ranker neighbours",
        ]  # fmt: skip

    def test_refuse_the_factors_of_another_training(self, tmp_path):
        wrong = version(Home(tmp_path), "v2", {SIMILARITY: other_factors})
        told = refusal(wrong)
        assert "v2 fails its checks: placement home answers otherwise" in told
        assert "ranker neighbours answers otherwise than when it was trained" in told
        assert "ranker popularity" not in told

    def test_refuse_a_model_that_cannot_answer(self, tmp_path):
        beyond = {"timelines/items.npy": lambda old: old + 1_000_000}
        wrong = version(Home(tmp_path), "v2", beyond)
        assert "it cannot answer (" in refusal(wrong)

    def test_are_answered_alike_whatever_the_wall_clock_says(self):
        model = small_desk.model()
        shop = model.config.shop.model_copy(update={"clock": "now"})
        later = replace(model, config=model.config.model_copy(update={"shop": shop}))
        assert not differences(kept(small_desk.directory()), probed(later))


def answered(*rows):
    """One question, answered per person by items and scores."""
    items = np.array([[item for item, _ in row] for row in rows], np.int32)[None]
    scores = np.array([[score for _, score in row] for row in rows], np.float32)[None]
    return Probes(np.full(len(rows), -1, np.int32), Ragged.empty(len(rows)), ["ranker als"],
                  items, scores)  # fmt: skip


class TestAnAnswer:
    TOLD = ((7, 5.0), (3, 4.0), (9, 2.0))

    @pytest.mark.parametrize(
        "found",
        [
            ((7, 5.0), (3, 4.0), (9, 2.0)),
            ((7, 5.001), (3, 3.999), (9, 2.0)),
            ((7, 5.0), (3, 4.0), (8, 2.0)),
        ],
        ids=["the same", "within the tolerance", "a tie with the last place"],
    )
    def test_is_right(self, found):
        assert not differences(answered(self.TOLD), answered(found))

    @pytest.mark.parametrize(
        "found",
        [
            ((7, 5.1), (3, 4.0), (9, 2.0)),
            ((8, 5.0), (3, 4.0), (9, 2.0)),
            ((3, 5.0), (7, 4.0), (9, 2.0)),
            ((7, 5.0), (3, 4.0), (-1, np.nan)),
            ((-1, np.nan),) * 3,
        ],
        ids=["another score", "another item", "another order", "a shorter one", "none at all"],
    )
    def test_is_wrong(self, found):
        (told,) = differences(answered(self.TOLD), answered(found))
        assert "ranker als answers otherwise" in told

    def test_may_be_wrong_in_one_place_of_twenty_for_trees_jump(self):
        told = [((n, 5.0), (n + 100, 4.0)) for n in range(20)]
        jumped = [((0, 5.0), (100, 4.2)), *told[1:]]
        assert not differences(answered(*told), answered(*jumped))
        assert differences(answered(*told), answered(*jumped[:1] * 3, *told[3:]))


def test_touching_reads_arrays_wherever_they_lie():
    arrays.touch({"nested": [small_desk.model(), np.empty(0), np.array(5)], "text": "x"})
