"""The flow `train`: a model from the normal beats of the root."""

from prefect import flow
from prefect.client.schemas.objects import State

from cardioclarity.config import ParallelConfig, TrainConfig
from cardioclarity.train import TRAIN
from flows import steps


@flow(name="train", persist_result=False, retries=0)
def train(  # noqa: PLR0913, PLR0917 - Prefect shows one form field per parameter
    root: str,
    detector: tuple[str, ...] = (),
    seed: int = 0,
    champion: bool = False,  # noqa: FBT001, FBT002
    max_records: int = 2000,
    minutes_per_record: float = 60.0,
    max_hours: float = 200.0,
    workers: int | None = None,
    scheduler: str | None = None,
    root_endpoint_url: str | None = None,
    root_region: str | None = None,
    root_profile: str | None = None,
    root_addressing_style: steps.Addressing | None = None,
) -> State[None]:
    """Fit and calibrate a model; it becomes champion where the root has none, or where asked.

    Args:
        root: URL or absolute folder of the deployment.
        detector: Names of the detectors to fit; the default ensemble without.
        seed: Makes the fit repeatable on a CPU.
        champion: Make it the champion even where the root has one.
        max_records: Train on at most so many records, drawn by the seed.
        minutes_per_record: Of a longer record only its beginning is used.
        max_hours: Train on at most so many hours in all; about 9 MB of memory each.
        workers: Local worker processes that prepare the records; 0 works in the flow's process.
        scheduler: Address of a running Dask scheduler.
        root_endpoint_url: Address of the S3-like store of the root; the worker's AWS environment decides where empty.
        root_region: Region of its bucket.
        root_profile: Profile in the worker's AWS configuration, for credentials of its own.
        root_addressing_style: Name the bucket in the path or in the host name; path where an endpoint is given.
    """
    config = TrainConfig(
        root=steps.absolute(root, "root"),
        root_storage=steps.storage(root_endpoint_url, root_region, root_profile, root_addressing_style),
        detectors=tuple(detector),
        seed=seed,
        champion=champion,
        max_records=max_records,
        minutes_per_record=minutes_per_record,
        max_hours=max_hours,
    )
    return steps.ended(steps.drive(TRAIN, config, ParallelConfig(workers=workers, scheduler=scheduler)))


if __name__ == "__main__":
    steps.command_line(train)
