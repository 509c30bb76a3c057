"""A scan as it came in, as a picture."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from service.errors import ConflictError
from storage.datasets.scans import ScanInfo
from storage.datasets.store import DatasetStore
from storage.errors import StorageError
from tasks.figures.dark import darken
from tasks.figures.measurement import measured_images, measurement
from tasks.figures.style import draw_whole_png
from tasks.gauge import absorption_and_phase


def draw_scan(store: DatasetStore, dataset_id: str, scan: ScanInfo, title: str, is_dark: bool = False) -> bytes:
    """PNG of one scan: its mean diffraction pattern and the positions of the probe; of an image, the image.

    Raises
    ------
    ConflictError
        The scan is damaged.
    """
    try:
        build = drawing_of(store, dataset_id, scan)
    except StorageError as error:
        raise ConflictError(f"scan {scan.name} of dataset {dataset_id} cannot be read: {error}") from error
    return draw_whole_png(title, lambda: darken(build()) if is_dark else build())


def drawing_of(store: DatasetStore, dataset_id: str, scan: ScanInfo) -> Callable[[], Figure]:
    """What draws a scan, or an image, whose arrays are read here."""
    if scan.image is None:
        stored = store.read_scan(dataset_id, scan.name)
        mean = stored["counts"].mean(axis=0, dtype=np.float64)
        return partial(measurement, mean, stored["mask"], stored["positions_m"])
    image = store.read_image(dataset_id, scan.name)
    seen = image["seen"]
    if "object" in image:
        absorption, phase = absorption_and_phase(image["object"], seen)
        return partial(measured_images, {"absorption": absorption, "phase": phase}, scan.image.pixel_size_m)
    return partial(measured_images, {"absorption": np.where(seen, image["absorption"], np.nan)}, scan.image.pixel_size_m)
