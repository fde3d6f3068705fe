"""Everything that is measured, in the order of the report."""

from __future__ import annotations

from collections.abc import Iterable

from .audit_rows import audit_rows
from .bucket_rows import bucket_rows
from .copies_rows import copies_rows
from .growth_rows import growth_rows
from .migration_rows import migration_rows
from .row import Goal, Job, Metric, Row
from .secret_rows import secret_rows
from .sync_rows import sync_rows

__all__ = ["rows"]

P50 = Metric("p50_us", "p50 µs")
P99 = Metric("p99_us", "p99 µs")

DURABLE = "axiom-persistence"
KILL_SAFE = "axiom-persistence, PROCESS_EXIT"

TITLES = {
    "ours": DURABLE,
    "ours-process-exit": KILL_SAFE,
    "ours-cached": "axiom-persistence, cached",
    "ours-uncached": "axiom-persistence, no cache",
    "ours-file": "axiom-persistence, files",
    "ours-file-process-exit": "axiom-persistence, files, PROCESS_EXIT",
    "ours-memory": "axiom-persistence, memory",
    "ours-postgres": "axiom-persistence, PostgreSQL",
    "asyncpg": "asyncpg",
    "asyncpg-pool": "asyncpg, pool of 10",
    "asyncpg-statement": "asyncpg, the statement alone",
    "kv-postgres": "py-key-value PostgreSQL",
    "ours-redis": "axiom-persistence, Redis",
    "redis-py": "redis-py",
    "redis-script": "redis-py, the script alone",
    "kv-redis": "py-key-value Redis",
    "append": "append + fdatasync",
    "append-prefilled": "append + fdatasync, zero-filled file",
    "cycle": "write + fsync + rename + fsync(dir)",
    "decode": "dict + msgspec decoding",
    "executemany": "sqlite3 executemany",
    "aiosqlite": "aiosqlite",
    "diskcache": "diskcache",
    "kv-memory": "py-key-value Memory",
    "kv-disk": "py-key-value Disk",
    "kv-filetree": "py-key-value FileTree",
    "kv-rocksdb": "py-key-value RocksDB",
    "sqlitedict": "sqlitedict",
    "tinydb": "tinydb",
}
SLOW = {"kv-filetree": 0.1, "tinydb": 0.05, "ours-file": 0.3, "cycle": 0.3}
"""The share of the calls that contenders make which would take the whole time otherwise."""


def _jobs(scenario: str, names: Iterable[str], count: int, **parameters: object) -> tuple[Job, ...]:
    return tuple(
        Job(
            TITLES[name],
            scenario,
            {
                "contender": "ours" if name == "ours-cached" else name,
                "count": max(20, int(count * SLOW.get(name, 1))),
                **parameters,
            },
        )
        for name in names
    )


def _against(ours: str, metric: str, limits: dict[str, float], *, times: bool = False) -> tuple[Goal, ...]:
    return tuple(Goal(ours, TITLES[name], metric, limit, times=times) for name, limit in limits.items())


