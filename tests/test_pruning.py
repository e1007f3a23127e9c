"""Old bundles go when nobody has them open and nothing names them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace

import pytest
import small_desk
from versions import flip, version

from command import gate
from features.home import Home
from training import promotion
from training.bundle import Bundle, NoModel, bundle_versions
from training.leases import unleased
from training.pruning import drop, pruned
from training.tracking import Tracker

HOLD = """
import sys, time
from pathlib import Path
from training.bundle import Bundle
bundle = Bundle.open(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""


def is_free(directory):
    with unleased(directory) as free:
        return free


def test_a_bundle_that_was_moved_out_of_the_way_is_no_version(tmp_path):
    home = Home(tmp_path)
    version(home, "v1").rename(home.bundles / "v1.broken")
    version(home, "v2")
    assert bundle_versions(home) == ["v2"]


@pytest.fixture
def one(tmp_path):
    """The directory of a bundle that nobody has opened."""
    return version(Home(tmp_path), "v1")


class TestALease:
    def test_lasts_as_long_as_the_bundle_or_a_copy_of_it(self, one):
        bundle = Bundle.open(one)
        copy = replace(bundle, version="another name")
        del bundle
        assert not is_free(one)
        del copy
        assert is_free(one)

    def test_is_shared_by_readers(self, one):
        first, second = Bundle.open(one), Bundle.open(one)
        del first
        assert not is_free(one)
        del second
        assert is_free(one)

    def test_of_another_process_goes_with_it_even_when_it_is_killed(self, one):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(one)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout.readline() == b"open\n"
            held = not is_free(one)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert held
        assert is_free(one)

    def test_cannot_be_had_of_what_is_being_removed(self, one):
        told = []

        def late():
            try:
                Bundle.open(one)
            except NoModel as error:
                told.append(str(error))

        with unleased(one) as free:
            assert free
            reader = threading.Thread(target=late)
            reader.start()
            reader.join(0.2)  # it waits for the lock
            assert reader.is_alive()
            one.rename(one.with_name("aside"))
        reader.join()
        assert "No such file" in told[0]


@dataclass(frozen=True)
class Shop:
    """A home with registered versions."""

    home: Home
    config: object

    def promote(self, name):
        promotion.promote(self.config, self.home, name)

    def pruned(self):
        return pruned(self.home, self.config)

    @property
    def here(self):
        return bundle_versions(self.home)


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Versions 1 to 6, all registered; an arm of the config of version 6 names version 2."""
    home = Home(tmp_path_factory.mktemp("six") / "home")
    model = small_desk.model()
    tracker = Tracker(home, model.config)
    arms = [{"name": "half", "arms": {"old": {"share": 0.5, "model": "v2"}}}]
    for number in range(1, 7):
        more = {"experiments": arms} if number == 6 else {}
        at = version(home, f"v{number}", **more)
        assert tracker.record(at, params={}, metrics={}, tags={}, plots={}) == number
    config = model.config
    return Shop(home, config.model_copy(update={
        "service": config.service.model_copy(update={"keep_models": 2})}))  # fmt: skip


@pytest.fixture
def shop(six, tmp_path):
    """A copy of it, to prune."""
    shutil.copytree(six.home.root, tmp_path / "home")
    return replace(six, home=Home(tmp_path / "home"))


class TestPruning:
    def test_leaves_the_newest_and_what_is_served(self, shop):
        shop.promote("v3")
        done = shop.pruned()
        assert done.removed == ["v1", "v2", "v4"]
        assert done.kept == {"v3": "it is served"}
        assert shop.here == ["v3", "v5", "v6"]

    def test_leaves_what_arms_name(self, shop):
        shop.promote("v6")
        done = shop.pruned()
        assert done.removed == ["v1", "v3", "v4"]
        assert done.kept == {"v2": "an arm of an experiment names it"}

    def test_leaves_what_somebody_has_open_until_they_close_it(self, shop):
        shop.promote("v6")
        reader = Bundle.open(shop.home.bundles / "v3")
        first = shop.pruned()
        assert (first.removed, first.kept["v3"]) == (["v1", "v4"], "it is open in a process")
        assert reader.catalogue.ids.texts([0])  # it is whole
        del reader
        assert shop.pruned().removed == ["v3"]

    def test_leaves_what_an_alias_names(self, shop):
        shop.promote("v6")
        client = Tracker(shop.home, shop.config).connect()
        client.set_registered_model_alias("feeds", "christmas", "1")
        assert shop.pruned().kept["v1"] == "alias christmas"
        client.delete_registered_model_alias("feeds", "christmas")

    def test_leaves_what_mlflow_could_not_give_back(self, shop):
        shop.promote("v6")
        version(shop.home, "v0")
        assert shop.pruned().kept["v0"] == "MLflow has no copy of it"

    def test_leaves_everything_where_there_is_little(self, shop):
        few = replace(shop, config=small_desk.model().config)
        assert few.config.service.keep_models == 5
        assert few.pruned().removed == ["v1"]
        assert (few.pruned().removed, few.pruned().kept) == ([], {})

    def test_what_was_removed_comes_back_from_mlflow(self, shop):
        shop.promote("v6")
        shop.pruned()
        shop.promote("v1")
        assert shop.here == ["v1", "v2", "v5", "v6"]

    def test_a_promotion_brings_what_its_arms_name(self, shop):
        shutil.rmtree(shop.home.bundles / "v2")
        shop.promote("v6")
        assert "v2" in shop.here

    def test_deletes_what_a_command_that_was_ended_has_left(self, shop):
        left = shop.home.bundles / ".v0.1234.gone"
        left.mkdir()
        shop.pruned()
        assert not left.exists()

    def test_is_told_in_so_many_words(self, shop, capsys):
        shop.promote("v6")
        gate.tidied(shop.config, shop.home)
        told = capsys.readouterr().out
        assert "the old v2 stays on the disk: an arm of an experiment names it" in told
        assert "removed from the disk: v1, v3, v4" in told


class TestDropping:
    def test_takes_a_version_away_however_new(self, shop):
        shop.promote("v5")
        assert drop(shop.home, "v6")
        assert "v6" not in shop.here

    @pytest.mark.parametrize("kept", ["v6", "v2"], ids=["what is served", "what its arms name"])
    def test_leaves_what_answers(self, shop, kept):
        shop.promote("v6")
        assert not drop(shop.home, kept)
        assert kept in shop.here

    def test_leaves_what_is_open(self, shop):
        reader = Bundle.open(shop.home.bundles / "v1")
        assert not drop(shop.home, "v1")
        del reader
        assert drop(shop.home, "v1")

    def test_of_what_is_not_here_is_done_already(self, shop):
        assert drop(shop.home, "v99")


class TestPromotion:
    def test_is_refused_for_what_fails_its_checks(self, shop):
        shop.promote("v5")
        flip(shop.home.bundles / "v6" / "consent.npy")
        with pytest.raises(NoModel, match=r"v6 fails its checks: consent\.npy"):
            shop.promote("v6")
        assert shop.home.current() == "v5"

    def test_says_which_arms_nobody_will_be_in(self, shop):
        shutil.rmtree(shop.home.bundles / "v2")
        Tracker(shop.home, shop.config).connect().delete_model_version("feeds", "2")
        done = promotion.promote(shop.config, shop.home, "v6")
        assert "nobody is in the experiments on v2: no model v2 is registered" in done.lacking[0]

    def test_two_who_go_back_at_once_go_back_two_steps(self, shop):
        for name in ("v3", "v4", "v5"):
            shop.promote(name)
        back = [threading.Thread(target=promotion.back, args=(shop.config, shop.home))
                for _ in range(2)]  # fmt: skip
        for one in back:
            one.start()
        for one in back:
            one.join()
        assert shop.home.current() == "v3"
        assert [one.version for one in promotion.reigns(shop.home)][-2:] == ["v4", "v3"]
