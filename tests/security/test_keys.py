"""Providers: the key they find, and what they refuse."""

import base64
import os

import pytest

from axiom_persistence.errors import ConfigurationError, InsecureStorageError, KeyUnavailableError
from axiom_persistence.security import (
    CredentialKey,
    EnvironmentKey,
    FileKey,
    PassphraseKey,
    StaticKey,
)

KEY = bytes(range(32))
SPELLINGS = {
    "bytes": KEY,
    "base64": base64.b64encode(KEY),
    "base64 with a line end": base64.b64encode(KEY) + b"\n",
    "hex": KEY.hex().encode(),
}


def private(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_key_file_in_every_spelling(spelling, tmp_path):
    """32 bytes, base64 or hex."""
    assert await FileKey(private(tmp_path / "key", SPELLINGS[spelling])).find({}) == KEY


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 33, b"z" * 64, base64.b64encode(b"short")])
async def test_what_is_no_key_is_refused_without_being_shown(data, tmp_path, monkeypatch):
    """A file or variable with something else in it is named; its content is not."""
    monkeypatch.setenv("APP_KEY", data.decode())
    for provider, named in (
        (FileKey(private(tmp_path / "key", data)), str(tmp_path / "key")),
        (EnvironmentKey("APP_KEY"), "APP_KEY"),
    ):
        with pytest.raises(KeyUnavailableError, match="holds no key of 32 bytes") as caught:
            await provider.find({})
        assert named in str(caught.value)
        assert not data or data.decode() not in str(caught.value)


async def test_a_key_file_that_others_may_read_is_refused(tmp_path):
    """By group or others, or a link, or a directory: never used."""
    for mode in (0o640, 0o604, 0o620, 0o602, 0o660, 0o644):
        path = private(tmp_path / "key", KEY)
        path.chmod(mode)
        with pytest.raises(InsecureStorageError, match=f"chmod 600 {path}"):
            await FileKey(path).find({})
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(KeyUnavailableError, match="cannot be read"):
        await FileKey(tmp_path / "link").find({})
    (tmp_path / "directory").mkdir(mode=0o700)
    with pytest.raises((KeyUnavailableError, InsecureStorageError)):
        await FileKey(tmp_path / "directory").find({})


async def test_a_missing_key_file_is_made_for_a_new_store_only(tmp_path):
    """``create=True`` makes it once, private; ``find`` never does."""
    path = tmp_path / "key"
    with pytest.raises(KeyUnavailableError, match="create=True"):
        await FileKey(path, create=True).find({})
    before = os.umask(0)
    try:
        key, parameters = await FileKey(path, create=True).create()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert parameters == {}
    assert (await FileKey(path, create=True).create())[0] == key == await FileKey(path).find({})
    with pytest.raises(KeyUnavailableError):
        await FileKey(tmp_path / "other").create()


async def test_a_key_in_the_environment_or_a_credential(tmp_path, monkeypatch):
    """Found where it is said to be; a clear error where it is not."""
    for provider in (EnvironmentKey("APP_KEY"), CredentialKey("app.key")):
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        with pytest.raises(KeyUnavailableError):
            await provider.find({})
        monkeypatch.setenv("APP_KEY", base64.b64encode(KEY).decode())
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        private(tmp_path / "app.key", KEY)
        assert await provider.find({}) == KEY


async def test_a_passphrase_is_the_same_key_with_the_same_salt_only():
    """What the store keeps of it finds the key again; another salt or phrase is another key."""
    key, parameters = await PassphraseKey("correct horse").create()
    assert await PassphraseKey("correct horse").find(parameters) == key
    assert (await PassphraseKey("correct horse").create())[0] != key
    assert await PassphraseKey("Correct horse").find(parameters) != key
    assert "correct" not in repr(parameters) + repr(PassphraseKey("correct horse"))
    for wrong in ({}, {**parameters, "salt": "xyz"}, {**parameters, "memory_kib": str(1 << 30)}):
        with pytest.raises(KeyUnavailableError):
            await PassphraseKey("correct horse").find(wrong)


def test_what_cannot_be_a_key_is_refused_at_once():
    """When the provider is built, not when the store is opened."""
    with pytest.raises(ConfigurationError, match="32 bytes"):
        StaticKey(b"short")
    with pytest.raises(ConfigurationError, match="PassphraseKey"):
        StaticKey("a phrase that a person types is no")
    with pytest.raises(ConfigurationError, match="empty"):
        PassphraseKey("")
