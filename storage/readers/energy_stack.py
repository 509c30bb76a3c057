"""Files that hold the frames of several energies in one array (E, P, ny, nx), taken apart into one measurement an energy."""

from collections.abc import Callable

import numpy as np

from storage.readers.fields import ENERGY_SPREAD
from storage.readers.images import MAX_IMAGES, StackImage
from storage.readers.record import DAMAGE, Node
from storage.readers.stack import RasterRow

Find = Callable[[str], Node | None]


def split_energies(find: Find, frames: tuple[str, ...], energies: tuple[str, ...], further: tuple[str, ...]) -> list[Find]:
    """One function like ``find`` for each energy of a stack; ``find`` alone where the file holds a single energy.

    A stack has four dimensions and as many energies, which differ, as its first is long; else it is a raster in rows. Of what
    is at ``further`` paths, such as positions (E, P, 2), an energy gets its own part where there is one for each.
    """
    node = next((found for path in frames if (found := find(path)) is not None), None)
    energy = next((found for path in energies if (found := find(path)) is not None), None)
    if node is None or energy is None or len(node.shape) != 4 or tuple(energy.shape) != (node.shape[0],):
        return [find]
    n = int(node.shape[0])
    if not 1 < n <= MAX_IMAGES or energy.dtype.kind not in "iuf" or not _differ(energy):
        return [find]

    def part(index: int) -> Find:
        def find_part(path: str) -> Node | None:
            found = find(path)
            if found is None:
                return None
            if path in frames:
                return RasterRow(found, index) if len(found.shape) == 4 else found
            if path in energies:
                return StackImage(found, index) if tuple(found.shape) == (n,) else found
            return StackImage(found, index) if path in further and len(found.shape) == 3 and found.shape[0] == n else found

        return find_part

    return [part(index) for index in range(n)]


def _differ(energy: Node) -> bool:
    try:
        values = np.asarray(energy[()], np.float64)
    except DAMAGE:
        return False
    return bool(np.isfinite(values).all() and np.ptp(values) > ENERGY_SPREAD * abs(float(np.median(values))))
