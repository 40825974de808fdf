"""Units and what runs them, importable by name in worker processes, which test modules are not."""

import os
import time
from dataclasses import dataclass

from cardioclarity.vocabulary import Stage
from cardioclarity.work import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A unit of `n` inputs."""

    id: str
    n: int = 1
    pause_s: float = 0.0
    stage: Stage = Stage.CONVERT

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(f"{self.id}/{i}" for i in range(self.n))


def pieces(n_pieces: int) -> list[Piece]:
    return [Piece(id=f"u{i}") for i in range(n_pieces)]


def succeed(piece: Piece) -> Receipt[int]:
    """Do the inputs and tell the process."""
    time.sleep(piece.pause_s)
    return Receipt(unit_id=piece.id, done=piece.n, output=os.getpid())


def die_if_poison(piece: Piece) -> Receipt[int]:
    """Take the whole process down, as a decoder that breaks memory does."""
    if piece.id.startswith("poison"):
        os._exit(1)
    return succeed(piece)


def raise_if_bad(piece: Piece) -> Receipt[int]:
    """Make our own mistake."""
    if piece.id == "bad":
        raise AssertionError("this is our own mistake")
    return succeed(piece)


def tell_environment(piece: Piece) -> Receipt[dict[str, str]]:
    """Tell the environment of the process, and which one it is."""
    return Receipt(unit_id=piece.id, done=piece.n, output={**os.environ, "PID": str(os.getpid())})
