"""Packed rows in Redis: a hash per view, field = entity key; what changed goes to a stream of limited length beside it."""

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import PackedError
from .rows import Changes, Found

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE = 1_000  # rows per script call: one call of a few milliseconds does not keep readers waiting
_NOTED = 2_000
"""Calls kept in the stream of changes: whoever is further behind reads everything again."""

_WRITE = """
-- KEYS: hash, stream. ARGV: how many calls the stream keeps, then key, row, key, row ... Runs as one: nothing comes between compare and write.
local taken = {}
for i = 2, #ARGV, 2 do
  local new, old = ARGV[i + 1], redis.call('HGET', KEYS[1], ARGV[i])
  local write = not old or string.sub(old, 17, 24) ~= string.sub(new, 17, 24)
  if not write then
    -- Big-endian halves: Lua's numbers hold 53 bits, and its strings compare by the server's locale.
    local a, b, c, d = struct.unpack('>I4I4I4I4', old)
    local e, f, g, h = struct.unpack('>I4I4I4I4', new)
    if a ~= e or b ~= f then
      write = e > a or (e == a and f > b)
    else
      write = (g == 0 and h == 0) or g > c or (g == c and h >= d)
    end
  end
  if write then
    redis.call('HSET', KEYS[1], ARGV[i], new)
    taken[#taken + 1] = struct.pack('<I4', #ARGV[i]) .. ARGV[i]
  end
end
if #taken > 0 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'k', table.concat(taken))
end
return #taken
"""


class RedisRows:
    """Rows under `namespace:view` on one Redis server (7 or later; a cluster is not supported, since a hash lies on one of its nodes)."""

    def __init__(self, url: str, namespace: str) -> None:
        """
        Raises:
            PackedError: the `redis` client is not installed.
        """
        try:
            import redis
        except ImportError as error:
            raise PackedError("The online store is on Redis and its client is not installed: pip install 'feast[redis]'.") from error
        self.url, self.namespace = url, namespace
        self._lost: type[Exception] = redis.ConnectionError
        self._silence: tuple[type[Exception], ...] = (redis.ConnectionError, redis.TimeoutError)
        self._local = threading.local()
        self._client: Redis = redis.Redis.from_url(url, socket_keepalive=True, socket_timeout=5, socket_connect_timeout=2)
        self._script: Any = self._client.register_script(_WRITE)

    def _hash(self, view: str) -> str:
        return f"{self.namespace}:{view}"

    def _stream(self, view: str) -> str:
        return f"{self.namespace}:{view}:changes"

    def declare(self, view: str) -> None:
        """
        Raises:
            PackedError: the server does not answer.
        """
        try:
            self._client.ping()
        except self._silence as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> PackedError:
        """The server by name, without the password that its address may hold."""
        where = urlsplit(self.url)
        return PackedError(
            f"Redis does not answer at {where.hostname or where.path}:{where.port or 6379} ({type(error).__name__}): start it, or leave its "
            "address out for a SQLite file."
        )

    def settle(self) -> None:
        pass

    def write(self, view: str, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """
        Raises:
            PackedError: the server does not answer.
        """
        names = [self._hash(view), self._stream(view)]
        pipeline = self._client.pipeline(transaction=False)
        for start in range(0, len(keys), _AT_ONCE):
            pairs = [part for pair in zip(keys[start : start + _AT_ONCE], rows[start : start + _AT_ONCE], strict=True) for part in pair]
            self._script(keys=names, args=[_NOTED, *pairs], client=pipeline)
        try:
            pipeline.execute()
        except self._silence as error:
            raise self._silent(error) from None

    def read(self, wanted: Sequence[tuple[str, Sequence[bytes]]]) -> list[Found]:
        asked: list[tuple[Any, ...]] = [("HMGET", self._hash(view), *keys) for view, keys in wanted if keys]
        try:
            try:
                answers = self._ask(asked)
            except self._lost:  # the server was started anew, or has closed an idle connection
                self.close()
                answers = self._ask(asked)
        except self._silence as error:
            raise self._silent(error) from None
        left = iter(answers)
        return [next(left) if keys else [] for _, keys in wanted]

    def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Found]:
        """All answers in one round trip, over this thread's own connection: half the work of the client's pipeline."""
        held = getattr(self._local, "connection", None)
        if held is None:
            held = self._local.connection = self._client.connection_pool.get_connection()
        try:
            held.send_packed_command(held.pack_commands(commands), check_health=False)
            return [held.read_response() for _ in commands]
        except Exception:
            held.disconnect()  # what is left of its answers belongs to nobody
            raise

    def scan(self, view: str, size: int = 20_000) -> Iterator[tuple[list[bytes], list[bytes]]]:
        cursor, seen = 0, set[bytes]()
        while True:
            cursor, found = self._client.hscan(self._hash(view), cursor, count=size)  # type: ignore[misc]
            new = {key: row for key, row in found.items() if key not in seen}  # a hash that grows or shrinks shows some fields twice
            seen.update(new)
            if new:
                yield list(new), list(new.values())
            if cursor == 0:
                return

    def keys(self, view: str, size: int = 50_000) -> Iterator[list[bytes]]:
        for some, _ in self.scan(view, size):  # without the rows only from Redis 7.4 on
            yield some

    def position(self, view: str) -> str:
        last: Any = self._client.xrevrange(self._stream(view), count=1)
        return str(last[0][0].decode()) if last else ""

    def changes(self, view: str, since: str) -> Changes:
        # From `since` itself on: if that is still there, nothing between was cut off.
        found: Any = self._client.xrange(self._stream(view), min=since or "-")
        upto = found[-1][0].decode() if found else ""
        if since and (not found or found[0][0].decode() != since):
            return Changes(None, upto)
        if not since and found and len(found) >= _NOTED:
            return Changes(None, upto)
        keys: dict[bytes, None] = {}
        for _, entry in found[1:] if since else found:
            if b"k" not in entry:
                return Changes(None, upto)
            keys.update(dict.fromkeys(_split(entry[b"k"])))
        return Changes(list(keys), upto)

    def drop(self, view: str) -> None:
        self._client.unlink(self._hash(view))
        self._client.xadd(self._stream(view), {b"dropped": b"1"}, maxlen=_NOTED)

    def clear(self) -> None:
        names = list(self._client.scan_iter(match=_literal(f"{self.namespace}:") + "*", count=1_000))
        if names:
            self._client.unlink(*names)

    def close(self) -> None:
        held = getattr(self._local, "connection", None)
        if held is not None:
            self._local.connection = None
            held.disconnect()
            self._client.connection_pool.release(held)


def _split(joined: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(joined):
        end = at + 4 + int.from_bytes(joined[at : at + 4], "little")
        yield joined[at + 4 : end]
        at = end


def _literal(text: str) -> str:
    """A pattern of Redis that matches this text alone."""
    return "".join("\\" + each if each in "*?[]^\\" else each for each in text)
