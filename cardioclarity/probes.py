"""Tries the promises of a store on which publishing rests: below `.doctor/<random>/`, deleted again."""

import datetime as dt
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cardioclarity.errors import CardioClarityError, ConflictError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.storage.bare import Bare
from cardioclarity.tables import commit, snapshot

LITTLE_SPACE: Final = 4 << 30
"""Fewer free bytes than this are worth a warning."""

_WRITERS: Final = 8
_RACES: Final = 16
_FEWEST_RACES: Final = 4
_ONE_BY_ONE_S: Final = 1.0
"""Races one by one press hardest; on a store that makes writers wait the others run side by side, to end in time."""

_RACES_AT_ONCE: Final = 7
"""Fewer than 64 connections: more than that at one moment, a small server keeps some waiting for a minute."""

_SKEW_WARNED_S: Final = 60.0
_SKEW_REFUSED_S: Final = 900.0
"""A store of the S3 kind refuses what is signed more than 15 minutes off."""

Clock = Callable[[], dt.datetime]
Create = Callable[[str, bytes], bool | None]


class Verdict(StrEnum):
    """What a finding means, from good to bad."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of an examination.

    Attributes:
        what: What was looked at.
        verdict: What it means.
        said: What was found and, where it is bad, what to do.
    """

    what: str
    verdict: Verdict
    said: str


def judged(what: str, trial: Callable[[], tuple[Verdict, str]]) -> Finding:
    """Make a finding of a trial; one that fails with a sentence is refused with it."""
    try:
        verdict, said = trial()
    except CardioClarityError as error:
        verdict, said = Verdict.REFUSED, str(error)
    return Finding(what=what, verdict=verdict, said=said)


def probe(root: Storage, clock: Clock) -> Iterator[Finding]:
    """Try what a root needs of its store.

    Args:
        root: The deployment; it need not exist yet, and is not made.
        clock: This machine's.

    Yields:
        A finding per promise; none of those that cannot be tried once listing, writing or reading is refused.
    """
    place, was_there = f".doctor/{secrets.token_hex(8)}", root.exists() if _is_folder(root) else True
    try:
        yield judged("clock", lambda: _clock(root, clock))
        for what, trial in (("list", _list), ("write", _write), ("read", _read)):
            yield (finding := judged(what, lambda trial=trial: trial(root, place)))  # type: ignore[misc]
            if finding.verdict == Verdict.REFUSED:
                break
        else:
            yield judged("create once", lambda: _create_once(root, place))
            yield judged("races", lambda: _race(root, place))
            yield from _of_folder(root) if _is_folder(root) else _of_bucket(root, place)
            yield judged("tables", lambda: _commit(root, place))
    finally:
        cleared = judged("delete", lambda: _clear(root, place, keep_root=was_there))
    yield cleared


def _is_folder(root: Storage) -> bool:
    return not root.url.startswith("s3://")


def _clock(root: Storage, clock: Clock) -> tuple[Verdict, str]:
    """Compare this machine's clock with the store's."""
    before = clock()
    theirs = root.now()
    off_s = (before + (clock() - before) / 2 - theirs).total_seconds()
    said = f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} the store's"
    if abs(off_s) > _SKEW_REFUSED_S:
        return Verdict.REFUSED, f"{said}: requests signed 15 minutes off are refused; set this machine's clock"
    if abs(off_s) > _SKEW_WARNED_S:
        return Verdict.WARNING, f"{said}: set this machine's clock; at 15 minutes requests are refused"
    return Verdict.OK, "no more than a minute apart from the store's"


def _list(root: Storage, place: str) -> tuple[Verdict, str]:
    found = next(root.list(f"{place}/"), None)
    assert found is None, f"{place} was chosen at random and is taken"
    return Verdict.OK, "allowed"


def _write(root: Storage, place: str) -> tuple[Verdict, str]:
    root.put_new(f"{place}/first", b"first")
    return Verdict.OK, "allowed"


def _read(root: Storage, place: str) -> tuple[Verdict, str]:
    """Read and list what has just been written."""
    try:
        data = root.fetch(f"{place}/first")
    except FileNotFoundError:
        data = None
    listed = [found.key for found in root.list(f"{place}/")]
    if data != b"first" or listed != [f"{place}/first"]:
        what = "other bytes" if data not in (b"first", None) else "nothing"
        return Verdict.REFUSED, (
            f"what had just been written was {'not listed' if data == b'first' else f'read as {what}'}: the store is not"
            " consistent; use one that shows an object as soon as it is written"
        )
    return Verdict.OK, "an object is read and listed as soon as it is written"


def _create_once(root: Storage, place: str) -> tuple[Verdict, str]:
    """Create an object twice: the second must be refused, and the first bytes must stay."""
    key = f"{place}/first"
    try:
        root.put_new(key, b"second")
    except ConflictError:
        is_refused = True
    else:
        is_refused = False
    is_unchanged = root.fetch(key) == b"first"
    if is_refused and is_unchanged:
        return Verdict.OK, "a second create is refused and the first bytes stay"
    what = "refused a second create and yet overwrote" if is_refused else "overwrote what a create must leave"
    return Verdict.REFUSED, (
        f"the store {what} (it does not keep If-None-Match): two runs at once could mix; use a store with conditional"
        " writes, or update this one"
    )


