"""Addresses, options of opening, and what is found at a place."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copyfile

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.adapters.keychain import KeychainAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
    InsecureStorageError,
    KeyUnavailableError,
    SchemaTooNewError,
    StorageError,
    StoreNotFoundError,
)
from axiom_persistence.platform.places import HOME_VARIABLE
from axiom_persistence.records.record import seal_record
from axiom_persistence.security.keys import CredentialKey, EnvironmentKey, FileKey, PassphraseKey, StaticKey

from . import MARK, NUMBER, case


async def fill(where: str | Path, key: str = "k") -> None:
    async with open_persistence(where) as persistence:
        await persistence.save(key, MARK)


def change(database: str, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


# -- addresses ------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "open_persistence takes a name, an address, a path or an adapter, not <int>; for example "
    "open_persistence('notes')",
)
async def open_a_number(world):
    open_persistence(NUMBER)


@case(
    ConfigurationError,
    "open_persistence takes a name, an address, a path or an adapter, not <coroutine>; for "
    "example open_persistence('notes')",
)
async def open_a_coroutine(world):
    adapter = SQLiteAdapter(world.db()).aopen()
    try:
        open_persistence(adapter)
    finally:
        adapter.close()


@case(
    ConfigurationError,
    "'..' names no place; give an application's name ('notes'), a file ('notes.db') or a "
    "directory ('./notes')",
)
async def open_nothing(world):
    open_persistence("..")


@case(ConfigurationError, "an address cannot contain NUL (U+0000); for example 'notes'")
async def open_nul(world):
    open_persistence("notes\0")


@case(ConfigurationError, "a path cannot contain NUL (U+0000); for example './notes'")
async def open_a_path_with_nul(world):
    open_persistence(Path("notes\0"))


@case(
    ConfigurationError,
    "'settings.json' looks like a file, and would be taken for the name of an application; "
    "Path('settings.json') is a directory of JSON files, 'settings.db' one SQLite file, "
    "'settings' an application",
)
async def open_what_looks_like_a_file(world):
    open_persistence("settings.json")


@case(
    ConfigurationError,
    "'what?' cannot be the name of a directory on every system; use letters, digits, spaces, "
    "'-', '_' and '.'",
)
async def open_what_is_no_name(world):
    open_persistence("what?")


@case(
    ConfigurationError,
    "the home directory in '~no-such-user/notes.db' is not known; write the path out in full",
)
async def open_the_home_of_nobody(world):
    open_persistence("~no-such-user/notes.db")


@case(ConfigurationError, "'memory:cache': a store in memory has no name; write memory:")
async def open_a_memory_with_a_name(world):
    open_persistence("memory:cache")


@case(
    ConfigurationError,
    "'mysql://\u2026@localhost:3306/notes' begins with 'mysql', which is no known kind of store; "
    "known are 'sqlite:notes.db', 'file:notes', 'file+documents:\u2026', 'memory:', 'keychain:\u2026', "
    "'defaults:\u2026', 'icloud:', 'postgresql:\u2026', 'redis:\u2026', 'rediss:\u2026', 's3:\u2026', "
    "'az:\u2026', 'gs:\u2026'; an application's name has no ':'",
)
async def open_an_unknown_scheme(world):
    open_persistence(f"mysql://me:{MARK}@localhost:3306/notes")


@case(
    ConfigurationError,
    "'sqlite://\u2026@host/x.db' would name a host; write sqlite:notes.db (relative) or "
    "sqlite:////abs/notes.db",
)
async def open_a_host_of_sqlite(world):
    open_persistence(f"sqlite://me:{MARK}@host/x.db")


@case(
    ConfigurationError,
    "'sqlite:notes.db?mode=ro' has a query, and there are no options in an address; pass "
    "options to open_persistence or SQLiteAdapter; a Path may contain '?'",
)
async def open_a_query(world):
    open_persistence("sqlite:notes.db?mode=ro")


@case(ConfigurationError, "'sqlite:' names no file; write sqlite:notes.db")
async def open_no_file_of_sqlite(world):
    open_persistence("sqlite:")


@case(
    ConfigurationError,
    "file://\u2026@host/notes names a host, 'host', and files are on this one; write "
    "file:host/notes (relative) or file:///\u2026 (absolute)",
)
async def open_files_of_a_host(world):
    open_persistence(f"file://me:{MARK}@host/notes")


@case(ConfigurationError, "'file:' names no directory; write file:notes or file:///p/notes")
async def open_no_directory(world):
    open_persistence("file:")


@case(
    ConfigurationError,
    "'a/b' is no plain name for a directory of documents; for example 'notes': "
    "file+documents:notes, or FileStorageAdapter.in_documents('notes')",
)
async def open_no_plain_name_of_documents(world):
    open_persistence("file+documents:a/b")


@case(ConfigurationError, "not the path of a file: '' [in SQLiteAdapter]; use MemoryAdapter for memory")
async def open_a_database_without_a_path(world):
    SQLiteAdapter("")


class Entry:
    """An entry point of another distribution."""

    dist = None
    name = "attic"

    def __init__(self, made: object) -> None:
        self.made = made

    def load(self):
        if self.made is None:
            raise ImportError("No module named 'attic_client'")
        return lambda rest, *, inspect: self.made


def offer(world, made: object) -> None:
    known = "axiom_persistence.opening.addresses._entry_points"
    world.monkeypatch.setattr(known, lambda scheme=None: [Entry(made)])


@case(
    ConfigurationError,
    "a distribution offers 'attic' stores but cannot be imported: No module named "
    "'attic_client'; install what it is missing",
)
async def open_what_cannot_be_imported(world):
    offer(world, None)
    open_persistence("attic:top")


@case(
    ConfigurationError,
    "the entry point for 'attic' made no StorageAdapter but <str of 7 characters>; it names "
    "a function that returns one: f(rest, *, inspect)",
)
async def open_what_makes_no_adapter(world):
    offer(world, MARK)
    open_persistence("attic:top")


@case(
    ConfigurationError,
    "this account has no home directory, so there is no place for the application 'notes'; "
    "set AXIOM_PERSISTENCE_HOME to a directory, or open a path",
)
async def open_without_a_home(world):
    def none(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    world.monkeypatch.delenv(HOME_VARIABLE, raising=False)
    world.monkeypatch.setattr("platformdirs.user_data_path", none)
    open_persistence("notes")


# -- options --------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "mode is 'normal', 'inspect' or 'encrypt', not <str of 7 characters>; leave mode out to read and write",
)
async def open_in_a_mode_that_is_none(world):
    open_persistence("memory:", mode=MARK)


@case(
    ConfigurationError,
    "cache is a CachePolicy or None, not <int>; leave cache out for the usual one; "
    "CachePolicy(max_bytes=...) makes another",
)
async def open_with_a_cache_that_is_none(world):
    open_persistence("memory:", cache=NUMBER)


@case(
    ConfigurationError,
    "secure is a confidential adapter or its address, not <str of 7 characters>; write "
    "secure='keychain', or pass an adapter whose traits say confidential; it takes no "
    "password",
)
async def open_with_a_password(world):
    open_persistence("memory:", secure=MARK)


@case(
    ConfigurationError,
    "keys is a KeyProvider, not str [in MemoryAdapter(the memory of this process)]; from "
    "axiom_persistence.security import PassphraseKey, FileKey, ...",
    place=True,
)
async def open_with_a_password_for_a_key(world):
    open_persistence("memory:", keys=MARK)


@case(ConfigurationError, "a StaticKey is 32 bytes; for text that a person types: PassphraseKey")
async def a_static_key_of_text(world):
    StaticKey(MARK.encode())


@case(ConfigurationError, "a passphrase cannot be empty; ask the person for one")
async def a_passphrase_of_nothing(world):
    PassphraseKey("")


# -- what is there --------------------------------------------------------------------------------------


@case(
    StoreNotFoundError,
    "there is no store at this place [in SQLiteAdapter(<path>/notes.db)]; check the path, or "
    "save something first",
    place=True,
)
async def inspect_no_database(world):
    await open_persistence(world.db(), mode="inspect")


@case(
    StoreNotFoundError,
    "there is no such directory [in FileStorageAdapter(<path>/notes)]; save something there first",
    place=True,
)
async def inspect_no_directory(world):
    await open_persistence(world.path / "notes", mode="inspect")


@case(
    AccessDeniedError,
    "the store is open for inspection only [key 'k'] [in SQLiteAdapter(<path>/notes.db)]; "
    "open it without mode='inspect' to write",
    key="k",
    place=True,
)
async def save_what_is_only_inspected(world):
    await fill(world.db())
    async with open_persistence(world.db(), mode="inspect") as persistence:
        await persistence.save("k", MARK)


@case(
    AccessDeniedError,
    "the store is open for inspection only [key 'k'] [in FileStorageAdapter(<path>/notes)]; "
    "open it without mode='inspect' to write",
    place=True,
)
async def save_to_a_directory_that_is_only_inspected(world):
    await fill(world.path / "notes")
    async with open_persistence(world.path / "notes", mode="inspect") as persistence:
        await persistence.save("k", MARK)


@case(
    ForeignStoreError,
    "what is at this place is left alone: it is not an SQLite database [in "
    "SQLiteAdapter(<path>/notes.db)]; choose another path, or move that file away; "
    "`axiom-persistence import-legacy` takes over what it holds, where it is a table of keys "
    "and values",
    place=True,
)
async def open_what_is_no_database(world):
    Path(world.db()).write_text(f"{MARK} is no database, and it goes on for a while to be long enough" * 20)
    await open_persistence(world.db())


@case(
    ForeignStoreError,
    "what is at this place is left alone: it is an SQLite database of another program (it "
    "has no mark of ours) [in SQLiteAdapter(<path>/notes.db)]; choose another path, or move "
    "that file away; `axiom-persistence import-legacy` takes over what it holds, where it is "
    "a table of keys and values",
    place=True,
)
async def open_the_database_of_another_program(world):
    change(world.db(), "CREATE TABLE customer(name)")
    await open_persistence(world.db())


@case(
    ForeignStoreError,
    "the directory holds files of somebody else (letter.txt) and is not a store [in "
    "FileStorageAdapter(<path>/notes)]; choose an empty or new directory; `axiom-persistence "
    "import-legacy` takes over what others stored, such as JSON files; in a copy of a store, "
    "copy .axiom too",
    place=True,
)
async def open_the_directory_of_another_program(world):
    (world.path / "notes").mkdir()
    (world.path / "notes" / "letter.txt").write_text(MARK)
    await open_persistence(world.path / "notes")


@case(
    ForeignStoreError,
    "this is not a directory [in FileStorageAdapter(<path>/notes)]; give the path of a "
    "directory; what a file of another program holds, such as JSON, `axiom-persistence "
    "import-legacy` takes over",
    place=True,
)
async def open_a_file_as_a_directory(world):
    (world.path / "notes").write_text(MARK)
    await open_persistence(world.path / "notes")


@case(
    StorageError,
    "cannot look at the store: File name too long [in "
    "SQLiteAdapter(<path>/n…/notes.db)]; "
    "the path is too long for this file system: choose a shorter one",
    place=True,
)
async def open_a_path_that_is_too_long(world):
    await open_persistence(world.path / ("n" * 300) / "notes.db")


@case(
    CorruptedDataError,
    "values of a store are here (%01store.json, k.json), but its file .axiom is gone or "
    "damaged [in FileStorageAdapter(<path>/notes)]; nothing was changed; put .axiom back, "
    "the one of another file store will do; or restore a backup, "
    "or run `axiom-persistence verify <path>/notes --repair`, which moves everything aside and "
    "makes a store of what can still be read",
    place=True,
)
async def open_a_directory_without_its_marker(world):
    await fill(world.path / "notes")
    (world.path / "notes" / ".axiom").unlink()
    await open_persistence(world.path / "notes")


@case(
    SchemaTooNewError,
    "the store has format 7; this version knows 1 [in FileStorageAdapter(<path>/notes)]; "
    "update the application",
    place=True,
)
async def open_a_directory_of_a_newer_version(world):
    await fill(world.path / "notes")
    marker = world.path / "notes" / ".axiom"
    marker.write_text(marker.read_text().replace("format 1", "format 7"))
    await open_persistence(world.path / "notes")


@case(
    ForeignStoreError,
    "the file .axiom is not ours [in FileStorageAdapter(<path>/notes)]; choose another directory",
    place=True,
)
async def open_a_directory_with_a_marker_that_is_none(world):
    (world.path / "notes").mkdir()
    (world.path / "notes" / ".axiom").write_text(MARK)
    await open_persistence(world.path / "notes")


@case(
    CorruptedDataError,
    "the database file holds zeros: that is what is left of one; nothing was changed [in "
    "SQLiteAdapter(<path>/notes.db)]; keep it and the files beside it; restore a backup, "
    "or run `axiom-persistence verify <path>/notes.db --repair`, which moves everything aside and "
    "makes a store of what can still be read",
    place=True,
)
async def open_what_is_left_of_a_database(world):
    await fill(world.db())
    Path(world.db()).write_bytes(bytes(8192))
    await open_persistence(world.db())


@case(
    CorruptedDataError,
    "the database file was copied without its log <path>/notes.db-wal while the store was in use, or "
    "somebody took the log away; nothing was changed [in SQLiteAdapter(<path>/notes.db)]; put the log "
    "beside it that belongs to it, or take another copy with `axiom-persistence snapshot`; restore a "
    "backup, or run `axiom-persistence verify <path>/notes.db --repair`, which moves everything aside and "
    "makes a store of what can still be read",
    place=True,
)
async def open_a_copy_without_its_log(world):
    async with open_persistence(world.path / "busy.db") as busy:
        await busy.save("k", 1)
        copyfile(world.path / "busy.db", world.db())
    await open_persistence(world.db())


@case(
    SchemaTooNewError,
    "the file has format 7; this version of the library knows up to 1 [in "
    "SQLiteAdapter(<path>/notes.db)]; use the newer version of the application",
    place=True,
)
async def open_a_database_of_a_newer_version(world):
    await fill(world.db())
    change(world.db(), "PRAGMA user_version = 7")
    await open_persistence(world.db())


@case(
    CorruptedDataError,
    "the file is marked as a store of this library, but its tables are not there [in "
    "SQLiteAdapter(<path>/notes.db)]; restore a backup, "
    "or run `axiom-persistence verify <path>/notes.db --repair`, which moves everything aside and "
    "makes a store of what can still be read",
    place=True,
)
async def open_a_database_without_its_table(world):
    await fill(world.db())
    change(world.db(), "DROP TABLE record")
    await open_persistence(world.db())


@case(
    SchemaTooNewError,
    "the store has format 7, this version knows 1 [in SQLiteAdapter(<path>/notes.db)]; "
    "update axiom-persistence; nothing was changed",
    place=True,
)
async def open_a_store_of_a_newer_version(world):
    await fill(world.db())
    data = seal_record("\x01store", b'{"id":"x","created":0,"format":7}', "1.0")
    change(world.db(), "UPDATE record SET data = ? WHERE key = char(1) || 'store'", data.decode())
    await open_persistence(world.db())


async def spoilt(world, data: str, on_corruption: object = "raise") -> None:
    await fill(world.db())
    change(world.db(), "UPDATE record SET data = ? WHERE key = 'k'", data)
    async with open_persistence(world.db(), on_corruption=on_corruption) as persistence:
        await persistence.load("k", str)


@case(
    CorruptedDataError,
    "the stored record is damaged: it does not begin like a record; 7 bytes are there [key "
    "'k'] [in SQLiteAdapter(<path>/notes.db)]; nothing was changed; verify(repair=True) or "
    "on_corruption=RECOVER brings the previous generation back, or what the last snapshot has, where "
    "there is one",
    key="k",
    place=True,
)
async def load_a_damaged_record(world):
    await spoilt(world, MARK)


@case(
    CorruptedDataError,
    "the stored record is damaged: its checksum is not that of its bytes under the key 'k': "
    "changed, or moved here [key 'k'] [in SQLiteAdapter(<path>/notes.db)]; nothing was "
    "changed; verify(repair=True) or on_corruption=RECOVER brings the previous generation "
    "back, or what the last snapshot has, where there is one",
    key="k",
    place=True,
)
async def load_a_record_of_another_key(world):
    await spoilt(world, seal_record("other", b'"hunter2"', "1.0").decode())


@case(
    ConfigurationError,
    "on_corruption answered <str of 7 characters> [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; it returns a member of Corruption: RECOVER, REPAIR or RAISE; "
    "nothing was changed",
    key="k",
    place=True,
)
async def answer_damage_with_nothing(world):
    await spoilt(world, MARK, lambda report: MARK)


@case(
    SchemaTooNewError,
    "written by a newer version of axiom-persistence: record format 7; this version knows 1 "
    "[key 'k'] [in SQLiteAdapter(<path>/notes.db)]; update axiom-persistence; the record is "
    "left as it is",
    key="k",
    place=True,
)
async def load_a_record_of_a_newer_version(world):
    await spoilt(world, '{"axiom":7,"all":"hunter2"}')


@case(
    SchemaTooNewError,
    "written with schema 7.0; this program knows 1.0 [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; update the program; the record is left as it is",
    key="k",
    place=True,
)
async def load_a_record_of_a_newer_schema(world):
    await spoilt(world, seal_record("k", b'"hunter2"', "7.0").decode())


@case(
    SchemaTooNewError,
    "the stored value has schema 7.0, newer than this program's 1.0; it is not overwritten "
    "[key 'k'] [in SQLiteAdapter(<path>/notes.db)]; update the program, or delete the key "
    "first",
    key="k",
    place=True,
)
async def save_over_a_record_of_a_newer_schema(world):
    await fill(world.db())
    change(world.db(), "UPDATE record SET data = ? WHERE key = 'k'", seal_record("k", b"1", "7.0").decode())
    async with open_persistence(world.db()) as persistence:
        try:
            await persistence.load("k", str)
        except SchemaTooNewError:
            await persistence.save("k", MARK)


# -- keys of encryption ---------------------------------------------------------------------------------


@case(
    KeyUnavailableError,
    "the environment variable NOTES_KEY is not set; set it to the key, 32 bytes in base64",
)
async def a_variable_that_is_not_set(world):
    world.monkeypatch.delenv("NOTES_KEY", raising=False)
    await open_persistence(world.db(), keys=EnvironmentKey("NOTES_KEY"))


@case(
    KeyUnavailableError,
    "the environment variable NOTES_KEY holds no key of 32 bytes; openssl rand -base64 32 "
    "makes one; for text that a person types: PassphraseKey",
)
async def a_variable_that_holds_no_key(world):
    world.monkeypatch.setenv("NOTES_KEY", MARK)
    await open_persistence(world.db(), keys=EnvironmentKey("NOTES_KEY"))


@case(
    KeyUnavailableError,
    "the key file <path>/key cannot be read: No such file or directory; put the key file "
    "back; create=True makes one for a new store only",
)
async def a_key_file_that_is_not_there(world):
    await open_persistence(world.db(), keys=FileKey(world.path / "key"))


@case(
    InsecureStorageError,
    "others may read the key file <path>/key; chmod 600 <path>/key, and think of changing the key",
)
async def a_key_file_for_everybody(world):
    (world.path / "key").write_bytes(base64.b64encode(bytes(32)))
    (world.path / "key").chmod(0o644)
    await open_persistence(world.db(), keys=FileKey(world.path / "key"))


@case(
    StorageError,
    "cannot make the key file <path>/no/key: No such file or directory; check the path: it "
    "cannot be made here, or something on it was moved away",
)
async def a_key_file_that_cannot_be_made(world):
    await open_persistence(world.db(), keys=FileKey(world.path / "no" / "key", create=True))


@case(
    KeyUnavailableError,
    "this process was given no credentials: CREDENTIALS_DIRECTORY is not set; run it as a "
    "systemd service with LoadCredentialEncrypted=notes",
)
async def a_credential_outside_a_service(world):
    world.monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    await open_persistence(world.db(), keys=CredentialKey("notes"))


async def encrypted(world) -> None:
    async with open_persistence(world.db(), keys=StaticKey(bytes(32))) as persistence:
        await persistence.save("k", MARK)


@case(
    KeyUnavailableError,
    "this store is encrypted, and no key was given [in SQLiteAdapter(<path>/notes.db)]; open "
    "it with keys=; nothing was changed",
    place=True,
)
async def an_encrypted_store_without_a_key(world):
    await encrypted(world)
    await open_persistence(world.db())


@case(
    KeyUnavailableError,
    "the key given is not the one that this store is encrypted with [in "
    "SQLiteAdapter(<path>/notes.db)]; give the key or passphrase it was made with; nothing "
    "was changed",
    place=True,
)
async def an_encrypted_store_with_another_key(world):
    await encrypted(world)
    await open_persistence(world.db(), keys=StaticKey(bytes([1] * 32)))


@case(
    KeyUnavailableError,
    "this store is encrypted with a key of the kind 'static', and 'environment' was given "
    "[in SQLiteAdapter(<path>/notes.db)]; give keys= of that kind; nothing was changed",
    place=True,
)
async def an_encrypted_store_with_a_key_of_another_kind(world):
    await encrypted(world)
    world.monkeypatch.setenv("NOTES_KEY", base64.b64encode(bytes(32)).decode())
    await open_persistence(world.db(), keys=EnvironmentKey("NOTES_KEY"))


@case(
    InsecureStorageError,
    "the store holds plain records, and was opened with keys [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; open it without keys=, or encrypt it: mode='encrypt', or "
    "`axiom-persistence encrypt`",
    key="k",
    place=True,
)
async def a_plain_store_with_a_key(world):
    await fill(world.db())
    await open_persistence(world.db(), keys=StaticKey(bytes(32)))


@case(
    InsecureStorageError,
    "an encrypted store is in <path>/shared, where others may write [in "
    "SQLiteAdapter(<path>/shared/notes.db)]; chmod go-w <path>/shared, or give it a directory of its own",
    place=True,
)
async def encrypt_where_others_may_write(world):
    (world.path / "shared").mkdir()
    (world.path / "shared").chmod(0o770)
    await open_persistence(world.path / "shared" / "notes.db", keys=StaticKey(bytes(32)))


@case(ConfigurationError, "mode='encrypt' needs keys=; keys='keychain', or a KeyProvider")
async def open_to_encrypt_without_a_key(world):
    open_persistence(world.db(), mode="encrypt")


@case(
    AccessDeniedError,
    "the store is not encrypted, and nothing is saved here [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; call encrypt() first, or open it without keys=",
    key="k",
    place=True,
)
async def save_before_it_is_encrypted(world):
    await fill(world.db())
    async with open_persistence(world.db(), keys=StaticKey(bytes(32)), mode="encrypt") as persistence:
        await persistence.save("k", MARK)


@case(
    ConfigurationError,
    "the keys of a store that is being encrypted or decrypted are not rotated [in "
    "SQLiteAdapter(<path>/notes.db)]; call encrypt() or decrypt() first, which goes on",
    place=True,
)
async def rotate_keys_before_it_is_encrypted(world):
    await fill(world.db())
    async with open_persistence(world.db(), keys=StaticKey(bytes(32)), mode="encrypt") as persistence:
        await persistence.rotate_keys()


@case(
    StoreNotFoundError,
    "there is no encrypted store here yet [in MemoryAdapter(the memory of this process)]; "
    "check the path, or save something first",
    place=True,
)
async def inspect_no_encrypted_store(world):
    await open_persistence("memory:", keys=StaticKey(bytes(32)), mode="inspect")


@case(
    CorruptedDataError,
    "the store's keyset is damaged, and without it nothing in the store can be read [in "
    "SQLiteAdapter(<path>/notes.db)]; put a backup of the store in its place; nothing was "
    "changed",
    place=True,
)
async def an_encrypted_store_with_a_damaged_keyset(world):
    await encrypted(world)
    change(world.db(), "UPDATE record SET data = ? WHERE key = char(1) || 'keys'", MARK)
    await open_persistence(world.db(), keys=StaticKey(bytes(32)))


@case(
    CorruptedDataError,
    "the store is encrypted, and the record with its keys is missing [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; put a backup of the store in its place; nothing was "
    "changed",
    place=True,
)
async def an_encrypted_store_without_its_keyset(world):
    await encrypted(world)
    change(world.db(), "DELETE FROM record WHERE key = char(1) || 'keys'")
    await open_persistence(world.db(), keys=StaticKey(bytes(32)))


@case(
    ConfigurationError,
    "this account has no home directory, so there are no documents for 'notes'; set HOME, or open a path",
)
async def documents_without_a_home(world):
    def none(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    world.monkeypatch.setattr("platformdirs.user_documents_path", none)
    open_persistence("file+documents:notes")


@case(
    ConfigurationError,
    "exclusive=True is for an address; this adapter is made already [in "
    "SQLiteAdapter(<path>/notes.db)]; leave it out, or give it to the adapter: "
    "SQLiteAdapter(path, exclusive=True)",
    place=True,
)
async def an_adapter_for_oneself(world):
    open_persistence(SQLiteAdapter(world.db()), exclusive=True)


@case(
    ConfigurationError,
    "exclusive=True is for a SQLite file, and '<path>/notes' names a store of another kind; "
    "leave it out, or choose a path that ends in .db",
)
async def a_directory_for_oneself(world):
    open_persistence(world.path / "notes", exclusive=True)


@case(
    ConfigurationError,
    "secure='keychain' needs the name of an application, and the store is opened by another "
    "address; name what the keychain shall show: secure=KeychainAdapter('name')",
)
async def the_keychain_beside_a_path(world):
    open_persistence(world.db(), secure="keychain")


@case(
    ConfigurationError,
    "keys='keychain' needs the name of an application, and the store is opened by another "
    "address; name what the keychain shall show: keys=KeychainKey('name')",
)
async def the_keychain_for_the_key_of_a_path(world):
    open_persistence(world.db(), keys="keychain")


@case(
    ConfigurationError,
    "a keychain's service is a name that people can read; for example KeychainAdapter('notes')",
)
async def a_keychain_without_a_name(world):
    KeychainAdapter("")


@case(
    CapabilityUnavailableError,
    "the keychain is not open [in KeychainAdapter(the keychain's items of 'notes')]; open it "
    "first, in `async with`",
    place=True,
)
async def fetch_from_a_keychain_that_is_closed(world):
    await KeychainAdapter("notes").fetch(["k"])
