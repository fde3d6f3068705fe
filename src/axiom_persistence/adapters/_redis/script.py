"""What a commit does on the server: one script, which nothing else comes between.

A record is a string: the id of the commit that wrote it, which is its version, then the data. The index is a
sorted set of all keys, in the order of their bytes. The log is a stream with the id and the keys of the last
commits. A note says what became of one commit, for as long as a second copy of it may come. All names begin
with the store's in braces, so that a cluster keeps them on one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Final

from msgspec.json import encode

from .._networked.commit import Commit
from .place import Place

__all__ = ["COMMIT", "FORMAT", "MAKE", "PAGE", "VERSION", "Names", "commit_command"]

FORMAT: Final = b"axiom-persistence 1"
"""What stands under the mark of a store of ours."""
VERSION: Final = 36
"""Bytes of a version, before the data."""
_LOGGED: Final = 10_000
"""Commits that the log holds, about."""
_MOST_LOGGED_BYTES: Final = 16 << 10
"""Of a commit's keys in the log; of one with more, readers are told that anything may have changed."""

# KEYS: mark, note, log, index, then the records that are deleted, put, and expected.
# ARGV: format, id, how many are deleted, how many put, whether it was sent before, seconds a note is kept,
#       the keys as JSON, the length of what stands before a key; then the data of each put, the version of
#       each expected, empty for an absent one.
# Nothing is rolled back, so whatever may be refused comes first. What frees memory precedes what needs it.
COMMIT: Final = f"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {{'gone'}} end
local note = redis.call('GET', KEYS[2])
if note then
  redis.call('SET', KEYS[2], note, 'EX', ARGV[6]) -- a write, so that WAIT waits for the first copy
  return {{note}}
end
local deletes, puts, cut = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[8]) + 1
local last = 4 + deletes + puts
for i = last + 1, #KEYS do
  if redis.call('GETRANGE', KEYS[i], 0, {VERSION - 1}) ~= ARGV[8 + puts + i - last] then
    if ARGV[5] == '1' then redis.call('SET', KEYS[2], 'conflict', 'EX', ARGV[6]) end
    return {{'conflict', string.sub(KEYS[i], cut)}}
  end
end
if last == 4 then return {{'ok'}} end
for i = 5, 4 + deletes do
  redis.call('ZREM', KEYS[4], string.sub(KEYS[i], cut))
  redis.call('UNLINK', KEYS[i])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', {_LOGGED}, '*', 'id', ARGV[2], 'keys', ARGV[7])
for i = 5 + deletes, last do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    redis.call('ZADD', KEYS[4], 0, string.sub(KEYS[i], cut))
  end
  redis.call('SET', KEYS[i], ARGV[2] .. ARGV[4 + i - deletes])
end
redis.call('SET', KEYS[2], 'ok', 'EX', ARGV[6])
return {{'ok'}}
""".encode()
_COMMIT_SHA: Final = sha1(COMMIT, usedforsecurity=False).hexdigest().encode()

# KEYS: mark, log. ARGV: format. Several processes may do it at once.
MAKE: Final = b"""
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then
  redis.call('XADD', KEYS[2], '*', 'id', '', 'keys', '[]') -- whoever reads it has where to begin
end
return redis.call('GET', KEYS[1])
"""

# KEYS: index. ARGV: command, its ends, how many. The keys come as one string, with NUL between them, which is
# in no key: redis-py takes longer for a thousand strings than all the rest of a listing does.
PAGE: Final = b"""
return table.concat(redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4]), '\\0')
"""


class Names:
    """The names of one store on the server."""

    def __init__(self, place: Place) -> None:
        self.mark: bytes = place.named("store").encode()
        self.index: bytes = place.named("index").encode()
        self.log: bytes = place.named("log").encode()
        self.record: bytes = place.named("record:").encode()
        """What stands before a key."""
        self.note: bytes = place.named("note:").encode()
        """What stands before the id of a commit."""
        # A copy that is still on its way when the call is given up comes long before this.
        self.kept: bytes = b"%d" % (4 * place.timeout + 60)
        """Seconds that a note is kept."""

    def record_of(self, key: str) -> bytes:
        return self.record + key.encode()

    def note_of(self, commit_id: str) -> bytes:
        return self.note + commit_id.encode()


def commit_command(names: Names, commit: Commit) -> Sequence[bytes]:
    """The command that applies ``commit``, or says what became of it."""
    deleted = [names.record_of(key) for key, data in commit.changes.items() if data is None]
    put = {names.record_of(key): data for key, data in commit.changes.items() if data is not None}
    expected = [names.record_of(key) for key in commit.expect]
    keys = [names.mark, names.note_of(commit.id), names.log, names.index, *deleted, *put, *expected]
    logged = encode(list(commit.changes))
    return (
        *(b"EVALSHA", _COMMIT_SHA, b"%d" % len(keys), *keys),
        *(FORMAT, commit.id.encode(), b"%d" % len(deleted), b"%d" % len(put), b"%d" % commit.is_sent),
        *(names.kept, logged if len(logged) <= _MOST_LOGGED_BYTES else b"", b"%d" % len(names.record)),
        *put.values(),
        *((version or "").encode() for version in commit.expect.values()),
    )
