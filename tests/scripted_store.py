"""A small S3-like store over a dict, whose next answers a test may script: refusals, lost and broken answers."""

import functools
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LOST = "the request is done, then the connection is closed without an answer"
STORED = "the request is done, but the answer is 500"
CUT = "the body ends in its middle, under its full Content-Length"


class Script(BaseHTTPRequestHandler):
    """The few S3 calls that are used, over a dict, with answers that a test may put first."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.cuts:
            self.close_connection = True
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def handle_one_request(self) -> None:
        self.cuts = False
        self.answer = functools.partial(type(self).answer, self)
        super().handle_one_request()

    def scripted(self) -> bool:
        """Answer as the test told; True where nothing else is to be answered."""
        store = self.server
        with store.lock:
            store.asked.append(f"{self.command} {urlsplit(self.path).path}")
            store.headers.append({name.lower(): value for name, value in self.headers.items()})
            first = store.first.pop(0) if store.first else None
        if first == LOST:
            self.close_connection = True
            self.answer = lambda *_, **__: None
        elif first == STORED:
            real, self.answer = self.answer, lambda *_, **__: real(500, b"<Error><Code>InternalError</Code></Error>")
        elif first == CUT:
            self.cuts = True
        elif first is not None:
            self.refuse(*first)
            return True
        return False

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        self.server.count()
        if self.scripted():
            return
        with self.server.lock:
            refused = self.headers.get("If-None-Match") == "*" and path in self.server.objects
            if not refused or self.server.overwrites:
                self.server.objects[path] = body
        if refused and not self.server.overwrites:
            self.refuse(412, "PreconditionFailed")
        else:
            self.answer(200, ETag='"e"')

    def do_DELETE(self) -> None:
        if not self.scripted():
            self.server.objects.pop(unquote(urlsplit(self.path).path), None)
            self.answer(204)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.count()
        if self.scripted():
            return
        if "list-type" in parse_qs(url.query):
            self.list_page({name: found[0] for name, found in parse_qs(url.query, keep_blank_values=True).items()})
        elif (body := self.server.objects.get(unquote(url.path))) is None:
            self.refuse(404, "NoSuchKey")
        else:
            self.answer(200, body, **self.described())

    def do_HEAD(self) -> None:
        is_there = unquote(urlsplit(self.path).path) in self.server.objects
        self.answer(200 if is_there else 404, **self.described())

    def described(self) -> dict[str, str]:
        more = self.server.more.get(unquote(urlsplit(self.path).path), {})
        return {"ETag": '"e"', "Last_Modified": "Thu, 26 Nov 2026 00:00:00 GMT"} | more

    def list_page(self, query: dict[str, str]) -> None:
        """Answer pages of two keys each."""
        found = sorted(path.removeprefix("/bucket/") for path in self.server.objects)
        after = query.get("continuation-token", "")
        found = [key for key in found if key.startswith(query["prefix"]) and key > after]
        page, more = found[:2], len(found) > 2
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[f'/bucket/{key}'])}</Size>"
            "<LastModified>2026-11-26T01:02:03.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        head = f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
        self.answer(200, f"<ListBucketResult>{head}{contents}{token}</ListBucketResult>".encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class ScriptedStore(ThreadingHTTPServer):
    """The store behind `Script`.

    Attributes:
        objects: Path → bytes.
        first: What comes before any other answer: (status, code), `LOST`, `STORED`, `CUT`, or None for none; one is used up
            by a request.
        asked: What was asked, in order.
        headers: The headers of these requests, names in lower case.
        more: Path → headers of the answer that hands the object out.
        overwrites: Ignore If-None-Match, as some stores do.
        most_at_once: The most requests that were under way together.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Script)
        self.lock = threading.Lock()
        self.pause = threading.Event()
        self.reset()

    def reset(self) -> None:
        """Forget everything but the address, over which clients keep their connections."""
        self.pause.set()  # lets go whoever still waits
        self.pause.clear()
        self.objects: dict[str, bytes] = {}
        self.first: list[tuple[int, str] | str | None] = []
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.more: dict[str, dict[str, str]] = {}
        self.overwrites = False
        self.at_once = self.most_at_once = 0
        self.pause_s = 0.0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self) -> None:
        """Count a request from its arrival to the beginning of its answer: a client may send the next one before the end."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.pause.wait(self.pause_s)
        with self.lock:
            self.at_once -= 1


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedStore]:
    """Run a store while the block does; over TLS where a context is given."""
    with ScriptedStore() as store:
        if tls is not None:
            store.socket = tls.wrap_socket(store.socket, server_side=True, do_handshake_on_connect=False)
            store.handle_error = lambda *_: None  # a client that breaks the handshake off
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
