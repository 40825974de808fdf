"""The fault proxy in a process of its own: deltalake holds the interpreter while it waits, so a thread could not answer it.

One line of JSON on stdin replaces the faults; the answer says what happened until then.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

from servers.proxy import Faults, Kind, Request, faulty

from faults.piped import Piped, tell


class Proxied(Piped):
    """The other end of the pipe.

    Attributes:
        url: Address of the proxy.
        counts: How often each fault befell a request until `set` was last called.
        requests: How many requests came until then.
    """

    def __init__(self, endpoint: str) -> None:
        super().__init__("faults.proxied", endpoint)
        self.url, self.counts, self.requests = "", dict[Kind, int](), 0
        self.set(kinds=())

    def set(self, *, only: str = "", avoid: str = "", **faults: Any) -> None:
        """Replace the faults.

        Args:
            only: Only requests whose path holds this text fail.
            avoid: Requests whose path holds this text do not.
            faults: Fields of `Faults`; ``revoked_after`` counts from now.
        """
        answer = self.ask({"only": only, "avoid": avoid} | faults)
        self.url, self.requests = answer["url"], answer["requests"]
        self.counts = {Kind(name): n for name, n in answer["counts"].items()}


@dataclass(frozen=True)
class _Where:
    only: str
    avoid: str

    def __call__(self, request: Request) -> bool:
        return self.only in request.path and not (self.avoid and self.avoid in request.path)


def _serve(endpoint: str) -> None:
    with faulty(endpoint) as proxy:
        for line in sys.stdin:
            told = json.loads(line)
            where = _Where(told.pop("only"), told.pop("avoid"))
            if "kinds" in told:
                told["kinds"] = tuple(Kind(name) for name in told["kinds"])
            if "revoked_after" in told:
                told["revoked_after"] += len(proxy.seen)
            proxy.faults = Faults(where=where, **told)
            tell({"url": proxy.url, "counts": dict(proxy.counts), "requests": len(proxy.seen)})


if __name__ == "__main__":
    _serve(sys.argv[1])
