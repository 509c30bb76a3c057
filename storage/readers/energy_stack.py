"""Files that hold the frames of several energies in one array (E, P, ny, nx), taken apart into one measurement an energy."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from storage.readers.fields import ENERGY_SPREAD
from storage.readers.images import MAX_IMAGES, StackImage
from storage.readers.record import DAMAGE, Node, ScanSource
from storage.readers.stack import RasterRow

Find = Callable[[str], Node | None]


def split_energies(
    find: Find, frames: tuple[str, ...], energies: tuple[str, ...], further: Mapping[str, tuple[int, ...]]
) -> list[Find]:
    """One function like ``find`` for each energy of a stack; ``find`` alone where the file holds a single energy.

    A stack has four dimensions and as many energies, which differ, as its first is long; else it is a raster in rows. Of what
    is at ``further`` paths, such as positions (E, P, 2) or distances (E,), an energy gets its own part where there is one for
    each: where the array is E long and has one of the numbers of dimensions that the path is given with.
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
            of_each = len(found.shape) in further.get(path, ()) and found.shape[0] == n
            return StackImage(found, index) if of_each else found

        return find_part

    return [part(index) for index in range(n)]


def told_of_probes(find: Find, paths: tuple[str, ...], sources: list[ScanSource]) -> list[ScanSource]:
    """The sources of a stack, with a warning where its probes could be modes of one beam or one of each energy."""
    probe = next((found for path in paths if (found := find(path)) is not None), None)
    n = len(sources)
    if n == 1 or probe is None or len(probe.shape) != 3 or probe.shape[0] != n:
        return sources
    warning = f"the file has {n} probes for {n} energies: each is taken for that of its energy, not for a mode of one beam"
    return [replace(source, warnings=(*source.warnings, warning)) for source in sources]


def _differ(energy: Node) -> bool:
    try:
        values = np.asarray(energy[()], np.float64)
    except DAMAGE:
        return False
    return bool(np.isfinite(values).all() and np.ptp(values) > ENERGY_SPREAD * abs(float(np.median(values))))
