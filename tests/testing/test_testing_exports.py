"""The public names of axiom_persistence.testing."""

import subprocess
import sys

import pytest

from axiom_persistence import testing


def test_every_public_name_is_there():
    """Each name in __all__ can be imported, and is the one its module calls public."""
    assert sorted(testing.__all__) == testing.__all__
    for name in testing.__all__:
        value = getattr(testing, name)
        assert name in sys.modules[value.__module__].__all__
        assert name in dir(testing)
    with pytest.raises(AttributeError, match="no_such_name"):
        testing.no_such_name  # noqa: B018 - the access is what is tested


def test_a_name_is_imported_when_it_is_asked_for():
    """An application that tests with ConfidentialMemory needs neither pytest nor Hypothesis."""
    code = (
        "import sys; from axiom_persistence.testing import ConfidentialMemory;"
        "print(sorted({'pytest', '_pytest', 'hypothesis', 'sqlite3'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
