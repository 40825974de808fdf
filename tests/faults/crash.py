"""Crash points: every operation that changes a store gets a number, and one of them goes wrong."""

import errno
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from cardioclarity.storage import bucket, folder
from faults.road import Road, copy


class Crash(BaseException):
    """The process is gone; no ``except Exception`` survives it."""


class How(StrEnum):
    BEFORE = "before"
    AFTER = "after"
    LOST_ACK = "lost_ack"
    """It is done, but the client hears of a failure."""


OF_ONE_RUN = re.compile(
    r"\d{8}T\d{6}-[0-9a-f]{8}|[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=\.gc/)[0-9a-f]{32}"
)
_PLACES: tuple[type[Any], ...] = (folder.Folder, bucket.Bucket)


class Operations(AbstractContextManager["Operations"]):
    """Number what changes a store while the block runs; the operation `at` goes wrong, or something happens before it.

    Below our code stand the raw places (a folder, a bucket) and the four methods of deltalake that write, so that
    nothing that changes a root passes by. Objects that are put or deleted together count one by one.
    After a crash the block is dead: whatever it still tries on its way out, as a ``finally`` does, is not done.

    Attributes:
        names: What was done, in order, without what differs from run to run.
    """

    def __init__(
        self, *, at: int | None = None, how: How | None = None, meanwhile: Callable[[], object] | None = None
    ) -> None:
        self.names: list[str] = []
        self._at, self._how, self._meanwhile = at, how, meanwhile
        self._is_dead = False
        self._lock = threading.RLock()
        self._is_inside = False
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        patch = self._undo.enter_context(pytest.MonkeyPatch.context())
        for place in _PLACES:
            patch.setattr(place, "put_all_new", self._one_by_one_put(place.put_all_new))
            patch.setattr(place, "replace", self._numbered("replace", place.replace, io_error))
            patch.setattr(place, "delete", self._numbered("delete", place.delete, io_error))
            if hasattr(place, "delete_all"):
                patch.setattr(place, "delete_all", self._one_by_one_delete(place.delete_all))
        for name in ("create_write_transaction", "create_checkpoint", "cleanup_metadata", "vacuum"):
            patch.setattr(DeltaTable, name, self._numbered(name, getattr(DeltaTable, name), commit_error))
        create = DeltaTable.create.__func__
        patch.setattr(DeltaTable, "create", classmethod(self._numbered("create", create, commit_error)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _numbered(self, name: str, real: Callable[..., Any], failure: Callable[[], Exception]) -> Callable[..., Any]:
        def numbered(place: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dry_run"):
                return real(place, *args, **kwargs)
            return self._do(f"{name} {_target(place, args)}", lambda: real(place, *args, **kwargs), failure)

        return numbered

    def _one_by_one_put(self, real: Callable[..., Sequence[str]]) -> Callable[..., Sequence[str]]:
        def put_all_new(place: Any, objects: Mapping[str, bytes]) -> Sequence[str]:
            there: list[str] = []
            for key, data in objects.items():
                there.extend(self._do(f"put_new {key}", lambda one={key: data}: real(place, one), io_error))
            return there

        return put_all_new

    def _one_by_one_delete(self, real: Callable[..., None]) -> Callable[..., None]:
        def delete_all(place: Any, keys: Iterable[str]) -> None:
            for key in keys:
                self._do(f"delete {key}", lambda one=key: real(place, [one]), io_error)

        return delete_all

    def _do(self, name: str, real: Callable[[], Any], failure: Callable[[], Exception]) -> Any:
        with self._lock:
            if self._is_inside:  # one operation that is made of another
                return real()
            if self._is_dead:
                raise Crash(name)
            self.names.append(OF_ONE_RUN.sub("…", name))
            is_it = len(self.names) == self._at
            if is_it and self._how is How.BEFORE:
                self._is_dead = True
                raise Crash(name)
            self._is_inside = True
            try:
                if is_it and self._meanwhile is not None:
                    self._meanwhile()
                result = real()
            finally:
                self._is_inside = False
            if is_it and self._how is How.AFTER:
                self._is_dead = True
                raise Crash(name)
            if is_it and self._how is How.LOST_ACK:
                raise failure()
            return result


def crash_after(road: Road, step: str, operation: str) -> None:
    """Crash a step after the last operation whose name begins so."""
    whole = road.to(copy(road.root, f"{road.root}-whole"))
    with Operations() as operations:
        whole.go((step,))
    shutil.rmtree(whole.root)
    at = max(n for n, name in enumerate(operations.names, start=1) if name.startswith(operation))
    with pytest.raises(Crash), Operations(at=at, how=How.AFTER):
        road.go((step,))


def io_error() -> Exception:
    """What a folder raises when the disk stops to answer after the write."""
    return OSError(errno.EIO, "Input/output error")


def commit_error() -> Exception:
    """What deltalake raises when the acknowledgement of a commit is lost."""
    return CommitFailedError("Failed to commit transaction: the connection was closed")


def _target(place: Any, args: tuple[Any, ...]) -> str:
    """Say which object or table an operation is about."""
    if isinstance(place, DeltaTable):
        return place.table_uri.rstrip("/").rpartition("/")[2]
    return str(args[0]).rstrip("/").rpartition("/")[2] if isinstance(place, type) else str(args[0])
