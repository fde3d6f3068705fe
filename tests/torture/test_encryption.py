"""Encryption, rotation and decryption that are killed again and again end as if they never had been."""

import os
import tempfile
from pathlib import Path

import pytest

from . import encryption


@pytest.mark.parametrize(("store", "records"), [("sqlite", 2000), ("file", 150)])
def test_killed_encryption_goes_on(store, records):
    """5 SIGKILLs in each verb; the long run is ``make torture``."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        assert encryption.torture(store, Path(directory), records=records, kills=5, seed=1)
