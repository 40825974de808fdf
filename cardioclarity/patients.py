"""The patients file: who is who where the ECG files do not say it; a raw id never leaves this module."""

import csv
import io
import logging
import os
from collections.abc import Iterator
from typing import Final

from cardioclarity.config import StorageOptions
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.readers import deidentify
from cardioclarity.storage import open_storage

log = logging.getLogger(__name__)

PATIENT_KEY_VARIABLE: Final = "CARDIOCLARITY_PATIENT_KEY"
"""Environment variable that holds the secret of the pseudonyms."""


def read(file: str, options: StorageOptions = StorageOptions()) -> Iterator[tuple[str, str]]:  # noqa: B008 - frozen
    """Read a CSV file with the columns `source_key` and `patient`: its text whole, its lines one by one.

    Args:
        file: Path or URL.
        options: How to reach its store.

    Yields:
        Key of a record's header in the archive, and the pseudonym of its patient, empty where the line names none.
        Nothing, with a warning, where the environment has no secret: then nobody is told apart.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is not UTF-8, is no CSV file, or lacks a column.
        StorageError: The store did not answer.
        DataError: The store's bytes are not those that were put there.
    """
    folder, slash, name = file.rpartition("/")
    try:
        text = open_storage(folder + slash or ".", options).fetch_checked(name or ".").decode("utf-8-sig")
    except (FileNotFoundError, AssertionError):
        raise NotFoundError(f"patients file {file} does not exist") from None
    except UnicodeDecodeError:
        raise UsageError(f"patients file {file} is not UTF-8; save it as UTF-8") from None
    rows = csv.DictReader(io.StringIO(text), restval="")
    try:
        if not {"source_key", "patient"} <= set(rows.fieldnames or ()):
            raise UsageError(f"patients file {file}: its first line must name the columns source_key and patient")
        secret = os.environ.get(PATIENT_KEY_VARIABLE)
        if not secret:
            log.warning("patients file ignored: set %s to a secret, so that ids can be hashed", PATIENT_KEY_VARIABLE)
            return
        for row in rows:
            patient = row["patient"].strip()
            yield row["source_key"], deidentify.pseudonym(patient, secret.encode()) if patient else ""
    except csv.Error as error:
        raise UsageError(
            f"patients file {file} is no CSV file from line {rows.line_num} on: {error}; often a quote is not closed"
        ) from None
