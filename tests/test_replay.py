"""Replay: requests in time order, each with all that happened before it and nothing after it."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from readers import DAY, MICROSECOND, SECOND, START, built, log, read, trained, written

from features.live import Counters, Reach, Trails, Transitions
from features.types import to_us
from training.batch import Wish, rank_file, rank_people
from training.bundle import Bundle
from training.replay import Asked, World
from training.requests import Requests
from training.stream import read_stream


@pytest.fixture(scope="module")
def place(new_shop):
    """The magazine's directory, with a model of the log in it."""
    shop = new_shop()
    trained(shop)
    return shop


@pytest.fixture(scope="module")
def model(place):
    return Bundle.open(place.home.bundles / "v1")


@pytest.fixture
def ask(model, tmp_path):
    """Feeds by request: `ask([(name, user, moment), ...], [event, ...])`."""

    def _ask(requests, events=None, **wish):
        people = {"person_id": [r[0] for r in requests], "user_id": [r[1] for r in requests],
                  "at": [r[2] for r in requests]}  # fmt: skip
        stream = None if events is None else written(tmp_path, events)
        found = rank_people(model, pa.table(people), Wish(20, stream=stream, **wish)).to_pylist()
        assert list(dict.fromkeys(row["person_id"] for row in found)) == people["person_id"]
        return {name: [row["item_id"] for row in found if row["person_id"] == name]
                for name in people["person_id"]}  # fmt: skip

    return _ask


NOON = START + DAY
PAST = [read("n1", "d", START + 2 * SECOND), read("n2", "e", NOON - 9 * SECOND)]


class TestTime:
    @pytest.mark.parametrize("later", [0 * SECOND, MICROSECOND, DAY])
    def test_what_happens_at_the_moment_of_asking_or_after_it_changes_nothing(self, ask, later):
        requests = [("stranger", "", NOON), ("reader", "r3", NOON), ("new", "n2", NOON)]
        planted = [read(user, "hot", NOON + later) for user in ("r3", "n1", "n2", "n3", "n4")]
        assert ask(requests, [*PAST, *planted]) == ask(requests, PAST)

    def test_what_happens_a_microsecond_before_it_does(self, ask):
        requests = [("stranger", "", NOON)]
        planted = [read(f"n{n}", "hot", NOON - MICROSECOND) for n in range(9)]
        before, after = ask(requests, PAST), ask(requests, [*PAST, *planted])
        assert "hot" not in before["stranger"]
        assert after["stranger"][0] == "hot"

    def test_the_order_of_the_requests_is_that_of_the_people(self, ask):
        hot = [read(f"n{n}", "hot", NOON) for n in range(9)]
        feeds = ask([("late", "", NOON + DAY), ("early", "", NOON), ("late too", "", NOON + DAY)],
                    [*PAST, *hot])  # fmt: skip
        assert "hot" not in feeds["early"]
        assert feeds["late"] == feeds["late too"]
        assert feeds["late"][0] == "hot"

    def test_an_announced_item_is_shown_from_its_publication_on(self, ask):
        moments = {"before": START + 2 * DAY - MICROSECOND, "then": START + 2 * DAY}
        feeds = ask([(name, "", moment) for name, moment in moments.items()])
        assert "soon" not in feeds["before"]
        assert "soon" in feeds["then"]

    def test_before_the_models_moment_nobody_knows_what_came_after(self, ask):
        """r0 read a, b and c until START; two minutes before it was a, and b right then."""
        feeds = ask([("then", "r0", START - 60 * SECOND), ("now", "r0", START + SECOND)])
        assert "a" not in feeds["then"], "an article is read once"
        assert {"b", "c"} <= set(feeds["then"])
        assert not {"a", "b", "c"} & set(feeds["now"])


class TestPeople:
    def test_their_histories_grow(self, ask):
        """n1 has read d in the stream only; an article is read once."""
        feeds = ask([("before", "n1", START + SECOND), ("after", "n1", NOON)], PAST)
        assert "d" in feeds["before"]
        assert "d" not in feeds["after"]

    def test_an_open_visit_leads_on(self, ask):
        """Who has just come from a goes on to b, whether or not the model knows them."""
        feeds = ask([("new", "n7", NOON)], [read("n7", "a", NOON - 60 * SECOND)], rung="context")
        assert feeds["new"][0] == "b"

    def test_a_visit_ends_in_silence(self, model, tmp_path):
        visit = written(tmp_path, [read("n7", "a", NOON - DAY), read("n7", "a", NOON)])
        moments = [to_us(NOON + wait) for wait in (SECOND, 1800 * SECOND, 1801 * SECOND)]
        asked = Asked(["u:n7"] * 3, [[]] * 3, np.array(moments))
        found = [one.people.queries for one in World.of(model, read_stream(model, visit))
                 .moments(asked)]  # fmt: skip
        lengths = np.concatenate([np.diff(q.histories.indptr) - q.session_start for q in found])
        assert lengths.tolist() == [1, 1, 0]

    def test_items_that_nobody_had_seen_are_led_to_as_well(self, ask):
        """After d everybody goes on to something new."""
        went = [read(f"n{n}", item, START + DAY / 2 + (100 * n + step) * SECOND)
                for n in range(5) for step, item in enumerate(("d", "new"))]  # fmt: skip
        visit = read("n9", "D", NOON - SECOND)  # ids in any case
        feeds = ask([("comes from d", "n9", NOON)], [*went, visit], ranker="transitions")
        assert feeds["comes from d"][0] == "new"


