"""Connections to single workers: they share one socket, and a connection stays with who took it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.servers import Server

_TRIES = 200  # connections that are opened until every worker has one


@dataclass(frozen=True)
class Caller:
    """A keep-alive connection with one worker."""

    connection: http.client.HTTPConnection

    @classmethod
    def of(cls, port: int) -> Caller:
        """Connect with whichever worker comes first, and let it answer once."""
        caller = cls(http.client.HTTPConnection("127.0.0.1", port, timeout=60))
        caller.connection.request("GET", "/livez")
        caller.connection.getresponse().read()
        return caller

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST, and the answer. Raises ValueError when it is no success."""
        told = {"content-type": "application/json"}
        self.connection.request("POST", path, json.dumps(body), told)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status // 100 != 2:
            raise ValueError(f"{path} answered {answer.status}: {text.decode()[:1000]}")
        return dict(json.loads(text))

    @property
    def port(self) -> int:
        """Our end of it."""
        return int(self.connection.sock.getsockname()[1])

    def close(self) -> None:
        """Hang up."""
        self.connection.close()


def one_of_each(server: Server) -> list[Caller]:
    """A connection with every worker, in the order of `server.workers`.

    Raises ValueError when some worker never takes one.
    """
    found: dict[int, Caller] = {}
    spare = []
    for _ in range(_TRIES):
        caller = Caller.of(server.port)
        pid = _owner(server, caller.port)
        if pid is None or pid in found:
            spare.append(caller)
        else:
            found[pid] = caller
        if len(found) == len(server.workers):
            break
    for caller in spare:
        caller.close()
    if len(found) < len(server.workers):
        raise ValueError(f"only {len(found)} of {len(server.workers)} workers took a connection")
    return [found[worker.pid] for worker in server.workers]


def _owner(server: Server, port: int) -> int | None:
    """The worker at the other end of our `port`."""
    for worker in server.workers:
        ends = [one.raddr.port for one in worker.net_connections(kind="tcp") if one.raddr]
        if port in ends:
            return int(worker.pid)
    return None
