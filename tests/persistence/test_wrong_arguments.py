"""Arguments of the wrong kind get an error that says which kind is right."""

import pytest

from axiom_persistence import MISSING, Key, open_persistence
from axiom_persistence.errors import ConfigurationError, EncodingError


async def test_one_key_is_not_several(persistence):
    """A str where keys are due is refused; its letters are left alone."""
    await persistence.save_many({"t": 1, "h": 2})
    for one in ("th", b"th", Key("th", int)):
        with pytest.raises(ConfigurationError, match="several keys"):
            await persistence.delete_many(one)
        with pytest.raises(ConfigurationError, match="several keys"):
            await persistence.load_many(one, int)
    assert await persistence.load_many(["t", "h"], int) == {"t": 1, "h": 2}
    with pytest.raises(ConfigurationError, match="dict"):
        await persistence.save_many([1, 2])


async def test_nothing_cannot_be_saved(persistence):
    """MISSING stands for "nothing is stored", so it is no value; the earlier one stays."""
    await persistence.save("m", 1)
    with pytest.raises(EncodingError, match="MISSING"):
        await persistence.save("m", MISSING)
    assert await persistence.load("m", int) == 1


@pytest.mark.parametrize("wrong", [{"cache": 5}, {"cache": False}, {"secure": "keychain"}])
def test_options_are_checked(wrong):
    """An option of the wrong kind is refused by name before anything is opened."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        open_persistence("memory:", **wrong)
