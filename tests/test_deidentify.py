"""Only a keyed pseudonym, an age with its last bucket, a sex and real codes pass; every other text is dropped."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.readers.deidentify import age, diagnosis_codes, pseudonym, sex

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_pseudonym_is_the_keyed_hash_of_the_id():
    name = pseudonym("MRN 4711", KEY)

    assert name == hmac.new(KEY, b"MRN 4711", hashlib.sha256).hexdigest()[:32]


def test_another_id_or_another_key_gives_another_pseudonym():
    names = {pseudonym("4711", KEY), pseudonym("4712", KEY), pseudonym("4711", KEY[::-1])}

    assert len(names) == 3


def test_an_empty_key_is_our_own_mistake():
    with pytest.raises(AssertionError, match="empty key"):
        pseudonym("4711", b"")


@pytest.mark.parametrize(
    ("text", "years"),
    [("75", 75), (" 75 ", 75), ("75.9", 75), ("0", 0), ("34 years", 34), ("34Y", 34), ("89", 89), ("090", 90)],
)
def test_an_age_is_read_in_whole_years(text, years):
    assert age(text) == years


@pytest.mark.parametrize("text", ["90", "91", "107", "129", "300"])
def test_ages_from_90_share_one_bucket_and_so_does_the_300_of_ptb_xl(text):
    assert age(text) == 90


@pytest.mark.parametrize(
    "text", ["", "NaN", "nan", "-1", "Unknown", "130", "299", "301", "7 5", "1985-04-01", "²", "٣٤"]
)
def test_a_text_that_is_no_plausible_age_gives_none(text):
    assert age(text) is None


@given(st.text(max_size=8))
def test_an_age_is_never_above_the_bucket(text):
    years = age(text)

    assert years is None or 0 <= years <= 90


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("F", "F"),
        (" female ", "F"),
        ("M", "M"),
        ("Male", "M"),
        ("other", "other"),
        ("", None),
        ("NaN", None),
        ("Eva", None),
    ],
)
def test_a_sex_is_one_of_three_words_or_none(text, value):
    assert sex(text) == value


def test_snomed_codes_carry_their_scheme_in_the_order_found_and_once():
    codes = diagnosis_codes("426783006, 164934002;426783006 67741000119109")

    assert codes == ("sct:426783006", "sct:164934002", "sct:67741000119109")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Unknown",
        "NaN",
        "AFIB",
        "426783007",
        "42678300",
        "12345678",
        "0426783006",
        "4267830O6",
        "Smith,John",
        "٤٢٦٧٨٣٠٠٦",
    ],
)
def test_what_is_no_snomed_concept_is_dropped(text):
    assert diagnosis_codes(text) == ()


@given(position=st.integers(0, 8), digit=st.integers(0, 9))
def test_one_wrong_digit_is_always_found_out(position, digit):
    code = "426783006"
    wrong = code[:position] + str(digit) + code[position + 1 :]

    assert diagnosis_codes(wrong) == ((f"sct:{code}",) if wrong == code else ())


@given(st.integers(0, 7))
def test_two_swapped_digits_are_always_found_out(position):
    code = "426783006"
    swapped = code[:position] + code[position + 1] + code[position] + code[position + 2 :]

    assert diagnosis_codes(swapped) == ((f"sct:{code}",) if swapped == code else ())


@pytest.mark.real_data
def test_every_code_of_the_challenge_headers_passes(real_data):
    headers = sorted((real_data / "challenge12").glob("*.hea"))
    lines = [
        line for header in headers for line in header.read_text().splitlines() if line.startswith(("#Dx:", "# Dx:"))
    ]
    codes = [code.strip() for line in lines for code in line.partition(":")[2].split(",") if code.strip()]

    kept = [kept for code in codes for kept in diagnosis_codes(code)]

    assert len(codes) > 40
    assert kept == [f"sct:{code}" for code in codes]
