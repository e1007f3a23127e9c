"""What a simulated shop looks like, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

import numpy as np

MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
SHOP_ZONE = ZoneInfo("Europe/Berlin")  # the hours of the day are lived here, see feeds.yaml


class Stage(IntEnum):
    """One random stream per stage and chunk, so that a change in one leaves the others alone."""

    CATALOGUE = 0
    WORDING = 1
    PEOPLE = 2
    TABLES = 3
    PILOT = 4
    CALENDAR = 5
    SESSIONS = 6
    MAIL = 7
    ROBOTS = 8
    DIRT = 9
    TRUTH = 10


@dataclass(frozen=True, kw_only=True)
class DirtConfig:
    """How much of each kind of dirt is planted; shares are of all events unless said otherwise."""

    duplicate_share: float = 0.004  # the same row twice, event_id and all
    double_click_share: float = 0.006  # of views: again within a second, another event_id
    robot_event_share: float = 0.02
    robots_per_person: float = 0.001  # at least one robot, unless robot_event_share is 0
    late_share: float = 0.005  # arrive in the file hours after they happened
    late_hours: float = 24.0  # mean delay of a late event
    letter_case_share: float = 0.005  # item id in lower case
    shipping_share: float = 0.2  # of orders: one more row for the item SHIPPING
    gift_share: float = 0.02  # of orders: one more row for the item GIFT-1
    null_item_share: float = 0.0015  # breaks the contract
    missing_time_share: float = 0.0008  # breaks the contract
    empty_user_share: float = 0.002  # '' where the user id should be null or known
    bad_quantity_share: float = 0.01  # of carts and purchases: zero or negative

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if name != "late_hours" and not 0 <= share <= 0.5:
                raise ValueError(f"{name} is {share}; a share of dirt lies between 0 and 0.5")

    @property
    def extra_share(self) -> float:
        """Rows that duplicates and double clicks add, as a share of clean events."""
        return self.duplicate_share + self.double_click_share


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """The size, the seed and the habits of a simulated shop."""

    customers: int = 2_000
    items: int = 800
    days: int = 120
    events: int = 200_000  # wanted total; met within 10 % unless the shop is tiny
    seed: int = 0
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)

    article_share: float = 0.25  # of items
    visitors_per_customer: float = 0.6  # people who never log in
    articles_half_life_days: float = 4.0  # attention to an article
    products_half_life_days: float = 45.0  # the novelty of a product wears off
    branches_concentration: float = 0.5  # Dirichlet over branches; small = one or two favourites
    leaves_concentration: float = 0.6  # Dirichlet over the leaves of a branch
    session_items_mean: float = 5.0  # items looked at in a session
    focus_share: float = 0.8  # of a session's items: from the category it is about
    gap_seconds: float = 25.0  # median between two looks in a session
    reading_seconds: float = 70.0  # median time on an article
    email_event_share: float = 0.2  # upper bound: sends are thinned to it
    email_articles: int = 3  # per newsletter; one product is added
    email_delay_hours: float = 3.0  # median from send to click
    click_scale: float = 0.05  # click probability of a plain item shown to an average person
    answering_share: float = 0.25  # of customers: filled in the questionnaire
    honest_share: float = 0.85  # of the answers: the true favourite
    shared_device_share: float = 0.02  # of customers: share a browser with another
    truth_cells: int = 2_000_000  # customers x items with a written click probability
    pictures: int = 2_000  # above so many items: one picture per category
    chunk_events: int = 500_000  # events held in memory at a time
    dirt: DirtConfig = field(default_factory=DirtConfig)

    def __post_init__(self) -> None:
        sizes = ("customers", "items", "days", "events", "chunk_events", "email_articles")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.items < 4:
            raise ValueError(f"items is {self.items}; a shop with a magazine needs at least 4")
        if self.start.tzinfo is None:
            raise ValueError("start has no time zone; write e.g. datetime(2026, 1, 5, tzinfo=UTC)")

    @property
    def start_us(self) -> int:
        """Microseconds since 1970 UTC at which the log begins."""
        return (self.start - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND

    @property
    def end_us(self) -> int:
        """Microseconds since 1970 UTC; every event is earlier."""
        return self.start_us + self.days * DAY_US

    @property
    def visitors(self) -> int:
        """People who never log in."""
        return round(self.customers * self.visitors_per_customer)

    def rng(self, stage: Stage, chunk: int = 0) -> np.random.Generator:
        """The random stream of one stage of one chunk."""
        return np.random.default_rng([self.seed, stage, chunk])


@dataclass(frozen=True, kw_only=True)
class SimulationReport:
    """What was written: counts of rows, and of each kind of planted dirt as found in the file."""

    events: int
    by_type: Mapping[str, int]  # event type -> rows
    dirt: Mapping[str, int]  # kind of dirt -> rows
    customers: int
    visitors: int  # people who never log in, without robots
    robots: int
    items: int
    chunks: int  # row groups of events.parquet
    seconds: float
