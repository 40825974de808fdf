"""How a command reaches its stores: the same options for the root and for the archive, under their own names."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cardioclarity.config import StorageOptions

Addressing = Literal["path", "virtual"]


@Parameter(name="*", group="Object store of the root (the AWS environment alone suffices)")
@dataclass(frozen=True, slots=True, kw_only=True)
class RootStorage:
    """How to reach the root. Credentials come from the AWS environment or profile, never from an option.

    Attributes:
        root_endpoint_url: Address of an S3-like store, such as https://s3.example.org.
        root_region: Region of the bucket.
        root_profile: Profile of ~/.aws whose credentials and settings are used.
        root_addressing_style: Name the bucket in the path or in the host name; path where an endpoint is given.
        root_anon: Read a public bucket without credentials.
    """

    root_endpoint_url: str | None = None
    root_region: str | None = None
    root_profile: str | None = None
    root_addressing_style: Addressing | None = None
    root_anon: bool = False

    @property
    def options(self) -> StorageOptions:
        """The options under the names that a storage knows."""
        return StorageOptions(
            endpoint_url=self.root_endpoint_url,
            region=self.root_region,
            profile=self.root_profile,
            addressing_style=self.root_addressing_style,
            anon=self.root_anon,
        )


@Parameter(name="*", group="Object store of the archive (the AWS environment alone suffices)")
@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveStorage:
    """How to reach the archive, which may lie in another store than the root.

    Attributes:
        archive_endpoint_url: Address of an S3-like store, such as https://s3.example.org.
        archive_region: Region of the bucket.
        archive_profile: Profile of ~/.aws whose credentials and settings are used.
        archive_addressing_style: Name the bucket in the path or in the host name; path where an endpoint is given.
        anon: Read a public bucket without credentials.
    """

    archive_endpoint_url: str | None = None
    archive_region: str | None = None
    archive_profile: str | None = None
    archive_addressing_style: Addressing | None = None
    anon: Annotated[bool, Parameter(name=("--archive-anon", "--anon"))] = False

    @property
    def options(self) -> StorageOptions:
        """The options under the names that a storage knows."""
        return StorageOptions(
            endpoint_url=self.archive_endpoint_url,
            region=self.archive_region,
            profile=self.archive_profile,
            addressing_style=self.archive_addressing_style,
            anon=self.anon,
        )


ROOT_STORAGE = RootStorage()
"""Nothing given: the environment decides."""

ARCHIVE_STORAGE = ArchiveStorage()
"""Nothing given: the environment decides."""
