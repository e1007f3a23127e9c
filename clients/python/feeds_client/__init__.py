"""A client of the Purposeful Feeds service; docs/clients.md shows how to use it."""

from feeds_client.client import AsyncFeedsClient, FeedsClient
from feeds_client.errors import FeedsError

__all__ = ["AsyncFeedsClient", "FeedsClient", "FeedsError"]
__version__ = "0.1.0"
