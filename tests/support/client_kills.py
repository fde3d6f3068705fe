"""``python tests/support/client_kills.py --store sqlite --kills 500``: SIGKILL right after an assignment.

A child assigns and says so through a pipe; it is killed after a random number of assignments, and another
child restores the client and compares. ``sqlite``: what was assigned must be there. ``file``: what
``persist_state`` returned for must be. ``file-auto``: nothing is promised yet, so it is measured how much
auto-save loses. ``--encrypted``: the store has keys. ``--planted`` leaves the saving to a timer although the
harness expects it at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence.client import AutoSave, Client, client_state
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.security import StaticKey

ROW = struct.Struct("<Qd")
KEYS = StaticKey(bytes(range(32)))
NAMES = ("a", "b", "text")


class Kept(Client):
    a: int = client_state(0)
    b: int = client_state(0)
    text: str = client_state("")
    items: list[int] = client_state(default_factory=list)


async def assign(place: Path, store: str, keys: StaticKey | None, planted: bool, out: int) -> None:
    auto_save = AutoSave(0.5, 2) if planted else None
    opening = open_persistence(place, keys=keys)
    async with opening as persistence, Kept(persistence, auto_save=auto_save) as kept:
        number = kept.a
        kept.b = number  # the process before was perhaps killed between the two
        while True:
            number += 1
            kept.a = number
            if store == "file":
                await kept.persist_state()
            os.write(out, ROW.pack(number, time.monotonic()))
            kept.b = number
            kept.text = str(number) * 40
            if store == "file-auto" or number % 50 == 0:
                await asyncio.sleep(0)


async def found(place: Path, keys: StaticKey | None) -> tuple[int, int, str]:
    async with open_persistence(place, keys=keys) as persistence, Kept(persistence) as kept:
        assert kept.restore_report is not None
        assert not kept.restore_report.unreadable, kept.restore_report
        assert not kept.restore_report.damaged, kept.restore_report
        return kept.a, kept.b, kept.text


def in_child(work) -> tuple[int, int]:
    """Run ``work(pipe)`` in a fork of this process, which has no threads and no store open."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(writing)
            status = 0
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    os.close(writing)
    return child, reading


def read_rows(pipe: int, data: bytes = b"") -> bytes:
    while chunk := os.read(pipe, 1 << 16):
        data += chunk
    os.close(pipe)
    return data


def kill_once(
    place: Path, store: str, keys: StaticKey | None, planted: bool, chance: random.Random
) -> tuple[int, float, int]:
    """The last number that was acknowledged, how long before that the found one was, and the found one."""
    child, pipe = in_child(lambda out: asyncio.run(assign(place, store, keys, planted, out)))
    wanted = chance.randrange(1, 60 if store == "file" else 400)
    data = b""
    pause = chance.random() * 6 if store == "file-auto" else 0.0
    until = time.monotonic() + pause
    while len(data) < wanted * ROW.size or time.monotonic() < until:
        chunk = os.read(pipe, 1 << 16)
        assert chunk, "the child ended by itself"
        data += chunk
    os.kill(child, signal.SIGKILL)
    data = read_rows(pipe, data)
    os.waitpid(child, 0)
    rows = [ROW.unpack_from(data, at) for at in range(0, len(data) - ROW.size + 1, ROW.size)]

    def report(out: int) -> None:
        os.write(out, json.dumps(asyncio.run(found(place, keys))).encode())

    reader, pipe = in_child(report)
    a, b, text = json.loads(read_rows(pipe))
    assert os.waitpid(reader, 0)[1] == 0
    last, said_at = rows[-1]
    assert not text or text == text[: len(text) // 40] * 40, f"torn: {text!r}"
    assert store != "sqlite" or planted or a - 1 <= b <= a, (a, b)
    times = dict(rows)
    lost = said_at - times.get(a, rows[0][1]) if a < last else 0.0
    return last, lost, a


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "file", "file-auto"), default="sqlite")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--encrypted", action="store_true")
    asked = parser.parse_args(arguments)
    keys = KEYS if asked.encrypted else None
    seed = random.randrange(1 << 32) if asked.seed is None else asked.seed
    chance = random.Random(seed)
    lost, longest, acknowledged = 0, 0.0, 0
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / ("state.db" if asked.store == "sqlite" else "state")
        before = 0
        for _ in range(asked.kills):
            last, seconds, stored = kill_once(place, asked.store, keys, asked.planted, chance)
            acknowledged += last - before
            before = stored
            lost += max(0, last - stored)
            longest = max(longest, seconds)
    print(
        json.dumps(
            {
                "store": asked.store,
                "encrypted": asked.encrypted,
                "kills": asked.kills,
                "seed": seed,
                "assigned": acknowledged,
                "lost": lost,
                "lost_seconds_max": round(longest, 3),
            }
        )
    )
    return 1 if lost and asked.store != "file-auto" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