def _saves() -> list[Row]:
    durable = ("ours", "append", "append-prefilled", "aiosqlite", "sqlitedict", "kv-filetree", "tinydb")
    return [
        Row(
            "durable-save",
            "A durable save, one after the other",
            (P50, P99),
            _jobs("save", durable, 1500),
            _against(DURABLE, "p50_us", {"append": 1.35, "aiosqlite": 1.15}),
            "Ours survives the loss of power. sqlitedict, FileTree and tinydb do not, or in part.",
            chart="bars",
        ),
        Row(
            "concurrent-save",
            "100 tasks that save durably",
            (Metric("save_us", "µs a save"), Metric("saves_per_second", "saves a second")),
            _jobs(
                "savers",
                ("ours", "aiosqlite", "diskcache", "kv-memory", "kv-disk", "kv-rocksdb"),
                10_000,
                savers=100,
            )
            + _jobs("savers", ("sqlitedict", "kv-filetree"), 1000, savers=100, fill=False),
            _against(
                DURABLE,
                "save_us",
                {"aiosqlite": 12, "diskcache": 2.5, "kv-memory": 2.5, "kv-disk": 2.5, "kv-rocksdb": 2.5},
                times=True,
            ),
            "Of these only ours and aiosqlite survive the loss of power.",
            chart="bars",
        ),
        Row(
            "process-exit-save",
            "A save that survives SIGKILL",
            (P50, P99),
            _jobs(
                "save",
                ("ours-process-exit", "diskcache", "kv-memory", "kv-disk", "kv-rocksdb", "sqlitedict"),
                5000,
            ),
            _against(KILL_SAFE, "p50_us", {"diskcache": 0.5, "kv-memory": 0.5, "kv-disk": 0.3}),
            chart="bars",
        ),
        Row(
            "save-many",
            "1,000 values in one commit",
            (Metric("item_us", "µs an item"),),
            _jobs(
                "save_many",
                ("ours", "executemany", "aiosqlite", "diskcache", "kv-memory", "kv-disk", "kv-rocksdb"),
                0,
                items=1000,
                repeats=12,
            ),
            _against(DURABLE, "item_us", {"executemany": 1.2, "aiosqlite": 1.2}),
            "executemany of the standard library blocks the event loop meanwhile.",
        ),
    ]


def _loads() -> list[Row]:
    return [
        Row(
            "cached-load",
            "A typed load from the cache",
            (P50,),
            _jobs("load", ("ours-cached", "decode", "diskcache", "kv-memory"), 20_000),
            _against(TITLES["ours-cached"], "p50_us", {"decode": 1.5, "diskcache": 0.25, "kv-memory": 0.08}),
            chart="bars",
        ),
        Row(
            "immutable-load",
            "An immutable value from the cache",
            (P50,),
            tuple(
                Job(
                    f"axiom-persistence, {what}",
                    "load",
                    {"contender": "ours", "count": 20_000, "immutable": what},
                )
                for what in ("str", "int", "frozen Struct")
            ),
            tuple(
                Goal(f"axiom-persistence, {what}", None, "p50_us", 1.2, unit="µs")
                for what in ("str", "int", "frozen Struct")
            ),
        ),
        Row(
            "uncached-load",
            "A typed load without a cache",
            (P50,),
            _jobs(
                "load",
                ("ours-uncached", "diskcache", "aiosqlite", "kv-disk", "kv-rocksdb", "sqlitedict"),
                10_000,
            )
            + _jobs("load", ("kv-filetree",), 5000, keys=100),
            _against(TITLES["ours-uncached"], "p50_us", {"diskcache": 1.0, "aiosqlite": 0.11}),
            chart="bars",
        ),
    ]


def _files() -> list[Row]:
    return [
        Row(
            "file-save",
            "A durable save of the file store",
            (P50, P99),
            _jobs("save", ("ours-file", "cycle"), 1000) + _jobs("save", ("kv-filetree",), 1500),
            _against(TITLES["ours-file"], "p50_us", {"cycle": 1.3, "kv-filetree": 0.55}),
            "FileTree does not sync its directory.",
        ),
        Row(
            "under-10-ms",
            "Saves and loads of 1 KB under 10 ms",
            (
                Metric("fast_saves_percent", "saves, %", "mean"),
                Metric("fast_loads_percent", "loads, %", "mean"),
                Metric("worst_save_ms", "slowest save, ms", "mean"),
                Metric("worst_load_ms", "slowest load, ms", "mean"),
            ),
            _jobs("share", ("ours", "ours-process-exit", "ours-memory"), 4000)
            + _jobs("share", ("ours-file", "ours-file-process-exit"), 2000),
            tuple(
                Goal(TITLES[name], None, metric, limit, at_least=True, unit="%")
                for name, limit in (
                    ("ours", 99.9),
                    ("ours-process-exit", 99.9),
                    ("ours-file", 99.0),
                    ("ours-file-process-exit", 99.0),
                )
                for metric in ("fast_saves_percent", "fast_loads_percent")
            ),
            "Means over the rounds, not medians: the rare slow call is the point.",
        ),
    ]


