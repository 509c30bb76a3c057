"""Names of the formats that uploads may be in, from the tables of readers."""

from typing import Final

from storage.readers.format import READERS as SCAN_READERS
from storage.readers.image_format import READERS as IMAGE_READERS

SCAN_FORMATS: Final = tuple(reader.name for reader in SCAN_READERS)
"""Formats of measurements, in the order in which they are tried."""
IMAGE_FORMATS: Final = tuple(reader.name for reader in IMAGE_READERS)
"""Formats of images, in the order in which they are tried."""
