"""Errors: one tree, builtins that people catch already, and messages that say what to do."""

import errno
import inspect
import os
import pickle
import re
from pathlib import Path

import pytest

from axiom_persistence import errors
from axiom_persistence.errors import (
    AccessDeniedError,
    PersistenceError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageUnavailableError,
    TypeMismatchError,
    from_os_error,
)

EVERY = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]
KINDS = [kind for kind in EVERY if kind is not errors.ClientsFailedError]  # it is made of others
BUILTINS = {
    "InvalidKeyError": ValueError,
    "ConfigurationError": ValueError,
    "EncodingError": ValueError,
    "TypeMismatchError": TypeError,
    "CapabilityUnavailableError": RuntimeError,
    "ValidationError": ValueError,
    "StorageError": OSError,
    "StoreNotFoundError": FileNotFoundError,
    "AccessDeniedError": PermissionError,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_of_one_tree_and_says_where(kind):
    """Caught as PersistenceError and as its builtin; it shows message, key, adapter and hint."""
    error = kind("it broke", key="a\nkey", adapter="SomeAdapter(x)", hint="do this")
    assert isinstance(error, PersistenceError)
    assert isinstance(error, BUILTINS.get(kind.__name__, Exception))
    assert (error.key, error.adapter, error.hint) == ("a\nkey", "SomeAdapter(x)", "do this")
    for part in ("it broke", "'a\\nkey'", "SomeAdapter(x)", "do this"):
        assert part in str(error)
    assert str(kind("only this")) == "only this"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_travel_between_processes(kind):
    """A pickled error, as multiprocessing makes, is the same error with all it says."""
    error = kind("it broke", key="k", adapter="A", hint="h")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.key, again.adapter, again.hint) == (str(error), "k", "A", "h")


def test_the_page_and_the_tree_name_every_error():
    """errors.py draws the tree and docs/errors.md explains it, with every class in both."""
    page = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()
    for kind in EVERY:
        assert kind.__name__ in errors.__doc__
        assert f"`{kind.__name__}`" in page
    named = set(re.findall(r"`(\w+Error)`", page))
    known = {kind.__name__ for kind in KINDS} | {
        base.__name__ for kind in EVERY for base in inspect.getmro(kind)
    }
    assert named <= known


def test_what_is_known_already_is_not_overwritten():
    """naming() fills in key and adapter only where they are missing."""
    error = StorageError("x", key="first")
    assert error.naming(key="second", adapter="A") is error
    assert (error.key, error.adapter) == ("first", "A")
    assert StorageError("x").naming().key is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EFBIG, StorageFullError),
        (errno.EACCES, AccessDeniedError),
        (errno.EPERM, AccessDeniedError),
        (errno.EROFS, AccessDeniedError),
        (errno.EBUSY, StorageLockedError),
        (errno.EAGAIN, StorageLockedError),
        (errno.ENODEV, StorageUnavailableError),
        (errno.EMFILE, StorageUnavailableError),
        (errno.EIO, StorageError),
        (errno.EINVAL, StorageError),
    ],
)
def test_errors_of_the_system_become_ours(code, kind):
    """Each errno has its class, keeps its number, and says what was being done."""
    error = from_os_error(OSError(code, os.strerror(code)), "writing", key="k", adapter="A")
    assert type(error) is kind
    assert (error.errno, error.key, error.adapter) == (code, "k", "A")
    assert str(error).startswith(f"writing: {os.strerror(code)}")
    assert error.hint


def test_an_error_of_ours_is_passed_on():
    """An error that is ours already stays the same object, named."""
    ours = StorageFullError("full")
    assert from_os_error(ours, "writing", key="k") is ours
    assert ours.key == "k"
    assert "TimeoutError" in str(from_os_error(TimeoutError(), "reading"))


def test_a_mismatch_has_a_path():
    """TypeMismatchError says where in the value; the whole value is $."""
    assert TypeMismatchError("x").path == "$"
    assert TypeMismatchError("x", path="$.a[0]").path == "$.a[0]"
    assert pickle.loads(pickle.dumps(TypeMismatchError("x", path="$.a"))).path == "$.a"


def test_an_error_of_several_clients_names_each():
    """ClientsFailedError says what failed for which client, and has the errors."""
    failures = {"prefs": StorageFullError("full", key="prefs/theme"), "editor": ValueError("odd")}
    error = errors.ClientsFailedError(failures)
    assert isinstance(error, PersistenceError)
    assert error.failures == failures
    for part in ("2 of the clients", "prefs: full", "'prefs/theme'", "editor: odd"):
        assert part in str(error)
