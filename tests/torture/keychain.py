"""``python -m tests.torture.keychain --kills 50``: SIGKILL right after ``persist_state`` on a real keyring.

A program saves a secure field, and is killed when that has returned; another one reads it.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from axiom_persistence import open_persistence

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.keyring import MISSING, REASON, Keyring

KILLED = """
import asyncio, os, signal, sys
from axiom_persistence import Client, client_state, open_persistence

class Account(Client):
    token: str = client_state("", secure=True)

async def main():
    async with open_persistence("killed", secure="keychain") as persistence, Account(persistence) as account:
        account.token = sys.argv[1]
        await account.persist_state()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def kill(number):
    """Save a token, be killed, and say what is found then."""

    async def found():
        async with open_persistence("killed", secure="keychain") as persistence:
            return await persistence.secure.load("Account/token", str)

    assert subprocess.run([sys.executable, "-c", KILLED, f"token {number}"], check=False).returncode == -9
    return asyncio.run(found()) == f"token {number}"


def torture(kills):
    """How many of so many were lost. In an environment with a keyring."""
    return kills - sum(kill(number) for number in range(kills))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    asked = parser.parse_args()
    if MISSING:
        sys.exit(f"no keyring: {REASON}")
    with tempfile.TemporaryDirectory() as directory:
        keyring = Keyring(Path(directory))
        try:
            os.environ.update(keyring.environment, AXIOM_PERSISTENCE_HOME=directory)
            lost = torture(asked.kills)
        finally:
            keyring.close()
    print(f"{asked.kills} kills, {lost} secure fields lost")
    sys.exit(1 if lost else 0)
