"""A real Jupyter kernel: cells that block and cells that await, run and run again."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("ipykernel", reason="ipykernel is not installed")
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[2]
TIMEOUT = 120


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """What a notebook talks to, in a directory of its own. It listens on the loopback address."""
    place = tmp_path_factory.mktemp("notebook")
    manager = KernelManager(kernel_name="python3", ip="127.0.0.1")
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.start_kernel(cwd=str(place), env={"AXIOM_PERSISTENCE_HOME": str(place), **environment()})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def environment():
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def run(kernel, cell):
    """Run a cell; what it printed. Raises what it raised."""
    printed = []

    def note(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = kernel.execute_interactive(cell, output_hook=note, timeout=TIMEOUT)["content"]
    if reply["status"] != "ok":
        raise AssertionError("\n".join(reply.get("traceback", [reply["status"]])))
    return "".join(printed)


def block_with(text, page="README.md"):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.S | re.M)
    return next(block for block in blocks if text in block)


def test_the_blocking_example_runs_in_a_cell_again_and_again(kernel):
    """The block without an event loop, in cells whose thread has one."""
    example = block_with("class Preferences(Client)", "docs/blocking.md")
    for number in range(2):
        run(kernel, example.replace('"notes"', f'"example{number}.db"'))
        said = run(
            kernel,
            "with open_persistence('notes.db') as persistence:\n"
            "    starts = persistence.update('starts', int, lambda n: n + 1, default=0)\n"
            "    with persistence.transaction() as tx:\n"
            "        tx.save('seen', starts)\n"
            "    print(persistence.load('seen', int))\n",
        )
    assert said == "2\n"


def test_the_awaited_example_runs_in_a_cell_again_and_again(kernel):
    """The README's block of keys and values, as a cell that awaits at top level."""
    for _ in range(2):
        run(kernel, block_with("class Window:"))
    said = run(
        kernel,
        "from axiom_persistence import open_persistence\n"
        "persistence = await open_persistence('notes.db')\n"
        "print(await persistence.load('starts', int))\n"
        "await persistence.aclose()\n",
    )
    assert int(said) >= 2


CLIENT = """
from axiom_persistence.blocking import Client, client_state, open_persistence
class Preferences(Client):
    theme: str = client_state("system")
    recent: list[str] = client_state(default_factory=list)
store = open_persistence("cells.db").open()
"""


def test_a_cell_with_a_client_runs_again(kernel):
    """The class defined anew, and a client of it entered again and closed: what was assigned is there."""
    for number in range(3):
        run(kernel, CLIENT)
        said = run(
            kernel,
            f"with Preferences(store) as preferences:\n"
            f"    print(preferences.theme)\n"
            f"    preferences.theme = 'theme {number}'\n"
            f"store.close()\n",
        )
        assert said == ("system\n" if number == 0 else f"theme {number - 1}\n")


def test_what_would_deadlock_is_refused(kernel):
    """A blocking call inside an asynchronous transaction of the cell's loop says so, and the cell ends."""
    said = run(
        kernel,
        "from axiom_persistence import blocking, open_persistence\n"
        "async with open_persistence('memory:') as persistence:\n"
        "    async with persistence.transaction() as tx:\n"
        "        try:\n"
        "            blocking.run(persistence.save('a', 1))\n"
        "        except RuntimeError as error:\n"
        "            print(error)\n",
    )
    assert "would hold up its end" in said
