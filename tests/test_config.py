"""`feeds.yaml`: what it may say, and what is told to somebody who wrote it wrongly."""

from pathlib import Path

import pytest

from features.config import Config, ConfigError, load_config

SMALLEST = """
sources: {events: {path: events.parquet}}
signals: {view: {weight: 1}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "feeds.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(tmp_path: Path, text: str) -> Config:
    return load_config(written(tmp_path, text))


def told(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    return str(error.value).replace(f"{tmp_path}/", "")


def test_what_is_not_said_has_a_default(tmp_path):
    config = loaded(tmp_path, SMALLEST)
    assert (config.shop.timezone, config.shop.clock) == ("UTC", "now")
    assert config.shop.consent_default == "no"
    assert config.contract.max_rejected_share == 0.05
    assert (config.repeat.product, config.repeat.article) == ("allow", "exclude")


@pytest.mark.parametrize("word", ["no", "on", "off", "yes", "NO"])
def test_a_word_that_old_yaml_takes_for_a_boolean_stays_a_word(tmp_path, word):
    assert loaded(tmp_path, f"{SMALLEST}shop: {{language: {word}}}").shop.language == word


@pytest.mark.parametrize(
    ("said", "meant"), [("yes", "yes"), ("no", "no"), ("true", "yes"), ("False", "no")]
)
def test_consent_may_be_said_as_a_word_or_as_a_boolean(tmp_path, said, meant):
    config = loaded(tmp_path, f"{SMALLEST}shop: {{consent_default: {said}}}")
    assert config.shop.consent_default == meant


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("shop:\n  curency: EUR", "feeds.yaml:5: shop.curency:", "not a key"),
        ("shop:\n  currency: euro", "feeds.yaml:5: shop.currency:", "^[A-Z]{3}$"),
        ("shop:\n  timezone: Berlin", "feeds.yaml:5: shop.timezone:", "Europe/London"),
        ("shop:\n  timezone: [UTC]", "feeds.yaml:5: shop.timezone:", "no time zone"),
        ("cleaning:\n  non_products: ['(']", "feeds.yaml:4: cleaning:", "'(' is no pattern"),
        ("placements:\n  home: {size: 2, min_items: 3}", "feeds.yaml:5: placements.home:", "above"),
        ("contract: {max_rejected_share: .nan}", "feeds.yaml:4: contract", "finite number"),
        ("objective: orders\nshop: 3", "feeds.yaml:5: shop:", "valid dictionary"),
    ],
)
def test_a_fault_is_told_with_its_line_and_its_key(tmp_path, text, where, what):
    message = told(tmp_path, SMALLEST + text)
    assert message.startswith(where)
    assert what in message


def test_every_fault_is_told_at_once(tmp_path):
    message = told(tmp_path, SMALLEST + "shop: {clock: later}\ncontrakt: {}\n")
    assert "feeds.yaml:4: shop.clock" in message
    assert "feeds.yaml:5: contrakt" in message


def test_a_key_given_twice_is_refused_because_the_first_would_be_forgotten(tmp_path):
    message = told(tmp_path, f"{SMALLEST}shop: {{clock: now}}\nshop: {{clock: as_of}}\n")
    assert message == "feeds.yaml:5: the key 'shop' is given twice"


def test_a_config_that_is_no_config_is_refused(tmp_path):
    assert "feeds.yaml:1" in told(tmp_path, "shop: [")
    assert "sources" in told(tmp_path, "")
    assert "valid dictionary" in told(tmp_path, "- events")
    with pytest.raises(ConfigError, match=r"nothing\.yaml does not exist; name the config with -c"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes("shop: {language: \xe9}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml is not UTF-8"):
        load_config(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("signals", "what"),
    [
        ("{}", "at least 1"),
        ("{dislike: {weight: -1}}", "weight above 0"),
        ("{view: {weight: .inf}}", "finite"),
        ("{view: {weight: 1, half_life_days: 0}}", "greater than 0"),
        ("{view: {weight: 1}, return: {weight: -1}}", "also in cleaning.returns"),
    ],
)
def test_signals_that_cannot_be_meant_are_refused(tmp_path, signals, what):
    text = f"sources: {{events: {{path: e.parquet}}}}\nsignals: {signals}\n"
    assert what in told(tmp_path, text)


@pytest.mark.parametrize(
    ("sources", "what"),
    [
        ("{events: {format: csv}}", "give either `path` or `derive_from: events`"),
        ("{events: {derive_from: events}}", "only items can be derived"),
        ("{items: {path: i.csv}}", "events: Field required"),
        ("{events: {path: e.csv, columns: {quantity: 1}}}", "valid string"),
    ],
)
def test_sources_that_cannot_be_read_are_refused(tmp_path, sources, what):
    assert what in told(tmp_path, f"sources: {sources}\nsignals: {{view: {{weight: 1}}}}\n")


class TestDigest:
    def test_what_is_said_and_what_is_left_to_the_default_are_the_same_config(self, tmp_path):
        said = loaded(tmp_path, f"{SMALLEST}contract: {{max_rejected_share: 0.05}}\n")
        assert said.digest() == loaded(tmp_path, SMALLEST).digest()

    def test_another_value_is_another_config(self, tmp_path):
        other = loaded(tmp_path, f"{SMALLEST}contract: {{max_rejected_share: 0.06}}\n")
        assert other.digest() != loaded(tmp_path, SMALLEST).digest()
        assert other.digest("shop", "signals") == loaded(tmp_path, SMALLEST).digest(
            "shop", "signals"
        )

    def test_signals_in_another_order_are_another_config_because_arrays_number_them(self, tmp_path):
        text = "sources: {events: {path: e.parquet}}\nsignals: {%s}\n"
        view, cart = "view: {weight: 1}", "cart: {weight: 3}"
        first = loaded(tmp_path, text % f"{view}, {cart}")
        assert first.digest("signals") != loaded(tmp_path, text % f"{cart}, {view}").digest(
            "signals"
        )


class TestSignals:
    def config(self, tmp_path, signals):
        return loaded(tmp_path, f"sources: {{events: {{path: e.parquet}}}}\nsignals: {signals}\n")

    def test_a_return_undoes_what_is_marked_as_had(self, tmp_path):
        config = self.config(tmp_path, "{view: {weight: 9}, order: {weight: 5, had: true}}")
        assert config.purchase_types() == ["order"]

    def test_or_the_weightiest_signal_but_never_a_mere_view(self, tmp_path):
        config = self.config(tmp_path, "{view: {weight: 1}, purchase: {weight: 5}}")
        assert config.purchase_types() == ["purchase"]

    def test_having_is_every_positive_signal_unless_one_is_marked(self, tmp_path):
        plain = self.config(tmp_path, "{view: {weight: 1}, dislike: {weight: -1}}")
        marked = self.config(tmp_path, "{view: {weight: 1}, buy: {weight: 5, had: true}}")
        assert plain.had_signals() == [True, False]
        assert marked.had_signals() == [False, True]


@pytest.mark.parametrize("written", ["12", "'12'", "v12"])
def test_a_model_of_an_arm_has_one_name_however_it_is_written(tmp_path, written):
    arm = f"experiments: [{{name: e, arms: {{other: {{share: 0.1, model: {written}}}}}}}]\n"
    config = loaded(tmp_path, f"{SMALLEST}{arm}")
    assert config.experiments[0].arms["other"].model == "v12"


@pytest.mark.parametrize("written", ["latest", "v0", "true"])
def test_a_model_that_is_no_version_is_refused_with_its_line(tmp_path, written):
    arm = f"experiments: [{{name: e, arms: {{other: {{share: 0.1, model: {written}}}}}}}]\n"
    with pytest.raises(ConfigError, match=r"arms\.other\.model: .* write a version like v3"):
        loaded(tmp_path, f"{SMALLEST}{arm}")


def test_where_the_service_runs_is_no_part_of_what_a_model_is_made_from():
    def shop(**service):
        told = {"sources": {"events": {"path": "log.csv"}}, "signals": {"view": {"weight": 1}}}
        return Config.model_validate({**told, "service": service}).digest()

    assert shop(max_body_kb=5) == shop()
