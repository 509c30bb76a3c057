"""Places that are folders."""

from pathlib import Path

from storage.location import Location


def on_disk(place: Location) -> Path:
    """The same place, which is on a file system."""
    assert isinstance(place, Path)
    return place
