"""verify: is every byte of a root the one that was written, and what is to be done where one is not.

Without `read_data`: names, sizes, manifests, model descriptions, logs and what the runs vouch for. With it: every byte.
Reading is streaming: in memory are a few objects, the lists of live files, 16 bytes per key of a table, and what was found.

Not looked at: pages (`reports/`), which are made again from the tables; announcements of gc (`.gc/`) and probes of a store
(`.doctor/`), whose bytes say nothing that lasts, so that they are only counted; whatever other software put into the root.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain

from cardioclarity.config import VerifyConfig
from cardioclarity.segments import freeing
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import audit, catalog, lineage
from cardioclarity.tables.audit import Opened
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.verify import repair
from cardioclarity.verify.agreement import disagreements
from cardioclarity.verify.findings import Damage, Spares, Verified, settled
from cardioclarity.verify.models import check_models
from cardioclarity.verify.signals import check_segments, in_part
from cardioclarity.verify.tables import check_contents, check_files, check_logs, live_files, trained

__all__ = ["Damage", "Verified", "verify"]

log = logging.getLogger(__name__)


def verify(config: VerifyConfig) -> Verified:
    """Check a root, and mend what can be mended without loss where that is asked for.

    Raises:
        NotFoundError: There is no such root.
        CardioClarityError: Other software keeps a Delta table there.
        StorageError: The store did not answer. An object that cannot be read now may be sound: nothing is concluded.
        DamageError: A repair is asked for and a log is damaged, so that nothing that it says can be acted upon.
    """
    root = open_storage(config.root, config.root_storage)
    if next(root.list("tables/"), None) is None:
        catalog.require_root(root)
    opened = audit.open_all(root)
    _require_ours(root, opened)
    spares = Spares()
    n_objects = 0
    by_key: dict[str, Damage] = {}
    for found_in, found in _parts(root, config, opened, spares, by_key):
        n_objects += found_in
        for damage in found:
            log.debug("%s: %s", damage.problem, damage.key)
            if damage.key not in by_key or (damage.found and not by_key[damage.key].found):
                by_key[damage.key] = damage
    verified = Verified(objects=n_objects, damaged=settled(by_key.values()), unreferenced=spares.by_kind())
    return repair.mend(root, config, verified) if config.repair else verified


def _require_ours(root: Storage, opened: Opened) -> None:
    """Say in one sentence that a place is no root, instead of calling all that it lacks damage.

    A root that has lost the logs of all its tables still has what its runs vouched for, or segments: that is damage.
    """
    kinds = {table.kind if isinstance(table, audit.Problem) else "ours" for table in opened.values()}
    has_traces = any(next(root.list(folder), None) for folder in (f"{lineage.FOLDER}/", "segments/"))
    if kinds <= {"missing", "foreign"} and not has_traces:
        catalog.require_root(root)


def _parts(
    root: Storage, config: VerifyConfig, opened: Opened, spares: Spares, known: Mapping[str, Damage]
) -> Iterator[tuple[int, list[Damage]]]:
    """Go through a root: number of objects and damage, part by part; `known` grows by each of them."""
    live = live_files(opened)
    reads = partial(_reads, config)
    # What takes all rows together is done with the first part, where only a part of the bytes is read. It reads every file
    # of the tables, and those of the catalog are read with their segments: nobody else need do so.
    reads_rows = config.read_data and config.part[0] == 1
    yield from check_logs(root, spares=spares)
    for table, files in live.items():
        chosen = _none if reads_rows or table == "records" else reads
        yield len(files), list(check_files(root, table, files, chosen=chosen, spares=spares))
    if "records" in live:
        catalogued = [file for file in live["records"] if file.key not in known]
        yield from check_segments(root, catalogued, chosen=reads, spares=spares)
    used = {str(file.partition["model_id"]) for file in live.get("scores", ())}
    made = trained(root, live.get("runs", ()))
    yield from check_models(root, used=used, trained=made, chosen=reads, spares=spares)
    yield 0, list(check_contents(root, opened, live, read_data=reads_rows))
    if len(live) == len(SCHEMAS) and not any(d.table in {"records", "sources", "quarantine"} for d in known.values()):
        yield 0, list(disagreements(root, live, read_data=reads_rows))
    for kind, listing in {
        "probes": chain(root.list(".doctor/"), root.list(freeing.FOLDER)),
        "temporary files": root.leftovers(),
    }.items():
        for listed in listing:
            spares.add(kind, listed.size)


def _none(_: str) -> bool:
    return False


def _reads(config: VerifyConfig, key: str) -> bool:
    """Tell whether the bytes behind a key are read this time."""
    return config.read_data and in_part(config.part, key)
