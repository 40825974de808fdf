"""What a store said to another library, read out of that library's message."""

import re
from collections.abc import Mapping
from typing import Final

from cardioclarity.storage.answers import Silence, StoreError
from cardioclarity.storage.folder import Folder

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_STATUS: Final = re.compile(r"^\W*([345]\d\d) [A-Z][A-Za-z ]+$", re.MULTILINE)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_NUMBER: Final = re.compile(r"\bos error (\d+)|\bcode: (\d+)")
_SILENCES: Final[Mapping[str, Silence]] = {
    "tcp connect error": Silence.UNREACHABLE,
    "dns error": Silence.UNREACHABLE,
    "timed out": Silence.TIMEOUT,
    "connection reset": Silence.CUT_SHORT,
    "before message": Silence.CUT_SHORT,
    "reading a body": Silence.CUT_SHORT,
}


def heard(message: str, url: str) -> str | None:
    """Say what went wrong and what to do, as our own requests would say it; None where the message does not tell.

    Args:
        message: The whole text of an error of deltalake.
        url: Where it was at work, `Storage.url`.
    """
    text = _COLOURS.sub("", message)
    if url.startswith("s3://"):
        error = _answer(text) or _silence(text)
        return None if error is None else error.sentence()
    number = _NUMBER.search(text)
    return None if number is None else Folder.trouble(OSError(int(number[1] or number[2]), ""))


def is_refused(message: str) -> bool:
    """Tell whether a store refused access, by credentials that are no older than they may be: it will do so again.

    Args:
        message: As for `heard`.
    """
    error = _answer(_COLOURS.sub("", message))
    return error is not None and error.status in {401, 403} and not error.is_expired


def _answer(text: str) -> StoreError | None:
    status, code = _STATUS.search(text), _CODE.search(text)
    return None if status is None else StoreError(int(status[1]), code[1] if code else status[0].strip(" ↳"))


def _silence(text: str) -> StoreError | None:
    silence = next((silence for words, silence in _SILENCES.items() if words in text.lower()), None)
    return None if silence is None else StoreError(None, silence)
