"""Datasets on disk: one specimen's scans, each visible whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import remove_tree, staged
from storage.datasets.dataset_kind import holds_images
from storage.datasets.folder import DatasetFolder
from storage.datasets.images import read_image
from storage.datasets.ingest import Check
from storage.datasets.scans import (
    NAME,
    ScanInfo,
    check_name,
    digest_of_path,
    folders_in,
    scan_stamp_of,
    stamp_of,
    write_attributes,
)
from storage.datasets.stored_scan import find_scan_damage, read_mask, read_stored
from storage.datasets.upload import Ingested, Upload
from storage.errors import (
    DatasetDamagedError,
    DatasetExistsError,
    DatasetNotFoundError,
)
from storage.layout import DATASET
from storage.location import Location, zarr_store


class DatasetStore:
    """Datasets below one folder, or one prefix of an object store.

    Any number of processes of one machine may add scans at once. Everything raised is a ``StorageError``.
    """

    def __init__(self, root: Location) -> None:
        self.root = root

    def create(self, dataset_id: str, attributes: Mapping[str, Any]) -> None:
        """Make an empty, open dataset.

        Raises
        ------
        InvalidNameError, DatasetExistsError
        """
        path = self.root / check_name(dataset_id)
        try:
            with staged(path) as temporary:
                group = zarr.create_group(store=temporary, overwrite=True, attributes={**attributes, "sealed": False})
                group.create_group("scans")
        except FileExistsError as error:
            raise DatasetExistsError(f"dataset {dataset_id} is already there") from error

    @property
    def is_shared(self) -> bool:
        """Whether others may write here, as into any folder; an object store's prefix is the service's alone."""
        return isinstance(self.root, Path)

    def ids(self) -> list[str]:
        """Names of all datasets."""
        return folders_in(self.root) if self.root.is_dir() else []

    def is_dataset(self, dataset_id: str) -> bool:
        """Whether the folder of that name is a dataset, whole or damaged, and not something that lies beside them."""
        path = self.root / dataset_id
        return NAME.fullmatch(dataset_id) is not None and ((path / "zarr.json").exists() or (path / "scans").is_dir())

    def changed(self, dataset_id: str) -> float:
        """When the folder of a dataset last changed [s since 1970]."""
        return self._path(dataset_id).stat().st_mtime

    def stamp(self, dataset_id: str) -> str:
        """Size and time of a dataset's description, which change whenever it is written; "" where it is missing."""
        return stamp_of(self.root / check_name(dataset_id), ("zarr.json",))

    def scan_stamp(self, dataset_id: str, name: str) -> str:
        """Sizes and times of a scan's descriptions; "" where one is missing."""
        return scan_stamp_of(self.root / check_name(dataset_id) / "scans" / check_name(name))

    def scan_stamps(self, dataset_id: str) -> dict[str, str]:
        """Sizes and times of the descriptions of each scan, by its name; "" where one is missing.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        scans = self._path(dataset_id) / "scans"
        if isinstance(scans, Path):  # as text, for a path is slow to make for each of many scans
            return {name: scan_stamp_of(f"{scans}/{name}") for name in self.scan_names(dataset_id)}
        return {name: scan_stamp_of(scans / name) for name in self.scan_names(dataset_id)}

    def attributes(self, dataset_id: str) -> dict[str, Any]:
        """Attributes of a dataset as they were given, and ``sealed``.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        return self._folder(dataset_id).attributes()

    def is_sealed(self, dataset_id: str) -> bool:
        """Whether the dataset takes no more scans."""
        return self._folder(dataset_id).is_sealed()

    def scan_names(self, dataset_id: str) -> list[str]:
        """Names of all scans of a dataset.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        return self._folder(dataset_id).scan_names()

    def scan(self, dataset_id: str, name: str) -> ScanInfo:
        """What is known of one scan.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        return self._folder(dataset_id).scan(name)

    def scans(self, dataset_id: str) -> list[ScanInfo]:
        """All scans of a dataset, by ascending energy.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        return self._folder(dataset_id).scans()

    def add_scan(
        self,
        dataset_id: str,
        name: str,
        path: Path,
        *,
        check: Check | None = None,
        sha256: str | None = None,
        known: Sequence[ScanInfo] = (),
    ) -> Ingested:
        """Read a file of any known format into the dataset: all of its scans, or none.

        Parameters
        ----------
        dataset_id, name : str
            A file of several entries becomes ``name.1`` to ``name.n``.
        path : Path
            The file, or a folder of files that belong together.
        check : callable, optional
            Further checks of each scan.
        sha256 : str, optional
            `digest_of_path` the path, where it is known already.
        known : sequence of ScanInfo
            Scans of the dataset that the caller knows: they need not be read, however many there are.

        Raises
        ------
        InvalidScanError
            With everything found wrong, by field.
        ScanConflictError
            A scan of that name is there, from other bytes.
        DatasetSealedError, DatasetNotFoundError, InvalidNameError
        """
        dataset = self._folder(dataset_id)
        check_name(name)
        return Upload(dataset, name, sha256 or digest_of_path(path), known).add(path, check)

    def read_scan(self, dataset_id: str, name: str, orientation: int = 0) -> dict[str, Any]:
        """Read one scan; ``orientation`` turns its frames once more, block by block.

        Returns
        -------
        dict
            ``counts`` (P, N, N) uint16 or uint32, ``positions_m`` (P, 2) float64, ``mask`` (N, N) bool, ``probe``
            (M, N, N) complex64 or None, and the numbers ``energy_ev``, ``distance_m`` and ``detector_pixel_size_m``.

        Raises
        ------
        DatasetNotFoundError
        DatasetDamagedError
            The scan is not what was written.
        """
        return read_stored(self._folder(dataset_id).scan_path(name), orientation)

    def read_image(self, dataset_id: str, name: str) -> dict[str, NDArray[Any]]:
        """Read one image as `storage.datasets.images.read_image` returns it.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        return read_image(self._folder(dataset_id).scan_path(name))

    def verify(self, dataset_id: str) -> list[str]:
        """What is wrong with the files of a dataset; every byte of its scans is read.

        Raises
        ------
        DatasetNotFoundError
        """
        try:
            dataset = self._folder(dataset_id)
            dataset.attributes()
            return [fault for name in dataset.scan_names() for fault in find_scan_damage(dataset.scans_path / name)]
        except DatasetDamagedError as error:
            return [str(error)]

    def mask(self, dataset_id: str) -> NDArray[np.bool_]:
        """(N, N) bool, the pixels good at every energy.

        Raises
        ------
        DatasetNotFoundError
            No dataset of that name, or no scan in it.
        """
        dataset = self._folder(dataset_id)
        masks = [read_mask(dataset.scans_path / name) for name in dataset.scan_names()]
        if not masks:
            raise DatasetNotFoundError(f"dataset {dataset_id} has no scans")
        return np.asarray(np.logical_and.reduce(masks), bool)

    def seal(self, dataset_id: str) -> None:
        """Take no more scans, and write what all of them share; a second time changes nothing."""
        with self._folder(dataset_id).locked():
            attributes = self.attributes(dataset_id)
            infos = self.scans(dataset_id)
            shared: dict[str, Any] = {}
            if infos and not attributes["sealed"] and not holds_images(attributes):
                mask, spec = self.mask(dataset_id), DATASET[""]["mask"]
                group = zarr.open_group(store=zarr_store(self._path(dataset_id)), mode="r+")
                group.create_array("mask", data=mask, dimension_names=spec.dims, attributes=spec.attributes(), overwrite=True)
                lengths = {name: getattr(infos[0], name) for name in ("distance_m", "detector_pixel_size_m")}
                shared = {**lengths, "n_pixels": len(mask)}
            write_attributes(self._path(dataset_id), {**attributes, **shared, "sealed": True})

    def update(self, dataset_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace the attributes of a dataset by what ``change`` makes of them.

        Raises
        ------
        DatasetNotFoundError, DatasetDamagedError
        """
        with self._folder(dataset_id).locked():
            write_attributes(self._path(dataset_id), change(self.attributes(dataset_id)))

    def delete(self, dataset_id: str) -> None:
        """Remove a dataset; it disappears at once."""
        remove_tree(self._path(dataset_id))

    def _path(self, dataset_id: str) -> Location:
        path = self.root / check_name(dataset_id)
        if not path.is_dir():
            raise DatasetNotFoundError(f"there is no dataset {dataset_id}")
        return path

    def _folder(self, dataset_id: str) -> DatasetFolder:
        return DatasetFolder(self._path(dataset_id))
