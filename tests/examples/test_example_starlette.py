"""The web service, served for real on a loopback port, killed and started again."""

import asyncio
import os
import re
import signal
import subprocess
from contextlib import contextmanager

import httpx
import pytest

from support.example_programs import start

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")


@contextmanager
def service(home):
    """A running service: its process and its address."""
    with start(
        "starlette_service.py", home=home, env={"PORT": "0"}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stderr:
                found = re.search(r"running on (http://127\.0\.0\.1:\d+)", line)
                if found:
                    yield process, found[1]
                    return
            raise AssertionError("the service did not start")
        finally:
            process.kill()


def client(address):
    return httpx.AsyncClient(base_url=address, trust_env=False, timeout=60)


async def test_what_the_service_answered_survives_a_kill(tmp_path):
    """After SIGKILL every acknowledged change of every user is there, and no other user's."""
    with service(tmp_path) as (process, address):
        async with client(address) as http:
            visits = await asyncio.gather(*(http.get("/ada") for _ in range(20)))
            assert sorted(visit.json()["visits"] for visit in visits) == list(range(1, 21))
            assert (await http.put("/ada/theme/dark")).json() == {"theme": "dark", "visits": 20}
            assert (await http.get("/bob")).json() == {"theme": "light", "visits": 1}
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with service(tmp_path) as (_, address):
        async with client(address) as http:
            assert (await http.get("/ada")).json() == {"theme": "dark", "visits": 21}
            assert (await http.get("/bob")).json() == {"theme": "light", "visits": 2}


async def test_a_refused_value_changes_nothing(tmp_path):
    """What a field's own rule refuses is the user's error, said as such."""
    with service(tmp_path) as (_, address):
        async with client(address) as http:
            answer = await http.put("/ada/theme/plaid")
            assert answer.status_code == 422
            assert "theme" in answer.json()["error"]
            assert (await http.get("/ada")).json() == {"theme": "light", "visits": 1}


async def test_a_shutdown_closes_the_store(tmp_path):
    """SIGTERM ends the lifespan, and with it every client and the store: no journal is left behind."""
    with service(tmp_path) as (process, address):
        async with client(address) as http:
            await http.get("/ada")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert "Application shutdown complete" in process.stderr.read()
    assert [path.name for path in (tmp_path / "starlette-service").iterdir()] == ["state.db"]
