"""A checkpointer for LangGraph: threads, their history and half-done steps, for async and plain graphs.

Needs:   pip install langgraph
Use it:  async with open_persistence("agent") as persistence:
             graph = builder.compile(checkpointer=PersistentSaver(persistence))
             await graph.ainvoke({"messages": ["hi"]}, {"configurable": {"thread_id": "ada"}})
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    Checkpoint,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from axiom_persistence import AdapterBasedPersistence, join_key, split_key
from axiom_persistence.blocking import run

Typed = tuple[str, bytes]  # a value as the serializer of LangGraph makes it


@dataclass
class Saved:
    """A checkpoint, at ``checkpoint/<thread>/<namespace>/<id>``; the ids are in the order of time."""

    checkpoint: Typed
    metadata: Typed
    parent: str | None


@dataclass
class Write:
    """What a task wrote before its step was over; a dict of them, by index, is at ``write/…/<task>``."""

    channel: str
    value: Typed
    task_path: str


def place_of(config: Any) -> tuple[str, str]:
    asked = config["configurable"]
    return str(asked["thread_id"]), asked.get("checkpoint_ns", "")


def config_of(thread: str, space: str, id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": space, "checkpoint_id": id}}


class PersistentSaver(BaseCheckpointSaver[int]):
    def __init__(self, persistence: AdapterBasedPersistence, **options: Any) -> None:
        super().__init__(**options)
        self.persistence = persistence

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: Any, new_versions: Any
    ) -> RunnableConfig:
        place, dump = place_of(config), self.serde.dumps_typed
        told = dump(get_checkpoint_metadata(config, metadata))
        saved = Saved(dump(checkpoint), told, get_checkpoint_id(config))
        await self.persistence.save(join_key("checkpoint", *place, checkpoint["id"]), saved)
        return config_of(*place, checkpoint["id"])

    async def aput_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        new = {
            WRITES_IDX_MAP.get(channel, index): Write(channel, self.serde.dumps_typed(value), task_path)
            for index, (channel, value) in enumerate(writes)
        }

        def add(there: dict[int, Write]) -> dict[int, Write]:
            # A task that runs again keeps what it wrote first; its errors and interrupts are the last ones.
            return there | {index: write for index, write in new.items() if index < 0 or index not in there}

        id = config["configurable"]["checkpoint_id"]
        key = join_key("write", *place_of(config), id, task_id)
        await self.persistence.update(key, dict[int, Write], add, default={})

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place, id = place_of(config), get_checkpoint_id(config)
        if id is None:
            newest = self.persistence.keys(join_key("checkpoint", *place) + "/", reverse=True, limit=1)
            id = await anext((split_key(key)[-1] async for key in newest), None)
        return None if id is None else await self._tuple(*place, id)

    async def _tuple(self, thread: str, space: str, id: str) -> CheckpointTuple | None:
        names, load = (thread, space, id), self.serde.loads_typed
        saved = await self.persistence.load(join_key("checkpoint", *names), Saved)
        if saved is None:
            return None
        keys = [key async for key in self.persistence.keys(join_key("write", *names) + "/")]
        writes = [
            (write.task_path, split_key(key)[-1], index, write)
            for key, some in (await self.persistence.load_many(keys, dict[int, Write])).items()
            for index, write in some.items()
        ]
        writes.sort(key=lambda write: write[:3])
        parent = None if saved.parent is None else config_of(thread, space, saved.parent)
        pending = [(task, write.channel, load(write.value)) for _, task, _, write in writes]
        found = load(saved.checkpoint), load(saved.metadata)
        return CheckpointTuple(config_of(*names), *found, parent, pending)

    async def alist(
        self, config: Any, *, filter: Any = None, before: Any = None, limit: int | None = None
    ) -> AsyncIterator[CheckpointTuple]:
        asked = config["configurable"] if config else {}
        names = [str(asked[name]) for name in ("thread_id", "checkpoint_ns") if name in asked]
        only, end = asked.get("checkpoint_id"), get_checkpoint_id(before) if before else None
        async for key in self.persistence.keys(join_key("checkpoint", *names) + "/", reverse=True):
            _, thread, space, id = split_key(key)
            if limit == 0:
                return
            if (only and id != only) or (end and id >= end):
                continue
            found = await self._tuple(thread, space, id)
            if found and (filter or {}).items() <= found.metadata.items():
                limit = None if limit is None else limit - 1
                yield found

    async def adelete_thread(self, thread_id: str) -> None:
        for kind in ("write", "checkpoint"):  # in this order: while there is anything, it is listed
            await self.persistence.delete_prefix(join_key(kind, str(thread_id)) + "/")

    # A plain graph, which has no event loop, waits for the same.

    def put(self, *arguments: Any, **named: Any) -> RunnableConfig:
        return run(self.aput(*arguments, **named))

    def put_writes(self, *arguments: Any, **named: Any) -> None:
        run(self.aput_writes(*arguments, **named))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return run(self.aget_tuple(config))

    def list(self, config: RunnableConfig | None, **asked: Any) -> Iterator[CheckpointTuple]:
        async def listed() -> Sequence[CheckpointTuple]:
            return [found async for found in self.alist(config, **asked)]

        return iter(run(listed()))

    def delete_thread(self, thread_id: str) -> None:
        run(self.adelete_thread(thread_id))
