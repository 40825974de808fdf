"""The road on an S3 server whose answers can be made to fail, and what must hold however it fails."""

import uuid
from collections import Counter
from typing import Any

import pytest
from servers import BUCKET, Server
from servers.proxy import Kind

from cardioclarity.errors import CardioClarityError
from cardioclarity.storage import open_storage
from cardioclarity.work import Summary
from faults.proxied import Proxied
from faults.road import FOLLOWING, STEPS, Road, write_archive
from faults.state import Seen, check_segments, look

TRIES = 3
"""How often a step is tried through the proxy before it is done without."""

Numbers = tuple[int, int] | None
"""Records that a step accounts for, and those that it set aside; a report tells none."""


class Cloud:
    """The road on an S3 server, with a proxy in front that can be switched on and off.

    Attributes:
        seen: What a reader sees before each step, and at the end, when nothing disturbs.
        told: The numbers that each step tells then.
    """

    def __init__(self, server: Server, proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server, self._proxied, self._monkeypatch = server, proxied, monkeypatch
        server.set_environment(monkeypatch)
        monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "10")
        archive = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        write_archive(open_storage(archive))
        self._road = Road(archive=archive, root="")
        road = self.fresh()
        self.seen: dict[str, Seen] = {}
        self.told: dict[str, Numbers] = {}
        for step in STEPS:
            self.seen[step] = look(road.place)
            self.told[step] = numbers(getattr(road, step)())
        self.seen["end"] = look(road.place)

    def fresh(self) -> Road:
        """Give the road to a root that is not there yet."""
        return self._road.to(f"s3://{BUCKET}/{uuid.uuid4().hex}")

    def through_proxy(
        self, road: Road, step: str, **faults: Any
    ) -> tuple[Numbers, CardioClarityError | None, Counter[Kind]]:
        """Do a step with faults; gives the numbers that it tells, the named error it ended with, and the faults."""
        self._proxied.set(**faults)
        before, told, ended = Counter(self._proxied.counts), None, None
        self._monkeypatch.setenv("AWS_ENDPOINT_URL", self._proxied.url)
        try:
            told = numbers(getattr(road, step)())
        except CardioClarityError as error:
            ended = error
        finally:
            self._monkeypatch.setenv("AWS_ENDPOINT_URL", self._server.endpoint)
            self._proxied.set(kinds=())
        return told, ended, Counter(self._proxied.counts) - before

    def walk(self, seed: int, **faults: Any) -> tuple[Counter[Kind], Counter[str]]:
        """Go the road through faults: every step is tried, looked at, and tried again where it ended with a named error.

        Returns:
            The faults, and how the tries ended.

        Raises:
            AssertionError: A wrong row counts, or a step said that it was done and its rows are not the right ones.
        """
        road, befell, outcomes = self.fresh(), Counter[Kind](), Counter[str]()
        for step in STEPS:
            new = self.seen[FOLLOWING[step]]
            for attempt in range(TRIES):
                here = f"seed {seed}, {step}, try {attempt + 1}"
                told, ended, found = self.through_proxy(road, step, seed=seed * 100 + attempt, **faults)
                befell += found
                seen = self.check_no_wrong_row(road, step, here)
                if ended is None and self.is_clean(step, told):
                    assert seen == new, f"{here}: {seen} is not {new}"
                    outcomes["right"] += 1
                    break
                outcomes[type(ended).__name__ if ended else "set aside"] += 1
            else:
                getattr(road, step)()
                seen = look(road.place)
            assert seen == new, f"seed {seed}, {step}: {seen} is not {new}"
        damaged = road.verify()
        assert damaged == (), f"seed {seed}: {damaged}"
        return befell, outcomes

    def is_clean(self, step: str, told: Numbers) -> bool:
        """Whether a step set nothing aside but what is broken; a repetition does not tell that again."""
        quiet = self.told[step]
        return told is None or quiet is None or (told[0] == quiet[0] and told[1] <= quiet[1])

    def check_no_wrong_row(self, road: Road, step: str, here: str) -> Seen:
        """Look between two tries: what counts is made of right rows; only quarantine may tell of what went wrong."""
        old, new, seen = self.seen[step], self.seen[FOLLOWING[step]], look(road.place)
        for table, rows in seen.rows.items():
            wrong = rows - old.rows.get(table, frozenset()) - new.rows[table]
            assert table == "quarantine" or not wrong, f"{here}: {table}: {sorted(wrong)[:2]}"
        assert seen.champion in {old.champion, new.champion}, here
        if seen.rows:
            check_segments(road.place)
        return seen


def numbers(told: object) -> Numbers:
    return (told.inputs, told.quarantined) if isinstance(told, Summary) else None
