"""Errors are sorted by what a handler does with them, and never show what stands in a patient's file."""

import copy
import inspect
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity import errors
from cardioclarity.errors import (
    CardioClarityError,
    DamageError,
    DataError,
    ExitCode,
    LimitExceededError,
    NotFoundError,
    UnreadableFileError,
    UnsupportedFileError,
    UsageError,
    shape,
)
from cardioclarity.vocabulary import Reason

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, CardioClarityError)]


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError, 2), (NotFoundError, 1), (DamageError, 1), (CardioClarityError, 1)]
)
def test_each_error_knows_its_exit_code(error, code):
    assert error("sentence").exit_code == code


def test_exit_codes_are_the_promised_numbers():
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_stands_in_the_tree_of_the_module(error):
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreadableFileError, Reason.MALFORMED),
        (UnsupportedFileError, Reason.UNSUPPORTED_VARIANT),
        (LimitExceededError, Reason.TOO_LARGE),
    ],
)
def test_a_bad_input_brings_its_reason(error, reason):
    assert error("sentence").reason == reason
    assert issubclass(error, DataError)


def test_another_reason_survives_the_way_to_another_process():
    error = UnreadableFileError.because(Reason.BAD_GAIN, "sentence")

    travelled = copy.copy(error)

    assert (type(travelled), str(travelled), travelled.reason) == (UnreadableFileError, "sentence", Reason.BAD_GAIN)
    assert UnreadableFileError("other").reason == Reason.MALFORMED


@given(st.text(max_size=60))
def test_a_shape_holds_no_letter_or_digit_of_the_value(value):
    masked = shape(value)

    assert len(masked) <= 41
    assert not [c for c in masked if (c.isalpha() and c != "x") or (c.isdigit() and c != "9")]
    assert masked.isprintable()


def test_a_shape_tells_what_kind_of_value_it_was():
    assert shape("200(1024)/mV") == "999(9999)/xx"
    assert shape("Müller, 12") == "xxxxxx, 99"
    assert shape("x" * 50).endswith("…")


@pytest.mark.parametrize(("code", "seen"), [("7", 7), ("None", 0), ("'sentence'", 1)])
def test_a_process_leaves_with_its_code_after_what_was_registered_for_its_end(code, seen):
    program = "import atexit; from cardioclarity.errors import leave; atexit.register(print, 'tidied up');"

    ended = subprocess.run(
        [sys.executable, "-c", f"{program} print('said', end=' '); leave({code})"], capture_output=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (seen, b"said tidied up\n")


def test_a_reader_that_has_seen_enough_is_no_error():
    program = "import sys; from cardioclarity.errors import leave; sys.stdin.read(); print('more'); leave(0)"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)

    with subprocess.Popen([sys.executable, "-c", program], env={"PATH": os.environ["PATH"]}, **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (0, b"")
