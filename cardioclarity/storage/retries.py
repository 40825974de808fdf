"""The one place where a request is sent again: jittered pauses, a deadline, and at most 16 requests at once."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

from cardioclarity.errors import UsageError
from cardioclarity.storage.answers import Again, StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 16
"""Requests of one process at once, over all buckets and threads."""

DEADLINE_VARIABLE: Final = "CARDIOCLARITY_RETRY_S"
_DEADLINE_S: Final = 60.0
_PATIENCE: Final = {Again.BRIEFLY: 1 / 6, Again.SOON: 1.0, Again.SLOWLY: 5.0}
"""Parts of the deadline: a store that asks for fewer requests is well, only busy; an address from which nothing ever came
is often mistyped."""

_FIRST_S: Final = {Again.BRIEFLY: 0.1, Again.SOON: 0.1, Again.SLOWLY: 1.0}
_LONGEST_S: Final = {Again.BRIEFLY: 2.0, Again.SOON: 8.0, Again.SLOWLY: 30.0}
_FEWEST: Final = 2
"""A request that hangs until its own timeout uses up the deadline at once and still deserves a second try."""


def persist(request: Callable[[], T]) -> T:
    """Send a request until it is answered, refused for good, or the deadline is over.

    The pause before try n is drawn from 0 to 0.1 s x 2^n, at most 8 s; ten times as long where the store asks for fewer
    requests. A slot of this process is held only while the request is under way, not in the pauses.

    Args:
        request: Raises StoreError; it may be sent any number of times.

    Raises:
        StoreError: The last one, with the number of tries and the seconds.
    """
    started, tries = time.monotonic(), 0
    while True:
        tries += 1
        try:
            with _slots(os.getpid()):
                return request()
        except StoreError as error:
            error.tries, error.seconds = tries, time.monotonic() - started
            if error.again is Again.NEVER:
                raise
            left_s = deadline_s() * _PATIENCE[error.again] - error.seconds
            if left_s <= 0 and tries >= _FEWEST:
                raise
            pause_s = random.uniform(0, min(_LONGEST_S[error.again], _FIRST_S[error.again] * 2.0**tries))  # noqa: S311
            log.info("try %d: %s; again in %.1f s", tries, error.sentence(), pause_s)
            time.sleep(min(pause_s, max(left_s, 0.0)))


def deadline_s() -> float:
    """Give the seconds for which one request is repeated: 60, or CARDIOCLARITY_RETRY_S.

    Raises:
        UsageError: The variable is no number of seconds.
    """
    text = os.environ.get(DEADLINE_VARIABLE) or str(_DEADLINE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{DEADLINE_VARIABLE}={text}: give a number of seconds, 0 or more")
    return seconds


@lru_cache(maxsize=1)
def _slots(process: int) -> threading.BoundedSemaphore:  # noqa: ARG001 - a fork must not inherit slots that are held
    return threading.BoundedSemaphore(AT_ONCE)
