"""What may be known about a patient: keyed pseudonyms and an allow-list; all else stays in the file."""

import hashlib
import hmac
import re
from typing import Final

MAX_AGE: Final = 90
"""Ages from here on share one bucket (45 CFR 164.514(b)(2)(i)(C))."""

_LONGEST_LIFE: Final = 129
_PTB_XL_AGE: Final = 300
_AGE: Final = re.compile(r"(\d{1,3})(?:\.\d{1,6})?\s*(?:y|yrs?|years?)?", re.ASCII | re.IGNORECASE)
_SEXES: Final = {
    **dict.fromkeys(("f", "female", "woman"), "F"),
    **dict.fromkeys(("m", "male", "man"), "M"),
    **dict.fromkeys(("o", "other", "diverse"), "other"),
}
_CODE_SEPARATOR: Final = re.compile(r"[\s,;]+")
_SNOMED: Final = re.compile(r"[1-9]\d{3,15}[01]0\d", re.ASCII)
_DIHEDRAL: Final = tuple(
    tuple((i + j) % 5 if i < 5 and j < 5 else 5 + (i + j) % 5 if i < 5 else 5 + (i - j) % 5 if j < 5 else (i - j) % 5
          for j in range(10))
    for i in range(10)
)  # fmt: skip
_PERMUTATION: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def pseudonym(source_id: str, key: bytes) -> str:
    """Name a patient by a keyed hash of the source's own id; without the key it cannot be found by trying ids.

    Args:
        source_id: The id as the source writes it.
        key: The deployment's secret, not empty.

    Returns:
        32 hexadecimal digits of HMAC-SHA256.
    """
    assert key, "an empty key protects nothing"
    return hmac.new(key, source_id.encode(), hashlib.sha256).hexdigest()[:32]


def age(text: str) -> int | None:
    """Read an age in whole years.

    Args:
        text: As found, such as ``75``, ``75.5``, ``NaN``, or ``300`` as PTB-XL writes every age above 89.

    Returns:
        0 to 90, where 90 stands for 90 and above; None where the text is no plausible age.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = int(match[1])
    if years > _LONGEST_LIFE and years != _PTB_XL_AGE:
        return None
    return min(years, MAX_AGE)


def sex(text: str) -> str | None:
    """Read a sex: ``F``, ``M``, ``other``, or None where the text says nothing we know."""
    return _SEXES.get(text.strip().lower())


def diagnosis_codes(text: str) -> tuple[str, ...]:
    """Keep the SNOMED CT codes of a list; a record number or a name passes neither form nor check digit.

    Args:
        text: Codes separated by commas, semicolons or blanks, such as ``426783006,164934002``.

    Returns:
        ``sct:`` and the code, each once, in the order found.

    Source: SNOMED CT Release File Specification, "SCTID": partition 00 or 10 (a concept), Verhoeff check digit.
    """
    codes = _CODE_SEPARATOR.split(text)
    return tuple(dict.fromkeys(f"sct:{code}" for code in codes if _SNOMED.fullmatch(code) and _verhoeff_holds(code)))


def _verhoeff_holds(digits: str) -> bool:
    """Check the last digit: products in the dihedral group of order 10, each place permuted once more than the last."""
    check = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        for _ in range(place % 8):
            digit = _PERMUTATION[digit]  # noqa: PLW2901 - the permuted digit is the digit
        check = _DIHEDRAL[check][digit]
    return check == 0
