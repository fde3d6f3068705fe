"""Erasures that were killed, and what is left of a subject on a whole file system: the short versions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"
MOUNTS = (
    hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mkfs.ext4") and Path("/dev/loop0").exists()
)


@pytest.mark.skipif(not MOUNTS, reason="only root may mount an image")
@pytest.mark.parametrize("store", ["sqlite", "file"])
@pytest.mark.parametrize("keys", [["--keys"], []], ids=["keys", "overwriting"])
def test_no_byte_is_left_on_a_whole_file_system(store, keys):
    """With a key of the subject's own: none at all. By overwriting: none but where the page says so."""
    program = [sys.executable, SUPPORT / "erased_images.py", "--store", store, *keys]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("store", "keys", "kills"), [("sqlite", "encrypted", 3), ("file", "plain", 2)])
def test_it_can_be_killed(store, keys, kills, tmp_path):
    """Five kills; `make torture` has 50 of each."""
    arguments = ["--store", store, "--keys", keys, "--kills", str(kills), "--records", "25"]
    program = [sys.executable, SUPPORT / "erase_kills.py", *arguments, "--directory", tmp_path]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
