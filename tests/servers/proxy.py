"""A proxy in front of an S3 server that makes the network and the store fail by a seed.

It forwards byte for byte, the Host header included, so that signatures stay valid. Whether a request fails, and how, is
a hash of the seed, the request and how often it was asked before: the same seed gives the same faults in any order.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit


class Kind(StrEnum):
    """What goes wrong."""

    ERROR = "500, nothing was done"
    SLOW_DOWN = "503 SlowDown, nothing was done"
    STORED_ERROR = "500, though it was done"
    STORED_CUT = "connection cut, though it was done"
    RESET = "connection reset, nothing was done"
    TRUNCATED = "body cut in the middle, under its full Content-Length"
    FLIPPED = "one bit of an object's body flipped"
    DELAY = "answered late"
    REVOKED = "403, the right was taken away"
    SKEWED = "403, the clocks are too far apart"


TRANSIENT = (
    Kind.ERROR,
    Kind.SLOW_DOWN,
    Kind.STORED_ERROR,
    Kind.STORED_CUT,
    Kind.RESET,
    Kind.TRUNCATED,
    Kind.DELAY,
)
"""What trying again heals, and what a client can notice by itself."""

LOST_ACKNOWLEDGEMENT = (Kind.STORED_ERROR, Kind.STORED_CUT)

_ON_ANSWERS = {Kind.TRUNCATED, Kind.FLIPPED}
_REFUSALS = {
    Kind.ERROR: (500, "InternalError"),
    Kind.STORED_ERROR: (500, "InternalError"),
    Kind.SLOW_DOWN: (503, "SlowDown"),
    Kind.REVOKED: (403, "AccessDenied"),
    Kind.SKEWED: (403, "RequestTimeTooSkewed"),
}
_MOST_SKEW_S = 900
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """What faults are chosen by.

    Attributes:
        method: Such as ``PUT``.
        path: Path and query as sent.
        attempt: How often the same method and path came before.
        number: How many requests came before in all.
    """

    method: str
    path: str
    attempt: int
    number: int

    @property
    def writes(self) -> bool:
        return self.method in {"PUT", "POST", "DELETE"}

    def can_suffer(self, kind: Kind) -> bool:
        if kind in LOST_ACKNOWLEDGEMENT:
            return self.writes
        if kind is Kind.FLIPPED:  # no client can notice it in a listing
            return self.method == "GET" and "?" not in self.path
        return kind is not Kind.TRUNCATED or self.method == "GET"


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Which faults, and how many.

    Attributes:
        seed: Another seed, other faults.
        share: Of the requests, how many fail.
        kinds: What goes wrong.
        where: Which requests may fail.
        script: Chooses by itself instead of the seed, for one fault at one place.
        revoked_after: From this request on all are answered 403.
        skew_s: How far the store's clock seems to be ahead; beyond a quarter of an hour it refuses requests, as S3 does.
        delay_s: How late an answer comes.
    """

    seed: int = 0
    share: float = 0.15
    kinds: Collection[Kind] = TRANSIENT
    where: Callable[[Request], bool] = lambda request: True
    script: Callable[[Request], Kind | None] | None = None
    revoked_after: int | None = None
    skew_s: float = 0.0
    delay_s: float = 0.2

    def choose(self, request: Request) -> Kind | None:
        """Decide what happens to a request."""
        if self.revoked_after is not None and request.number >= self.revoked_after:
            return Kind.REVOKED
        if abs(self.skew_s) > _MOST_SKEW_S:
            return Kind.SKEWED
        if self.script is not None:
            return self.script(request)
        kinds = [kind for kind in self.kinds if request.can_suffer(kind)]
        if not kinds or not self.where(request) or _draw(self.seed, request, "fails") >= self.share:
            return None
        return kinds[int(_draw(self.seed, request, "how") * len(kinds))]


