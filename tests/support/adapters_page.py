"""``python -m support.adapters_page``: the tables of docs/adapters.md, from traits and benchmarks."""

import json
from pathlib import Path

from axiom_persistence import (
    FileStorageAdapter,
    MemoryAdapter,
    ObjectStoreAdapter,
    PostgresAdapter,
    RedisAdapter,
    SQLiteAdapter,
)
from axiom_persistence.adapters.icloud import ICloudKeyValueAdapter
from axiom_persistence.adapters.keychain import KeychainAdapter
from axiom_persistence.adapters.preferences import UserDefaultsAdapter
from axiom_persistence.keys import MAX_KEY_BYTES
from axiom_persistence.storage.changelog import ChangeLog

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
MEDIANS = json.loads((PAGE.parent / "benchmarks.json").read_text(encoding="utf-8"))["medians"]
BEGIN, END = "<!-- generated: python -m support.adapters_page -->\n", "<!-- end -->\n"

# The address, an adapter, its page, and what no trait says: what is lost when.
ADAPTERS = [
    ("`notes`, `sqlite:notes.db`", SQLiteAdapter("notes.db"), "[SQLite](design.md)", "the disk is lost"),
    ("`file:notes`", FileStorageAdapter("notes"), "[files](design.md)", "the disk is lost"),
    ("`memory:`", MemoryAdapter(), "", "the process ends"),
    ("`keychain:notes`", KeychainAdapter("notes"), "[keychain](security.md)", "the keychain is reset"),
    (
        "`defaults:org.example.notes`",
        UserDefaultsAdapter("org.example.notes"),
        "[preferences](preferences.md)",
        "the system's preferences are reset",
    ),
    (
        "`icloud:`",
        ICloudKeyValueAdapter(),
        "[iCloud](sync.md#icloud)",
        "another device writes the same key",
    ),
    (
        "`postgresql://…`",
        PostgresAdapter("postgresql://localhost/notes"),
        "[PostgreSQL](postgres.md)",
        "failover to a standby that is behind",
    ),
    (
        "`redis://…`",
        RedisAdapter("redis://localhost/0"),
        "[Redis](redis.md)",
        "failover: what the replica had not got",
    ),
    (
        "`s3://…`, `az://…`, `gs://…`",
        ObjectStoreAdapter("s3://bucket/notes"),
        "[object stores](objects.md)",
        "a rule of the bucket deletes objects",
    ),
]

MACHINES = "machines"
# The row of the benchmarks in which a place saves 1 KB with its strongest promise.
SAVES = {
    SQLiteAdapter: ("durable-save", "axiom-persistence"),
    FileStorageAdapter: ("file-save", "axiom-persistence, files"),
}


def size(count):
    for unit, power in (("MB", 20), ("KiB", 10)):
        if count is not None and count >= 1 << power:
            return f"{count >> power} {unit.replace('MB', 'MiB')}"
    return "any" if count is None else f"{count} B"


def first(address, adapter, page, lost):
    """What one chooses a place by."""
    traits = adapter.traits
    measured = SAVES.get(type(adapter))
    return [
        page or type(adapter).__name__,
        address,
        f"`{traits.durability}`",
        lost,
        MACHINES if "://" in address else "processes" if traits.shared else "tasks and threads",
        f"{MEDIANS[measured[0]][measured[1]]['p50_us'] / 1000:.2f} ms" if measured else "not measured",
    ]


def second(_, adapter, page, __):
    """What one has to know then."""
    traits = adapter.traits
    if traits.replicated:
        changes = "by comparing"
    elif isinstance(adapter, ChangeLog):
        changes = "a log: none is missed"
    elif not traits.shared:
        changes = "its own"
    else:
        changes = "a mark, then comparing"
    return [
        page or type(adapter).__name__,
        "several keys, one snapshot" if traits.atomic else "a key",
        changes,
        "at once" if traits.immediate else "by interval",
        "yes" if traits.confidential else "with `keys=`",
        f"{size(traits.max_value_bytes)}, {min(MAX_KEY_BYTES, traits.max_key_bytes)} B",
    ]


def lines(heads, rows):
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [heads, ["---"] * len(heads), *rows])


def table():
    """Two, so that each fits on a screen."""
    choose = ["place", "address", "strongest promise", "lost only when", "isolated between", "a durable save"]
    know = ["place", "all or nothing", "changes of others", "assignments are stored", "confidential"]
    know.append("most: value, key")
    return (
        lines(choose, [first(*each) for each in ADAPTERS])
        + "\n"
        + lines(know, [second(*each) for each in ADAPTERS])
    )


def page(text):
    """``text`` with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
