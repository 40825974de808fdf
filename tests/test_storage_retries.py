"""One layer sends again: with pauses, until a deadline, and tells the last error with the number of tries."""

import pytest

from cardioclarity.errors import UsageError
from cardioclarity.storage import retries
from cardioclarity.storage.answers import Again, Silence, StoreError
from cardioclarity.storage.retries import deadline_s, persist


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that only the pauses move, and the pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(retries.time, "monotonic", lambda: sum(pauses))
    monkeypatch.setattr(retries.time, "sleep", pauses.append)
    return pauses


def failing(times: int, status: int | None = 500, code: str = "InternalError"):
    """A request that fails so often."""
    left = [times]

    def request() -> str:
        if left[0] > 0:
            left[0] -= 1
            raise StoreError(status, code)
        return "answer"

    return request


def test_an_answer_is_given_at_once(clock):
    assert persist(failing(0)) == "answer"
    assert clock == []


def test_what_may_pass_is_tried_until_it_does(clock):
    assert persist(failing(8)) == "answer"
    assert len(clock) == 8


def test_what_will_not_pass_is_told_at_once(clock):
    with pytest.raises(StoreError) as caught:
        persist(failing(1, 403, "AccessDenied"))

    assert (clock, caught.value.tries) == ([], 1)
    assert "tries" not in caught.value.sentence()


@pytest.mark.parametrize(("status", "code", "limit_s"), [(500, "", 60.0), (503, "SlowDown", 300.0), (429, "", 300.0)])
def test_after_the_deadline_the_last_error_is_told_with_tries_and_seconds(clock, status, code, limit_s):
    with pytest.raises(StoreError) as caught:
        persist(failing(10_000, status, code))

    assert sum(clock) == pytest.approx(limit_s)
    assert caught.value.tries == len(clock) + 1
    assert f"(after {caught.value.tries} tries in {limit_s:.0f} s)" in caught.value.sentence()


def test_an_address_from_which_nothing_ever_came_is_given_up_after_ten_seconds_and_several_tries(clock):
    def request() -> None:
        error = StoreError(None, Silence.UNREACHABLE)
        error.again = Again.BRIEFLY
        raise error

    with pytest.raises(StoreError) as caught:
        persist(request)

    assert sum(clock) == pytest.approx(10.0)
    assert caught.value.tries > 5


def test_pauses_are_drawn_from_a_growing_range_with_an_end(clock, monkeypatch):
    ranges: list[float] = []
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: ranges.append(high) or 0.0)

    persist(failing(10))
    persist(failing(8, 503, "SlowDown"))

    assert ranges[:10] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8, 8, 8, 8]
    assert ranges[10:] == [2, 4, 8, 16, 30, 30, 30, 30]


def test_a_request_that_used_up_the_deadline_by_itself_gets_a_second_try(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(retries.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    sent: list[int] = []

    def hanging() -> None:
        sent.append(1)
        now[0] += 100.0
        raise StoreError(None, Silence.TIMEOUT)

    with pytest.raises(StoreError):
        persist(hanging)

    assert len(sent) == 2


def test_the_deadline_is_a_minute_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("CARDIOCLARITY_RETRY_S", raising=False)
    assert deadline_s() == 60.0

    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0.5")
    assert deadline_s() == 0.5


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_deadline_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", text)

    with pytest.raises(UsageError, match=f"CARDIOCLARITY_RETRY_S={text}: give a number of seconds"):
        deadline_s()


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (500, "", Again.SOON),
        (502, "", Again.SOON),
        (503, "", Again.SOON),
        (504, "", Again.SOON),
        (409, "ConditionalRequestConflict", Again.SOON),
        (400, "RequestTimeout", Again.SOON),
        (503, "SlowDown", Again.SLOWLY),
        (429, "", Again.SLOWLY),
        (412, "PreconditionFailed", Again.NEVER),
        (403, "RequestTimeTooSkewed", Again.NEVER),
        (404, "NoSuchKey", Again.NEVER),
        (501, "NotImplemented", Again.NEVER),
        (None, Silence.UNREACHABLE, Again.SOON),
        (None, Silence.CUT_SHORT, Again.SOON),
        (None, Silence.TIMEOUT, Again.SOON),
        (None, Silence.CREDENTIALS_LATER, Again.SOON),
        (None, Silence.NO_CREDENTIALS, Again.NEVER),
        (None, Silence.UNTRUSTED, Again.NEVER),
        (None, Silence.NO_TLS, Again.NEVER),
    ],
)
def test_which_failure_may_pass(status, code, again):
    assert StoreError(status, code).again is again


@pytest.mark.parametrize("silence", Silence)
def test_every_silence_has_its_words(silence):
    error = StoreError(None, silence)

    assert ";" in error.sentence()
    assert "None" not in error.sentence()
