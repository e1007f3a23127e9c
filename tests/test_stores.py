"""A command uses the store of its home's service, or refuses; features/stores.py."""

from __future__ import annotations

import asyncio
import json

import pytest
import small_desk

from features.config import ConfigError
from features.home import Home
from features.options import STATE
from features.stores import keep_store, require_store, store_of
from features.told import told
from serving.delivery import Holder
from serving.states import state_of

REDIS = "redis://:secret@10.0.0.5:6379/0"


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def config():
    return small_desk.model().config


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (REDIS, "redis://10.0.0.5:6379/0, keys feeds:*"),
        ("redis://ann:secret@10.0.0.5", "redis://10.0.0.5:6379/0, keys feeds:*"),
        ("rediss://10.0.0.5:7/2?prefix=two&password=secret", "redis://10.0.0.5:7/2, keys two:*"),
        (
            "unix:///run/redis.sock?db=1&password=secret",
            "unix:///run/redis.sock?db=1, keys feeds:*",
        ),
        (None, "state.db"),
    ],
)
def test_a_store_has_one_name_and_no_password(home, url, words):
    assert store_of(home, url) == words


def test_a_command_with_another_store_refuses_and_writes_nothing(home, config, monkeypatch):
    keep_store(home, REDIS)
    assert "secret" not in home.store.read_text()
    monkeypatch.delenv(STATE, raising=False)
    with pytest.raises(ConfigError, match=r"redis://10\.0\.0\.5:6379/0.*set FEEDS_STATE"):
        state_of(home, config)  # what `feeds forget` writes to
    with pytest.raises(ConfigError, match=r"this command would use state\.db"), told(config, home):
        pass  # what a build reads
    assert [file.name for file in home.root.iterdir()] == ["store.json"]


def test_a_command_with_the_same_store_goes_on(home):
    keep_store(home, REDIS)
    require_store(home, "redis://:another-password@10.0.0.5")
    with pytest.raises(ConfigError):
        require_store(home, "redis://10.0.0.5?prefix=two")


def test_where_no_service_ever_ran_every_store_will_do(home):
    require_store(home, None)
    require_store(home, REDIS)


def test_a_file_that_is_broken_stops_commands_until_a_service_writes_it_anew(home):
    home.store.write_text("{")
    with pytest.raises(ConfigError, match="start the service again"):
        require_store(home, None)
    keep_store(home, None)
    require_store(home, None)


def test_a_service_that_moved_says_so(home, caplog):
    keep_store(home, None)
    keep_store(home, REDIS)
    assert "was in state.db and is in redis://10.0.0.5:6379/0" in caplog.text


def test_a_service_says_which_store_it_uses(home, monkeypatch):
    monkeypatch.delenv(STATE, raising=False)
    home.bundles.mkdir()
    (home.bundles / "v1").symlink_to(small_desk.directory())
    home.pointer.write_text("v1\n")

    async def main():
        holder = Holder(home)
        await holder.refresh()
        await holder.close()

    asyncio.run(main())
    assert json.loads(home.store.read_text()) == {"state": "state.db"}
