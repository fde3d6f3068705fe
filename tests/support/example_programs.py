"""The example programs as real processes, each test with a home of its own."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def start(name, *arguments, home, **options):
    """Start an example; what the tests' own interpreter warns of, it does not."""
    environment = {**os.environ, "AXIOM_PERSISTENCE_HOME": str(home), **options.pop("env", {})}
    return subprocess.Popen([sys.executable, EXAMPLES / name, *arguments], env=environment, **options)


def run(name, *arguments, home):
    """Run an example to its end: its exit status and what it said."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with start(name, *arguments, home=home, **pipes) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def imported(name):
    """An example as a module, without running it."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def wait_until(condition, why):
    """Look until ``condition()`` is true, and return what it returned."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"in vain: {why}")