def _draw(seed: int, request: Request, question: str) -> float:
    """Draw a number in [0, 1) that depends on nothing but its arguments."""
    text = f"{seed}\0{request.method}\0{request.path}\0{request.attempt}\0{question}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        upstream: Host and port of the server.
        faults: May be replaced while it runs.
        url: Its own address.
        counts: How often each fault befell a request.
        seen: All requests, in the order in which they came.
    """

    upstream: tuple[str, int]
    faults: Faults
    url: str = ""
    counts: Counter[Kind] = field(default_factory=Counter)
    seen: list[Request] = field(default_factory=list)
    _attempts: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # either side has gone
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tells whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        headers = _headers(head)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, headers, until_closed=False)
        request = self._noted(method, path)
        kind = self.faults.choose(request)
        if kind is Kind.RESET:
            self.counts[kind] += 1
            _reset(writer)
            return False
        if kind in _REFUSALS and kind not in LOST_ACKNOWLEDGEMENT:
            await self._refuse(writer, request, kind)
            return True
        if kind is Kind.DELAY:
            self.counts[kind] += 1
            await asyncio.sleep(self.faults.delay_s)
        return await self._answer(writer, request, kind, await self._forward(head + body, method))

    async def _answer(
        self, writer: asyncio.StreamWriter, request: Request, kind: Kind | None, answer: tuple[bytes, bytes]
    ) -> bool:
        """Pass an answer on, or what a fault leaves of it."""
        head, body = answer
        if kind is Kind.STORED_CUT:
            self.counts[kind] += 1
            return False
        if kind is Kind.STORED_ERROR:
            await self._refuse(writer, request, kind)
            return True
        good = head.split(b" ", 2)[1].startswith(b"2") and "content-length" in _headers(head)
        if kind in _ON_ANSWERS and good and body:
            self.counts[kind] += 1
            place = _draw(self.faults.seed, request, "where")
            body = body[: len(body) // 2] if kind is Kind.TRUNCATED else _flip(body, int(place * len(body) * 8))
        writer.write(self._dated(head) + body)
        await writer.drain()
        return kind is not Kind.TRUNCATED and _headers(head).get("connection", "").lower() != "close"

    def _noted(self, method: str, path: str) -> Request:
        attempt = self._attempts[method, path]
        self._attempts[method, path] += 1
        request = Request(method=method, path=path, attempt=attempt, number=len(self.seen))
        self.seen.append(request)
        return request

    async def _refuse(self, writer: asyncio.StreamWriter, request: Request, kind: Kind) -> None:
        """Answer as S3 does when it refuses."""
        self.counts[kind] += 1
        status, code = _REFUSALS[kind]
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{kind}</Message></Error>".encode()
        body = b"" if request.method == "HEAD" else body
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nDate: \r\n\r\n"
        writer.write(self._dated(head.encode()) + body)
        await writer.drain()

    async def _forward(self, request: bytes, method: str) -> tuple[bytes, bytes]:
        """Ask the server, over a fresh connection, since a kept one can break by itself."""
        reader, writer = await asyncio.open_connection(*self.upstream, limit=_HEAD_BYTES)
        try:
            writer.write(request)
            await writer.drain()
            head = b"HTTP/1.1 100 "
            while head.split(b" ", 2)[1].startswith(b"1"):
                head = await reader.readuntil(b"\r\n\r\n")
            bare = method == "HEAD" or head.split(b" ", 2)[1] in {b"204", b"304"}
            return head, b"" if bare else await _body(reader, _headers(head), until_closed=True)
        finally:
            writer.close()

    def _dated(self, head: bytes) -> bytes:
        """Let the answer's Date be what the store's clock seems to say."""
        date = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.faults.skew_s), usegmt=True)
        lines = head.split(b"\r\n")
        return b"\r\n".join(b"Date: " + date.encode() if line.lower().startswith(b"date:") else line for line in lines)


def _headers(head: bytes) -> Mapping[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], *, until_closed: bool) -> bytes:
    """Read a body as it was sent, the frames of a chunked one included."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts = [await reader.readuntil(b"\r\n")]
        while size := int(parts[-1].split(b";")[0], 16):
            parts.append(await reader.readexactly(size + 2))
            parts.append(await reader.readuntil(b"\r\n"))
        while parts[-1] != b"\r\n":  # trailing headers, then an empty line
            parts.append(await reader.readuntil(b"\r\n"))
        return b"".join(parts)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read() if until_closed else b""


def _flip(body: bytes, bit: int) -> bytes:
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset instead of an orderly end."""
    link: Any = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def faulty(endpoint: str, **faults: Any) -> Iterator[Proxy]:
    """Run a proxy in front of a server, in a thread.

    Args:
        endpoint: Address of the server.
        faults: The fields of `Faults`.
    """
    address = urlsplit(endpoint)
    proxy = Proxy(upstream=(address.hostname or "", address.port or 80), faults=Faults(**faults))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=_HEAD_BYTES), loop
    ).result()
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # the transports close in the loop's next round
