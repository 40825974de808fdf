"""The settings of each verb: frozen dataclasses that the command line, Prefect and notebooks fill in alike."""

import dataclasses
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Literal

from cardioclarity.errors import UsageError

DEFAULT_ROOT = "./cardioclarity-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOptions:
    """How to reach an object store. Secrets come from the environment or the AWS chain, never from here.

    Attributes:
        endpoint_url: Address of an S3-like store, such as ``https://s3.example.org:9000``; the AWS environment decides
            where empty.
        region: Region name; the AWS environment decides where empty.
        profile: AWS profile whose credentials, endpoint and region are used; the AWS environment decides where empty.
        addressing_style: ``path`` (host/bucket/key) or ``virtual`` (bucket.host/key); where empty, path for a store of
            one's own.
        anon: Read a public bucket without credentials.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing_style: Literal["path", "virtual"] | None = None
    anon: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, and an address with credentials in it: settings are stored and shown."""
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url)
        if self.addressing_style not in {None, "path", "virtual"}:
            raise UsageError(f"addressing style {self.addressing_style!r}: give path or virtual")
        if self.anon and self.profile:
            raise UsageError(f"profile {self.profile!r} and anonymous reading exclude each other: give one of them")


def check_endpoint(url: str) -> None:
    """Refuse what is no address of a store.

    Raises:
        UsageError: It has no scheme or no host, or holds credentials.
    """
    if "@" in url:
        raise UsageError(
            "an endpoint never holds credentials (…@…); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    scheme, _, host = url.partition("://")
    if scheme not in {"http", "https"} or not host:
        raise UsageError(f"endpoint {url!r} is no address: give one like https://host:port")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelConfig:
    """Where the units run.

    Attributes:
        workers: Local worker processes; 0 runs in this process, None decides by the amount of work.
        scheduler: Address of a running Dask scheduler, such as ``tcp://127.0.0.1:8786``.
    """

    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.workers is not None and self.scheduler is not None:
            raise UsageError("--workers and --scheduler exclude each other: a scheduler brings its own workers")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers}: give 0 for this process or the number of worker processes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertConfig:
    """Settings of `convert`.

    Attributes:
        archive: URL or folder of the ECG files.
        root: URL or folder of the deployment.
        archive_storage: How to reach the archive.
        root_storage: How to reach the root.
        retry_quarantined: Try again what was set aside and has not changed since.
        patients: CSV file with the columns source_key (a header's key in the archive) and patient.
        max_records: Convert at most so many new records, in the order of their keys.
    """

    archive: str
    root: str
    archive_storage: StorageOptions = field(default_factory=StorageOptions)
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    retry_quarantined: bool = False
    patients: str | None = None
    max_records: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that cannot be meant."""
        if self.max_records is not None and self.max_records < 1:
            raise UsageError(f"max_records {self.max_records}: give at least 1, or leave it out for all")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of `train`.

    Attributes:
        root: URL or folder of the deployment.
        root_storage: How to reach it.
        detectors: Names of the beat detectors to fit; the default ensemble where empty.
        seed: Makes the fit repeatable on a CPU.
        champion: Make the new model the champion even where the root has one.
        max_records: Train on at most so many records, drawn by the seed.
        minutes_per_record: Of a longer record only its beginning is used.
        max_hours: Train on at most so many hours in all; the fit holds about 9 MB per hour of two leads in memory.
    """

    root: str
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    detectors: tuple[str, ...] = ()
    seed: int = 0
    champion: bool = False
    max_records: int = 2000
    minutes_per_record: float = 60.0
    max_hours: float = 200.0

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be meant."""
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: give 0 or more")
        if self.max_records < 1:
            raise UsageError(f"max_records {self.max_records}: give at least 1")
        for name in ("minutes_per_record", "max_hours"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} {getattr(self, name)}: give a positive number")


JUDGEMENT = (
    *("alarms_per_hour", "rhythm_alarms_per_hour", "tachycardia_bpm", "bradycardia_bpm", "pause_s", "rate_change"),
)
"""The settings of `score` that decide, from the same evidence, what is an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Settings of `score`; the limits are those for adults, and where they are left so, a child has those of its age.

    Source: 2018 ACC/AHA/HRS bradycardia guideline (10.1161/CIR.0000000000000628): bradycardia < 50 bpm, pauses.

    Attributes:
        root: URL or folder of the deployment.
        root_storage: How to reach it.
        model: Id of the model; the champion where empty.
        alarms_per_hour: Accepted false alarms of the beat head, per hour of normal ECG.
        rhythm_alarms_per_hour: The same for the rhythm head.
        tachycardia_bpm: A window whose mean rate is above is tachycardia.
        bradycardia_bpm: A window whose mean rate is below is bradycardia.
        pause_s: An RR interval of at least this length is a pause.
        rate_change: A rate that changes by more than this ratio from eight beats to the next eight is an abrupt change.
    """

    root: str
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    model: str | None = None
    alarms_per_hour: float = 1.0
    rhythm_alarms_per_hour: float = 1.0 / 24
    tachycardia_bpm: float = 100.0
    bradycardia_bpm: float = 50.0
    pause_s: float = 2.0
    rate_change: float = 1.4

    def __post_init__(self) -> None:
        """Refuse levels and limits that cannot be meant."""
        for name in JUDGEMENT:
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} {getattr(self, name)}: give a positive number")
        if self.bradycardia_bpm >= self.tachycardia_bpm:
            raise UsageError(
                f"bradycardia_bpm {self.bradycardia_bpm} must be below tachycardia_bpm {self.tachycardia_bpm}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Settings of `report`.

    Attributes:
        root: URL or folder of the deployment.
        root_storage: How to reach it.
        run: Id of the scoring run to show; the latest where empty.
        output: File or URL of the page; below the root's `reports/` where empty.
        max_events: How many events get a strip.
    """

    root: str
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    run: str | None = None
    output: str | None = None
    max_events: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Settings of `evaluate`.

    Attributes:
        protocol: Name of a protocol that comes with the software, or path of a file of splits.
        archives: URLs or folders of the database's files.
        archive_storage: How to reach them.
        root: URL or folder of the deployment that holds the model; needed with a model only.
        root_storage: How to reach it.
        model: Id of a model to evaluate, in place of the protocol's own fits.
        seeds: How many fits with seeds 0, 1, … are averaged.
        detectors: Names of the beat detectors of the fit; empty: the default ensemble, and every other one beside it.
        also: URLs or folders of further archives whose normal hearts every fit learns from too.
        unlabelled: Fit as if no record said which of its beats are normal.
    """

    protocol: str
    archives: tuple[str, ...]
    archive_storage: StorageOptions = field(default_factory=StorageOptions)
    root: str = ""
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    model: str | None = None
    seeds: int = 1
    detectors: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unlabelled: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if not self.archives:
            raise UsageError("evaluate: give the folder or URL of the database with --archive")
        if self.seeds < 1:
            raise UsageError(f"seeds {self.seeds}: give at least 1")
        if self.model is not None and self.seeds != 1:
            raise UsageError("--model and --seeds exclude each other: the model is fitted already")
        if self.model is not None and self.detectors:
            raise UsageError("--model and --detector exclude each other: the model has its own detectors")
        for flag, is_given in (("--also", bool(self.also)), ("--unlabelled", self.unlabelled)):
            if self.model is not None and is_given:
                raise UsageError(f"--model and {flag} exclude each other: the model is fitted already")


_SUBSET = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """Settings of `verify`.

    Attributes:
        root: URL or folder of the deployment.
        root_storage: How to reach it.
        read_data: Read every byte; only names, sizes, manifests and logs without.
        subset: ``k/n`` reads the k-th of n parts, so that n nights read everything once.
        repair: Remove what is damaged, so that the next `convert` and `score` make it again.
    """

    root: str
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    read_data: bool = False
    subset: str | None = None
    repair: bool = False

    def __post_init__(self) -> None:
        """Refuse a part that there is not, or a part of nothing."""
        k, n = self.part
        if k > n:
            raise UsageError(f"subset {self.subset!r}: there is no part {k} of {n}; give one from 1/{n} to {n}/{n}")
        if self.subset is not None and not self.read_data:
            raise UsageError(f"subset {self.subset!r} is a part of the bytes: give --read-data with it")

    @property
    def part(self) -> tuple[int, int]:
        """Which part of how many is read.

        Raises:
            UsageError: The subset is no ``k/n``.
        """
        if self.subset is None:
            return 1, 1
        match = _SUBSET.fullmatch(self.subset)
        if match is None:
            raise UsageError(f"subset {self.subset!r}: give it as k/n, such as 1/7")
        return int(match[1]), int(match[2])


Config = ConvertConfig | TrainConfig | ScoreConfig | ReportConfig | VerifyConfig


def default_root() -> str:
    """Name the root that is meant where none is given: `CARDIOCLARITY_ROOT`, else `./cardioclarity-data`."""
    return os.environ.get("CARDIOCLARITY_ROOT") or DEFAULT_ROOT


def as_json(config: Config) -> str:
    """Write a configuration as canonical JSON; it holds no secret because no dataclass here has one."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True, separators=(",", ":"))


def digest(config: Config) -> str:
    """Digest a configuration, for lineage."""
    return hashlib.sha256(as_json(config).encode()).hexdigest()[:16]
