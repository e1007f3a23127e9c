"""Text features: items of like words lie near each other, whatever the language."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import text_features as module
from features.config import ConfigError
from features.options import TextOptions
from features.text_features import TextFeatures, item_words, text_features

GARDEN = ["tomato seeds for raised beds", "bean seeds for raised beds", "seeds and raised beds"]
KITCHEN = ["steel pan with a lid", "copper pan with a lid", "iron pan, lid of glass"]


def features(words, dimensions=64, seed=0):
    return text_features(words, TextOptions(dimensions=dimensions), seed)


def likeness(words, **options):
    vectors = features(words, **options).vectors
    return vectors @ vectors.T


class TestWordsOfAnItem:
    def test_are_all_that_is_said_of_it(self):
        table = pa.table({
            "item_id": ["1", "2", "3"], "title": ["Sofa", None, None],
            "category": ["home/living", "home", None], "brand": ["Ährenhof", None, None],
            "text": ["For three.", "Soft", None],
        })  # fmt: skip
        assert item_words(table) == ["Sofa For three. home/living Ährenhof", "Soft home", ""]

    def test_are_none_where_the_table_says_nothing(self):
        assert item_words(pa.table({"item_id": ["1", "2"]})) == ["", ""]


class TestVectors:
    def test_of_like_items_lie_near_and_of_others_far(self):
        like = likeness(GARDEN + KITCHEN, dimensions=2)
        assert like[:3, :3].min() > 0.8
        assert like[3:, 3:].min() > 0.8
        assert np.abs(like[:3, 3:]).max() < 0.3

    def test_bring_words_together_that_occur_with_the_same_others(self):
        words = ["sofa cushion"] * 2 + ["couch cushion"] * 2 + ["garden hose"] * 2
        plain, latent = likeness(words, dimensions=3), likeness(words, dimensions=2)
        assert plain[0, 2] < 0.9 < latent[0, 2]
        assert abs(latent[0, 4]) < 0.1

    @pytest.mark.parametrize(
        ("one", "same"),
        [("Gemüsebeet größer", "GEMUSEBEET große r größer"), ("coração", "CORACAO"),
         ("jardim & pátio", "Patio; jardim!"), ("sofa_bed 500ml", "500ML/sofa a bed")],
    )  # fmt: skip
    def test_take_no_notice_of_case_accents_and_signs(self, one, same):
        like = likeness([one, same, "something else entirely"])
        assert like[0, 1] == pytest.approx(1, abs=0.3 if "große" in same else 1e-6)

    def test_are_not_made_by_one_word_said_again_and_again(self):
        like = likeness(["sofa " * 50 + "chair", "chair", "sofa"])
        assert 0.1 < like[0, 1] < like[0, 2]

    @pytest.mark.parametrize("dimensions", [2, 3, 64])
    def test_have_length_1_and_as_many_dimensions_as_the_words_allow(self, dimensions):
        found = features(GARDEN + KITCHEN, dimensions)
        assert found.vectors.dtype == np.float32
        assert found.vectors.shape == (6, min(dimensions, 6))
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)

    def test_have_no_dimensions_that_the_words_do_not_fill(self):
        assert features(["red sofa"] * 5 + ["blue chair"] * 5).vectors.shape == (10, 2)

    @pytest.mark.parametrize(
        "words", [[], [""], ["", "  ", "a ! ?"]], ids=["no items", "one item", "no words"]
    )
    def test_of_a_catalogue_without_words_are_empty(self, words):
        found = features(words)
        assert found == TextFeatures(found.vectors, "tfidf-svd", 0.0, 0)
        assert found.vectors.shape == (len(words), 0)

    def test_of_a_single_item_with_a_single_word_is_one_number(self):
        found = features(["sofa"])
        assert found.vectors.tolist() == [[1.0]]
        assert (found.explained_variance, found.n_words) == (pytest.approx(1), 1)

    def test_of_items_without_words_are_zero(self):
        vectors = features([*GARDEN, "", "?"]).vectors
        assert np.abs(vectors[3:]).max() == 0
        assert np.abs(vectors[:3]).max(axis=1).min() > 0

    def test_of_an_item_that_shares_nothing_are_zero_where_there_is_no_room_for_it(self):
        words = ["red sofa"] * 9 + ["blue chair"] * 8 + ["unique"]
        assert np.abs(features(words, dimensions=2).vectors[17]).max() == 0
        assert features(words, dimensions=3).vectors[17] @ [0, 0, 1] == pytest.approx(1)

    def test_keep_a_share_of_what_the_words_say(self):
        few, all_of_it = (features(GARDEN + KITCHEN, d).explained_variance for d in (2, 6))
        assert few is not None
        assert 0.3 < few < 0.9
        assert all_of_it == pytest.approx(1, abs=1e-5)

    @settings(max_examples=25, deadline=None)
    @given(
        rows=st.lists(st.text("abc dé", max_size=12), min_size=1, max_size=12),
        dimensions=st.integers(1, 8), seed=st.integers(0, 9), data=st.data(),
    )  # fmt: skip
    def test_are_the_same_bytes_for_the_same_words(self, rows, dimensions, seed, data):
        rows = [*rows, data.draw(st.sampled_from(rows))]
        first, again = (features(rows, dimensions, seed).vectors for _ in range(2))
        assert first.tobytes() == again.tobytes()
        assert first[rows.index(rows[-1])].tobytes() == first[-1].tobytes()
        length = np.linalg.norm(first, axis=1)
        assert ((np.abs(length - 1) < 1e-4) | (length == 0)).all()


class TestLargeCatalogue:
    N = module.MANY_ITEMS

    def test_leaves_out_words_of_one_item_and_of_most(self):
        words = [f"the {'sofa' if n % 3 else 'hose'} number{n}" for n in range(self.N)]
        assert features(words, dimensions=2).n_words == 1  # hose
        assert features(words[1:], dimensions=2).n_words == 3 + self.N - 1

    def test_keeps_them_where_there_are_no_others(self):
        found = features(["the same"] * self.N)
        assert found.n_words == 2
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)

    def test_knows_the_most_frequent_words_only(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_WORDS", 2)
        assert features(["red sofa", "red sofa", "blue sofa"]).n_words == 2


class TestModelThatCannotBeUsed:
    def test_is_told_when_it_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match=r"catalogue\.text\.model: .*no directory of a sent"):
            text_features(["a"], TextOptions(model="nowhere"), 0, tmp_path)

    def test_is_told_when_the_package_is_missing(self, tmp_path, monkeypatch):
        (tmp_path / "modules.json").write_text("[]")
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(ConfigError, match=r"pip install 'purposeful-feeds\[text\]'"):
            text_features(["a"], TextOptions(model=str(tmp_path)), 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A directory with a model of a few random weights."""
    package = pytest.importorskip(
        "sentence_transformers", reason="the extra `text` is not installed", exc_type=ImportError
    )
    transformers = pytest.importorskip("transformers")
    base = tmp_path_factory.mktemp("models")
    (base / "bert").mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sofa", "chair", "red", "blue"]
    (base / "bert" / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(base / "bert" / "vocab.txt")).save_pretrained(base / "bert")
    transformers.set_seed(0)
    transformers.BertModel(transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    )).save_pretrained(base / "bert")  # fmt: skip
    package.SentenceTransformer(str(base / "bert"), device="cpu").save(str(base / "tiny"))
    return base / "tiny"


class TestLocalModel:
    WORDS = ("red sofa", "", "blue chair", "red sofa", "blue chair red sofa " * 5)

    def test_gives_a_vector_of_length_1_to_every_item_with_words(self, model):
        found = text_features(self.WORDS, TextOptions(model="tiny"), 0, model.parent)
        assert (found.method, found.explained_variance, found.n_words) == ("tiny", None, 0)
        assert (found.vectors.shape, found.vectors.dtype) == ((5, 8), np.float32)
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), [1, 0, 1, 1, 1], 1e-5)
        assert found.vectors[0].tobytes() == found.vectors[3].tobytes()
        assert not np.allclose(found.vectors[0], found.vectors[2], atol=1e-3)

    def test_of_no_items_gives_none(self, model):
        assert text_features([], TextOptions(model=str(model)), 0).vectors.shape == (0, 8)

    def test_that_is_broken_is_named(self, model, tmp_path):
        (tmp_path / "modules.json").write_text((model / "modules.json").read_text())
        with pytest.raises(ConfigError, match=r"catalogue\.text\.model: .* cannot be loaded"):
            text_features(["a"], TextOptions(model=str(tmp_path)), 0)
