"""When the process that watches the workers is killed, they let go of the port. A real service."""

from __future__ import annotations

import shutil
import subprocess
import time

import httpx
import pytest
import small_desk
from tools import own_port

from command.demo import serve_command
from features.home import Home


def until(holds, seconds):
    """Wait for it; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_workers_whose_supervisor_was_killed_end_so_that_the_service_can_be_started_anew(tmp_path):
    home = Home(tmp_path / "home")
    shutil.copytree(small_desk.directory(), home.bundles / "v1")
    home.pointer.write_text("v1\n")
    port = own_port(3468)
    command, environment = serve_command(home, port, workers=2)

    def ready():
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def both_have_started():
        return (home.root / "service.log").read_text().count("started as process") == 2

    def nobody_listens():
        try:
            return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=2) is None
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            return False

    with (home.root / "service.log").open("wb") as log:
        first = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        assert until(both_have_started, 60)
        first.kill()
        first.wait()
        assert until(nobody_listens, 20)
        second = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            assert until(ready, 60)
        finally:
            second.terminate()
            second.wait(30)
    assert "the process that watched this worker is gone" in (home.root / "service.log").read_text()