class TestNumbers:
    def test_are_those_of_a_fit_on_the_whole_log(self, model, new_shop, tmp_path):
        later = [
            read(f"n{n % 3}", "abcdef"[n % 6], START + n * 7919 * SECOND) for n in range(1, 40)
        ]
        world = World.of(model, read_stream(model, written(tmp_path, later)))
        end = to_us(START + 99 * DAY)
        moments = np.array([*(to_us(one["occurred_at"]) for one in later[::3]), end])
        list(world.moments(Asked([""] * moments.size, [[]] * moments.size, moments)))
        features, config = built(new_shop(), [*log(), *later])
        trails = Trails.of(features.timelines, config.signals)
        own = world.bundle.rankers["transitions"].transitions
        counters = Counters.empty(
            world.bundle.rankers["popularity"].pace.counters.half_life_days,
            len(features.items),
            end,
        )
        counters.add(trails.items, trails.weights, trails.occurred_us)
        pairs = Transitions.of(
            trails, len(features.items), own.reach, own.half_life_days, end, len(features.items)
        )
        assert isinstance(own.reach, Reach)
        place = features.items.indices(world.bundle.catalogue.texts(np.arange(7)))
        live = world.bundle.rankers["popularity"].pace.counters.at(end)[0]
        np.testing.assert_allclose(live, counters.at(end)[0][place], rtol=1e-9)
        np.testing.assert_allclose(
            rows(own, end), rows(pairs, end)[np.ix_(place, place)], rtol=1e-9
        )


def rows(transitions, moment):
    found = np.zeros((7, 7))
    places, targets, sums = transitions.rows(np.arange(7, dtype=np.int32), np.full(7, moment))
    np.add.at(found, (places, targets), sums)
    return found


class TestStream:
    def test_says_what_it_leaves_out(self, model, tmp_path):
        events = [
            read("n1", "a", START - DAY),  # the log has it
            read("n1", "b", START + DAY, event_id="1"),
            read("n1", "b", START + 2 * DAY, event_id="1"),  # again
            *(read(f"m{n}", "c", START + DAY) for n in range(40)),
            read("n1", None, START + DAY),
            {**read("n1", "c", START + DAY), "event_type": "impression"},
        ]
        people = tmp_path / "people.parquet"
        pq.write_table(pa.table({"person_id": ["n1"], "at": [START + 3 * DAY]}), people)
        done = rank_file(model, people, tmp_path / "out.parquet",
                         Wish(3, stream=written(tmp_path, events)))  # fmt: skip
        told = " / ".join(done.notes)
        for part in ("1 of 45 rows of the stream break the contract, most often: item_id is mis",
                     "1 of 44 events of the stream are from before the model's moment",
                     "1 events of the stream came before", "41 events are taken in"):  # fmt: skip
            assert part in told
        assert pq.read_table(tmp_path / "out.rejects.parquet").num_rows == 1

    def test_stops_when_too_much_is_wrong(self, model, tmp_path):
        with pytest.raises(ValueError, match="max_rejected_share"):
            read_stream(model, written(tmp_path, [read("n1", None, NOON), read("n1", "a", NOON)]))

    def test_needs_people_who_say_when_they_ask(self, model, tmp_path):
        with pytest.raises(ValueError, match="`at`"):
            rank_people(model, pa.table({"person_id": ["r1"]}),
                        Wish(stream=written(tmp_path, PAST)))  # fmt: skip

    def test_is_an_option_of_feeds_rank(self, place, run, tmp_path):
        people, out = tmp_path / "people.parquet", tmp_path / "out.parquet"
        pq.write_table(pa.table({"person_id": ["x"], "user_id": ["r1"], "at": [NOON]}), people)
        config, home = place.base / "feeds.yaml", place.home.root
        code, shown, _ = run("rank", "-c", config, "--home", home, "--people", people, "--out", out,
                             "--stream", written(tmp_path, PAST))  # fmt: skip
        assert code == 0
        assert "2 events are taken in, 0 items are new" in " ".join(shown.split())


class TestAt:
    def moments(self, *values):
        table = pa.table({"person_id": ["x"] * len(values), "at": list(values)})
        return Requests.of(table, "America/Sao_Paulo").at_us.tolist()

    def test_without_a_zone_is_the_shops_local_time(self):
        naive = datetime(2026, 3, 1, 9)  # three hours behind
        assert self.moments(naive) == self.moments("2026-03-01T09:00:00") == [to_us(START)]
        assert self.moments(START, NOON) == [to_us(START), to_us(NOON)]

    def test_that_is_no_time_is_refused(self):
        with pytest.raises(ValueError, match="row 2: at is 'noon'"):
            self.moments("2026-03-01T09:00:00", "noon")
        with pytest.raises(ValueError, match="row 2: at is None"):
            self.moments(START, None)
        with pytest.raises(ValueError, match="write it as a timestamp"):
            self.moments(1_700_000_000)
