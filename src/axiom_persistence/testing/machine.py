"""An adapter against a dict: whatever Hypothesis does to both, they agree."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ..errors import ConflictError
from ..storage.adapter import NOT_NOW, Durability, StorageAdapter

__all__ = ["AdapterMachine", "check_against_dict"]

T = TypeVar("T")

_CLOSE_NAMES = (
    *("a", "A", "a/", "a/b", "a.json", "é", "e\u0301", ".", "..", "%41", "[a]", "\x01x", "\uffff"),
    "\U0010ffff",
)
_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
KEYS = (
    st.sampled_from(_CLOSE_NAMES[:4])
    | st.sampled_from(_CLOSE_NAMES)
    | st.text(_CHARACTERS, min_size=1, max_size=6)
)
"""Often the same few keys, which lie close together, so that rules meet each other's."""

VALUES = st.sampled_from((b"", b"0", b'{"a":1}', b"\xff\0")) | st.binary(max_size=40)
CHANGES = st.dictionaries(KEYS, VALUES | st.none(), max_size=5)
DURABILITIES = st.sampled_from((None, *Durability))


class AdapterMachine(RuleBasedStateMachine):
    """Commits, reads, lists, closes and opens an adapter, and does the same to a dict.

    Subclass it as the suite is subclassed, with ``adapter(self, place)``, and give the class to
    ``run_state_machine_as_test``, or let ``check_against_dict`` do both.
    """

    def adapter(self, place: Path) -> StorageAdapter:
        """An adapter, not yet open, that keeps its data in the directory ``place``."""
        raise NotImplementedError("a machine gives adapter(self, place)")

    def __init__(self) -> None:
        super().__init__()
        self.place: Path = Path(tempfile.mkdtemp(prefix="axiom-persistence-machine-"))
        self.runner: asyncio.Runner = asyncio.Runner()
        self.model: dict[str, bytes] = {}
        self.past: dict[str, list[bytes]] = {}
        self.versions: dict[tuple[str, str], bytes] = {}
        self.store: StorageAdapter = self.adapter(self.place)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        """Run ``body`` to its end in the machine's event loop."""
        return self.runner.run(body)

    def applied(self, changes: dict[str, bytes | None], versions: dict[str, str]) -> None:
        """Do to the dict what the adapter says it has done."""
        assert versions.keys() == {key for key, data in changes.items() if data is not None}
        for key, data in changes.items():
            if data is None:
                self.model.pop(key, None)
                self.past.pop(key, None)
                assert self.run(self.store.previous(key)) is None
                continue
            assert self.versions.setdefault((key, versions[key]), data) == data
            if key in self.model:
                self.past.setdefault(key, []).append(self.model[key])
            self.model[key] = data

    def promised(self, durability: Durability | None) -> Durability | None:
        """The durability, no stronger than the adapter's."""
        return None if durability is None else min(durability, self.store.traits.durability)

    def listed(self, prefix: str = "") -> list[str]:
        """The keys that are listed, as they come."""

        async def listing() -> list[str]:
            return [key async for key in self.store.keys(prefix)]

        return self.run(listing())

    @initialize()
    def open(self) -> None:
        self.run(self.store.aopen())

    @rule(changes=CHANGES, durability=DURABILITIES)
    def commit(self, changes: dict[str, bytes | None], durability: Durability | None) -> None:
        committed = self.run(self.store.commit(changes, durability=self.promised(durability)))
        self.applied(changes, dict(committed))

    @rule(changes=CHANGES)
    def commit_now(self, changes: dict[str, bytes | None]) -> None:
        versions = self.store.commit_now(changes)
        if versions is not None:
            self.applied(changes, dict(versions))

    @rule(changes=CHANGES, keys=st.sets(KEYS, max_size=4))
    def commit_what_was_expected(self, changes: dict[str, bytes | None], keys: set[str]) -> None:
        found = self.run(self.store.fetch(keys))
        expect = {key: found[key].version if key in found else None for key in keys}
        self.applied(changes, dict(self.run(self.store.commit(changes, expect=expect))))

    @rule(changes=CHANGES, keys=st.sets(KEYS, max_size=3), wrong=KEYS)
    def commit_what_was_not_expected(
        self, changes: dict[str, bytes | None], keys: set[str], wrong: str
    ) -> None:
        found = self.run(self.store.fetch(keys))
        expect = {key: found[key].version if key in found else None for key in keys}
        expect[wrong] = None if wrong in self.model else "no version at all"
        conflict: ConflictError | None = None
        try:
            self.run(self.store.commit(changes, expect=expect))
        except ConflictError as error:
            conflict = error
        assert conflict is not None, "a wrong expectation was let through"
        assert conflict.key == wrong

    @rule(key=KEYS)
    def read_one(self, key: str) -> None:
        assert self.run(self.store.read(key)) == self.model.get(key)
        assert self.run(self.store.exists(key)) is (key in self.model)

    @rule(key=KEYS)
    def read_the_past(self, key: str) -> None:
        kept = self.run(self.store.previous(key))
        assert kept is None or kept.data in self.past.get(key, ())

    @rule(prefix=KEYS | KEYS.map(lambda key: key[:1]))
    def list_by_prefix(self, prefix: str) -> None:
        assert self.listed(prefix) == sorted(key for key in self.model if key.startswith(prefix))

    @precondition(lambda self: self.store.traits.durability is not Durability.MEMORY)
    @rule()
    def reopen(self) -> None:
        self.run(self.store.aclose())
        self.store = self.adapter(self.place)
        self.run(self.store.aopen())

    @invariant()
    def they_agree(self) -> None:
        found = self.run(self.store.fetch([*self.model, *_CLOSE_NAMES]))
        assert {key: stored.data for key, stored in found.items()} == self.model
        assert self.listed() == sorted(self.model)
        for key in _CLOSE_NAMES:
            now = self.store.fetch_now(key)
            assert now is NOT_NOW or now == found.get(key)

    def teardown(self) -> None:
        try:
            self.run(self.store.aclose())
        finally:
            self.runner.close()
            shutil.rmtree(self.place)


def check_against_dict(
    adapter: Callable[[Path], StorageAdapter], *, examples: int = 20, steps: int = 20
) -> None:
    """Run the machine on what ``adapter(place)`` makes. The same histories are tried each time.

    Raises what the adapter raised, or ``AssertionError``, at once and with the way there. Hypothesis would
    look for the shortest way for minutes, and say nothing meanwhile: to have that, give a subclass of
    ``AdapterMachine`` to ``run_state_machine_as_test``.
    """

    class Machine(AdapterMachine):
        def adapter(self, place: Path) -> StorageAdapter:
            return adapter(place)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
        ),
    )
