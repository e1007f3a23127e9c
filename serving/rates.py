"""How often somebody may ask: by the strategies of `limits`, on counters of this worker.

The memory of `limits` itself starts a thread for the first request of every 10 ms and walks through
all addresses in it: 170 µs a request on a quiet service. These counters are thrown away as a whole.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from features.options import ServiceOptions
from serving.keys import Key
from serving.refused import Refused

LINKS_PER_MINUTE = 6000  # of an address: what scans a company's mails opens each link of each


class Rates:
    """What has been asked of late: per key, and with the key of a page per address."""

    def __init__(self, options: ServiceOptions) -> None:
        rate, minute = options.requests_per_second, options.page_requests_per_minute
        self._per_key = None if rate is None else _Limit(_whole(RateLimitItemPerSecond, rate))
        self._per_address = _Limit(_whole(RateLimitItemPerMinute, minute))
        self._links = _Limit(_whole(RateLimitItemPerMinute, LINKS_PER_MINUTE))

    def check(self, key: Key | None, client: tuple[str, int] | None) -> None:
        """Count a request; without any key all senders together are one. Raises Refused (429)."""
        if key is not None and key.page:
            self._per_address.count(_address(client))
        elif self._per_key is not None:
            self._per_key.count(key.name if key is not None else "")

    def check_link(self, client: tuple[str, int] | None) -> None:
        """Count a link of a mail that is opened from an address. Raises Refused (429)."""
        self._links.count(_address(client))


class _Limit:
    """So many in so long, for each of many names."""

    def __init__(self, item: RateLimitItem) -> None:
        self.item = item
        self.limiter = FixedWindowRateLimiter(_Counters())

    def count(self, name: str) -> None:
        if not self.limiter.hit(self.item, name):
            wait = self.limiter.get_window_stats(self.item, name).reset_time - time.time()
            seconds = max(math.ceil(wait), 1)
            told = f"more than {self.item} is asked; wait {seconds} s"
            raise Refused("rate", 429, told, {"retry-after": str(seconds)})


class _Counters(Storage):
    """Counters of one window for all names; a new window begins with none of them."""

    STORAGE_SCHEME = ["feeds-worker"]  # noqa: RUF012 - as `limits` has it

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()
        self._window, self._ends = 0, 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        """What this may raise: nothing."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, in the window of `expiry` seconds that is now."""
        window = int(time.time() // expiry)
        if window != self._window:
            self._counts.clear()
            self._window, self._ends = window, (window + 1) * expiry
        self._counts[key] += amount
        return self._counts[key]

    def get(self, key: str) -> int:
        """How many there were in this window."""
        return self._counts[key] if time.time() < self._ends else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since 1970."""
        del key
        return self._ends

    def check(self) -> bool:
        """It is there."""
        return True

    def reset(self) -> int | None:
        """Forget everything."""
        self._counts.clear()
        return None

    def clear(self, key: str) -> None:
        """Forget one name."""
        self._counts.pop(key, None)


def _whole(kind: type[RateLimitItem], rate: float) -> RateLimitItem:
    """`limits` counts in whole requests: below one in a unit it is one in several units."""
    return kind(math.floor(rate)) if rate >= 1 else kind(1, math.ceil(1 / rate))


def _address(client: tuple[str, int] | None) -> str:
    """Whom an address stands for: of IPv6 one line has all addresses of a /64."""
    text = client[0] if client else ""
    try:
        found = ip_address(text)
    except ValueError:  # a proxy may tell anything
        return text[:64]
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> 64)
    return text