def _collections() -> list[Row]:
    def job(label: str, kind: str, how: str, repeats: int) -> Job:
        parameters = {"items": 10_000, "changed": 10, "repeats": repeats, "how": how, "kind": kind}
        return Job(label, "collection", parameters)

    jobs, goals = [], []
    for kind, what in (("frozen", "frozen Structs"), ("mutable", "dataclasses")):
        whole, differ, ten = (
            f"{what}: all written",
            f"{what}: save_all of 10,000, 10 differ",
            f"{what}: save_all of the 10",
        )
        jobs += [job(whole, kind, "whole", 2), job(differ, kind, "all", 5), job(ten, kind, "ten", 20)]
        goals += [Goal(differ, whole, "p50_ms", 0.05), Goal(ten, whole, "p50_ms", 0.05)]
    one = Job("dataclasses: one value of all", "one_value", {"items": 10_000, "repeats": 2})
    return [
        Row(
            "collection",
            "A collection of 10,000 items, 10 changed",
            (Metric("p50_ms", "p50 ms"),),
            (*jobs, one),
            tuple(goals),
            "What can be changed in place must be encoded to know whether it was.",
            rounds=5,
        )
    ]


def _cold() -> list[Row]:
    titles = {
        "python": "bare interpreter",
        "imports": "import asyncio, sqlite3, msgspec",
        "ours": DURABLE,
        "ours-source": f"{DURABLE}, compiled at each start",
        "diskcache": TITLES["diskcache"],
        "kv-disk": TITLES["kv-disk"],
        "kv-disk-dict": f"{TITLES['kv-disk']}, a dict, unchecked",
    }
    return [
        Row(
            "cold-start",
            "Cold start: import, open, first load",
            (Metric("p50_ms", "p50 ms"),),
            tuple(Job(title, "cold", {"contender": who, "count": 3}) for who, title in titles.items()),
            (
                Goal(DURABLE, titles["imports"], "p50_ms", 1.5),
                Goal(DURABLE, titles["kv-disk"], "p50_ms", 0.25),
            ),
            "A new interpreter each time, until the first value, a dataclass, of a store that is there. "
            "Everything has its bytecode, as pip leaves it; *compiled at each start* has none.",
            chart="bars",
        )
    ]


def _inside() -> list[Row]:
    many = {"savers": 1000, "count": 30_000}
    return [
        Row(
            "loop-lag",
            "How late the event loop is under 1,000 savers",
            (
                Metric("p50_ms", "p50 ms"),
                Metric("p99_ms", "p99 ms"),
                Metric("saves_per_second", "saves a second"),
            ),
            (
                Job(DURABLE, "lag", {"contender": "ours", **many}),
                Job(TITLES["aiosqlite"], "lag", {"contender": "aiosqlite", "savers": 1000, "count": 5000}),
            ),
            (Goal(DURABLE, None, "p50_ms", 20, unit="ms"), Goal(DURABLE, None, "p99_ms", 20, unit="ms")),
        ),
        Row(
            "commit-now",
            "commit_now beside 8 durable savers",
            (P50, P99, Metric("p999_us", "p99.9 µs"), Metric("deferred_percent", "deferred, %")),
            (Job(DURABLE, "commit_now", {"savers": 8, "count": 4000}),),
            (Goal(DURABLE, None, "p999_us", 3000, unit="µs"),),
            "Synchronous, outlives the process. Deferred: told to wait, nothing done.",
        ),
        Row(
            "external-change",
            "Another process's change arrives",
            (Metric("p50_ms", "p50 ms"), Metric("p99_ms", "p99 ms")),
            (Job(DURABLE, "external_change", {"count": 20, "pause": 0.07}),),
            (Goal(DURABLE, None, "p50_ms", 50, unit="ms"),),
            "From before its save to the new value in the hands of a task here.",
            rounds=5,
        ),
    ]


def _blocking() -> Row:
    return Row(
        "blocking",
        "Without await",
        (
            Metric("durable_us", "durable save p50, µs"),
            Metric("exit_us", "PROCESS_EXIT save p50, µs"),
            Metric("load_us", "load p50, µs"),
        ),
        (Job("axiom-persistence, blocking", "blocking", {"count": 2500}),),
        note="From a thread without an event loop, with the default cache.",
        rounds=5,
    )