def _race(root: Storage, place: str) -> tuple[Verdict, str]:
    """Let several writers create one object at the same moment, again and again: exactly one may win."""
    creators, started = _creators(root), time.perf_counter()
    races = iter([f"{place}/race-{n}" for n in range(_RACES)])
    won: list[int | None] = []
    for key in races:
        won.append(_winner(root, key, creators))
        if time.perf_counter() - started > _ONE_BY_ONE_S:
            break
    with ThreadPoolExecutor(_RACES_AT_ONCE) as pool:
        won += pool.map(lambda key: _winner(root, key, creators), races)
    judged_ones = [n for n in won if n is not None]
    if len(judged_ones) < _FEWEST_RACES:
        return Verdict.WARNING, f"only {len(judged_ones)} of {_RACES} races were answered; run this again"
    if wrong := [n for n in judged_ones if n != 1]:
        return Verdict.REFUSED, (
            f"{len(wrong)} of {len(judged_ones)} races of {_WRITERS} writers for one object had {_counted(wrong)} winners:"
            " two runs at once could mix; use a store whose conditional writes are atomic, or update this one"
        )
    return Verdict.OK, f"{len(judged_ones)} races of {_WRITERS} writers, each with exactly one winner whose bytes stay"


def _counted(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _creators(root: Storage) -> Sequence[Create]:
    """Give each writer a way to the store of its own; one that is not answered gives None."""
    if not _is_folder(root):
        return [bare.creates for _ in range(_WRITERS) if (bare := Bare.of(root))]

    def creates(key: str, data: bytes) -> bool:
        try:
            return root.put_new(key, data)
        except ConflictError:
            return False

    return [creates] * _WRITERS


def _winner(root: Storage, key: str, creators: Sequence[Create]) -> int | None:
    """Run one race; gives how many won, none where the bytes of a loser stay, and None where one was not answered."""
    start = threading.Barrier(len(creators))
    bodies = [f"writer {n}".encode() for n in range(len(creators))]

    def run(creates: Create, data: bytes) -> bool | None:
        start.wait()
        return creates(key, data)

    with ThreadPoolExecutor(len(creators)) as pool:
        outcomes = list(pool.map(run, creators, bodies))
    if None in outcomes:
        return None
    winners = [data for data, is_winner in zip(bodies, outcomes, strict=True) if is_winner]
    if len(winners) == 1 and root.fetch(key) != winners[0]:
        return 0
    return len(winners)


def _commit(root: Storage, place: str) -> tuple[Verdict, str]:
    """Make a table: the tables reach the store through a client of their own."""
    below = open_storage(root.join(place), root.options)
    below.make_root()
    commit.create(below, "runs")
    snapshot.open_table(below, "runs")
    return Verdict.OK, "a table was made and opened again"


def _of_folder(root: Storage) -> Iterator[Finding]:
    free = shutil.disk_usage(root.url).free
    verdict = Verdict.OK if free >= LITTLE_SPACE else Verdict.WARNING
    yield Finding(what="space", verdict=verdict, said=f"{free / 1e9:.1f} GB free")


def _of_bucket(root: Storage, place: str) -> Iterator[Finding]:
    """Ask what only a bucket can tell; a store that does not answer has no finding."""
    bare = Bare.of(root)
    assert bare is not None
    is_checked, is_versioned, expiring = (
        bare.checks_uploads(f"{place}/checked"),
        bare.keeps_versions(),
        bare.expiring(),
    )
    if is_checked is not None:
        yield Finding(
            what="uploads",
            verdict=Verdict.OK if is_checked else Verdict.WARNING,
            said="a wrong checksum is refused"
            if is_checked
            else "the store takes uploads whose checksum is wrong; what was spoilt on the way is found when it is read, "
            "or by: cardioclarity verify --read-data",
        )
    if is_versioned is not None:
        said = "deleted objects can be had back" if is_versioned else "off: what is deleted by mistake is gone"
        yield Finding(what="versions", verdict=Verdict.OK if is_versioned else Verdict.NOTE, said=said)
    if expiring:
        said = f"lifecycle rules remove objects of the root ({', '.join(expiring)}); exclude the root from them"
        yield Finding(what="lifecycle", verdict=Verdict.WARNING, said=said)
    elif expiring is not None:
        yield Finding(what="lifecycle", verdict=Verdict.OK, said="no rule removes objects of the root")


def _clear(root: Storage, place: str, *, keep_root: bool) -> tuple[Verdict, str]:
    """Delete what was tried; a right to delete is not needed to publish."""
    if _is_folder(root):
        shutil.rmtree(root.join(place), ignore_errors=True)
        for folder in (Path(root.join(".doctor")), *(() if keep_root else (Path(root.url),))):
            _remove_empty(folder)
        return Verdict.OK, "allowed; nothing of the trials is left"
    try:
        left = [found.key for found in root.list(f"{place}/")]
        root.delete_all(left)
    except CardioClarityError as error:
        return Verdict.WARNING, f"{error}; what was tried may be left below {place}/, and gc can free no space"
    if next(root.list(f"{place}/"), None) is not None:
        return Verdict.WARNING, f"deleted objects are still listed below {place}/"
    return Verdict.OK, "allowed; nothing of the trials is left"


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # somebody else's trial is under way in it, or it was never made
        return
