"""The MIT-BIH Arrhythmia Database as the reference library reads it, and protocols of `evaluate` on some of its records."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import wfdb

from cardioclarity import evaluation
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import load
from cardioclarity.evaluation.results import Metric
from cardioclarity.evaluation.subjects import gather
from cardioclarity.record import Annotations, Record, content_id
from cardioclarity.storage import open_storage
from cardioclarity.vocabulary import LEAD_ORDER, RHYTHMS, canonical_lead

# de Chazal 2004. 201 is the same patient as 202, which stands in the other half: no patient is on two sides here.
DEVELOPMENT = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)


class NoDataError(Exception):
    """The real ECGs are not on this machine."""


def archive() -> Path:
    """The folder of MIT-BIH: beside the checkout, unless `CARDIOCLARITY_DATA` says otherwise.

    Raises:
        NoDataError: It is not there.
    """
    default = Path(__file__).parents[1] / "../shared/data"
    folder = Path(os.environ.get("CARDIOCLARITY_DATA") or default).resolve() / "mitdb"
    if not folder.is_dir():
        raise NoDataError("no real ECGs: set CARDIOCLARITY_DATA to a folder that holds mitdb/")
    return folder


def evaluate(protocol: str, archives: Sequence[Path], names: Sequence[str]) -> dict[tuple[str, str], Metric]:
    """Run a protocol that draws nothing on some records.

    Args:
        protocol: Its name.
        archives: Folders of the databases.
        names: Records of the first one.

    Returns:
        Name and subset of a figure → the figure.
    """
    chosen = replace(load(protocol), folded=tuple(names))
    stores = [open_storage(str(archive)) for archive in archives]
    found = evaluation.run(chosen, gather(chosen, stores), stores, Plan(seeds=(0,), detectors=()))
    return {(one.name, one.subset): one for one in found.metrics}


def headers(folder: Path) -> list[Path]:
    """The headers of a folder, in order."""
    return sorted(folder.glob("*.hea"))


def name(header: Path) -> str:
    """What wfdb calls a record."""
    return str(header.with_suffix(""))


def read(header: Path) -> Record:
    """Read a record; its leads come in canonical order."""
    source = wfdb.rdrecord(name(header), physical=False, return_res=16)
    leads = {lead: at for at, stored in enumerate(source.sig_name) if (lead := canonical_lead(stored))}
    names = tuple(sorted(leads, key=LEAD_ORDER.__getitem__))
    order = [leads[lead] for lead in names]
    signal = np.ascontiguousarray(source.d_signal.T[order])
    return Record(
        record_id=content_id(signal=signal, rate_hz=float(source.fs), leads=names, salt=""),
        rate_hz=float(source.fs),
        leads=names,
        source_leads=tuple(source.sig_name[at] for at in order),
        signal=signal,
        gain=np.array(source.adc_gain, np.float64)[order],
        baseline=np.array(source.baseline, np.float64)[order],
        annotations=_annotations(header),
    )


def _annotations(header: Path) -> Annotations:
    marks = wfdb.rdann(name(header), "atr")
    texts = [text.strip("\0").strip() for text in marks.aux_note]
    return Annotations(
        sample=np.array(marks.sample, np.int64),
        symbol=tuple(marks.symbol),
        aux=tuple(text if text[1:] in RHYTHMS else "" for text in texts),
    )