def _clients() -> list[Row]:
    field, save = "axiom-persistence, field", KILL_SAFE
    return [
        Row(
            "assignment",
            "A field assigned, kept at once",
            (P50, P99),
            (
                Job(field, "assign", {"how": "field", "count": 5000}),
                Job(save, "assign", {"how": "save", "count": 5000}),
            ),
            (Goal(field, save, "p50_us", 1.5),),
            "The same small value, outside the process before the statement ends.",
        ),
        Row(
            "field-read",
            "A field read",
            (Metric("p50_ns", "p50 ns"),),
            (
                Job(field, "read_field", {"how": "field", "count": 2000}),
                Job("plain attribute", "read_field", {"how": "plain", "count": 2000}),
            ),
            (Goal(field, "plain attribute", "p50_ns", 1.5),),
        ),
        Row(
            "live-clients",
            "10,000 live clients of 5 fields",
            (
                Metric("start_us", "start, µs a client"),
                Metric("kib", "memory, KiB a client"),
                Metric("idle_percent", "idle, % of a core"),
                Metric("assign_us", "assign, µs"),
                Metric("close_us", "close, µs a client"),
            ),
            (Job(DURABLE, "live_clients", {"clients": 10_000, "idle_seconds": 2}),),
            (Goal(DURABLE, None, "idle_percent", 1, unit="% of a core"),),
            rounds=3,
        ),
    ]


def _served() -> list[Row]:
    """What a server costs, beside its bare client: a save, a load, and many that save at once."""
    alone = Job(
        "asyncpg, one after the other", "savers", {"contender": "asyncpg", "count": 1000, "savers": 1}
    )
    pooled = _jobs("savers", ("ours-postgres", "asyncpg-pool", "kv-postgres"), 20_000, savers=100)
    in_redis = ("ours-redis", "redis-py", "kv-redis")
    return [
        *_one_by_one(
            "postgres", "PostgreSQL", ("ours-postgres", "asyncpg", "kv-postgres"), "asyncpg-statement"
        ),
        _savers("postgres", "PostgreSQL", (*pooled, alone), alone.label, 8, times=True),
        *_one_by_one("redis", "Redis", in_redis, "redis-script"),
        _savers("redis", "Redis", _jobs("savers", in_redis, 20_000, savers=100), "redis-py", 1.0),
    ]


def _one_by_one(short: str, server: str, names: tuple[str, ...], floor: str) -> list[Row]:
    """``names``: ours, the bare client, another. ``floor``: what our guarantees cost on the server."""
    goal = (Goal(f"axiom-persistence, {server}", names[1], "p50_us", 1.2),)
    note = "Server and client on this machine. Ours is typed, checked and settled when a reply is lost."
    return [
        Row(
            f"{short}-save",
            f"A save in {server}, one after the other",
            (P50, P99),
            _jobs("save", (*names, floor), 1500),
            goal,
            note,
            rounds=5,
        ),
        Row(
            f"{short}-load",
            f"A load from {server}",
            (P50, P99),
            _jobs("load", names, 3000),
            goal,
            rounds=5,
        ),
    ]


def _savers(
    short: str, server: str, jobs: tuple[Job, ...], bare: str, most: float, *, times: bool = False
) -> Row:
    return Row(
        f"{short}-savers",
        f"100 tasks that save in {server}",
        (Metric("save_us", "µs a save"), Metric("saves_per_second", "saves a second")),
        jobs,
        (Goal(f"axiom-persistence, {server}", bare, "save_us", most, times=times),),
        rounds=5,
    )


def rows(*, quick: bool) -> list[Row]:
    return [
        *_saves(),
        *_loads(),
        *_files(),
        *_collections(),
        *_cold(),
        *_inside(),
        *_clients(),
        _blocking(),
        *secret_rows(),
        *migration_rows(),
        *audit_rows(),
        *sync_rows(),
        *copies_rows(records=10_000 if quick else 50_000, expired=10_000 if quick else 100_000),
        *_served(),
        *bucket_rows(),
        *growth_rows(most_keys=100_000 if quick else 1_000_000),
    ]
