"""Every error that a caller may handle, sorted by what the handler does.

CardioClarityError            exit 1
├── UsageError                exit 2   options that contradict each other
├── NotFoundError             exit 1   no such archive, root, model, run: the message says which there are
├── DataError                 -        one input is bad: a quarantine row with a reason
│   ├── UnreadableFileError            bytes break their format
│   ├── UnsupportedFileError           right format, a feature that is not read
│   └── LimitExceededError             larger than declared or allowed
├── StorageError              exit 1   I/O failed after the one layer of retries
├── ConflictError             -        another run won: this one is superseded
└── DamageError               exit 1   stored bytes differ from their manifest

Our own mistakes are none of these: they are AssertionError or TypeError and crash loudly.
"""

import atexit
import logging
import os
import re
import sys
from contextlib import suppress
from enum import IntEnum
from typing import ClassVar, NoReturn, Self

from cardioclarity.vocabulary import Reason


class ExitCode(IntEnum):
    """What a command tells the shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    QUARANTINED = 3
    DAMAGED = 4


def leave(code: int | str | None) -> NoReturn:
    """End the process with this code, as SystemExit carries it, once all that was registered for its end has run.

    The interpreter's own end is passed over: a reading thread of pyarrow that is still alive then calls into it, and one
    in twenty-five finished commands was aborted with code 134 instead of its own.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - the one way to run them and no more
    logging.shutdown()
    with suppress(BrokenPipeError):  # whoever read our output, such as `head`, has seen enough
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


class CardioClarityError(Exception):
    """Base of every error with a message for people."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


class UsageError(CardioClarityError):
    """Options that contradict each other or lie out of their range."""

    exit_code = ExitCode.USAGE


class NotFoundError(CardioClarityError):
    """What the user named does not exist."""


class DataError(CardioClarityError):
    """One input is bad; it goes to quarantine under `reason` and the run goes on."""

    reason: Reason = Reason.MALFORMED

    @classmethod
    def because(cls, reason: Reason, message: str) -> Self:
        """Make the error with another reason than its class has; one positional message keeps it picklable."""
        error = cls(message)
        error.reason = reason
        return error


class UnreadableFileError(DataError):
    """The bytes break their format."""


class UnsupportedFileError(DataError):
    """The format is right, a feature of it is not read here."""

    reason = Reason.UNSUPPORTED_VARIANT


class LimitExceededError(DataError):
    """Larger than declared or allowed."""

    reason = Reason.TOO_LARGE


class StorageError(CardioClarityError):
    """Reading or writing failed after the one layer of retries."""


class ConflictError(CardioClarityError):
    """Another run has published what this one was about to publish."""


class DamageError(CardioClarityError):
    """Stored bytes differ from their manifest."""


def shape(value: str) -> str:
    """Show a value that came out of a patient's file without showing it: letters → x, digits → 9.

    A shifted column can hold a name where a gain belongs, so messages carry the shape only.

    Args:
        value: The offending text.

    Returns:
        At most 40 characters, ending in `…` where the value was longer.
    """
    masked = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", value[:41]))
    masked = "".join(c if c.isprintable() else "?" for c in masked)
    return masked if len(masked) <= 40 else masked[:40] + "…"
