"""The kinds of datasets."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

DatasetKind: TypeAlias = Literal["diffraction", "images"]
"""Diffraction patterns, to be reconstructed, or images that were reconstructed or measured elsewhere."""
IMAGES: Final[DatasetKind] = "images"


def holds_images(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes are those of a dataset of images, not of diffraction patterns."""
    return attributes.get("kind") == IMAGES
