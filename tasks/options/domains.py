"""Options of the grouping of pixels into domains."""

from typing import Annotated, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.options.config import CONFIG

Descriptor = Literal[
    "edge_energy",
    "pre_edge_ratio",
    "electron_ratio",
    "edge_jump",
    "edge_width",
    "white_line_height",
    "white_line_energy",
    "pre_edge_energy",
    "pre_edge_height",
    "pre_edge_area",
    "edge_energy_half",
    "edge_energy_centroid",
]

DEFAULT_DESCRIPTORS: Final[tuple[Descriptor, ...]] = ("edge_energy", "pre_edge_ratio", "electron_ratio")
NEED_PHASE: Final = frozenset({"electron_ratio"})
"""Descriptors that absorption alone does not give."""


@dataclass(frozen=True, config=CONFIG)
class DomainOptions:
    """K-means grouping of pixels, pooled over the datasets of a run."""

    n_domains: Annotated[int, Field(ge=1, le=12)] = 6
    """Number of domains k."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of the k-means++ starts."""
    descriptors: Annotated[tuple[Descriptor, ...], Field(min_length=1)] = DEFAULT_DESCRIPTORS
    """Maps that span the space in which pixels are grouped; the default leaves out what ``fit.model`` does not have."""
    space: Literal["descriptors", "components"] = "descriptors"
    """Pixels are grouped by the ``descriptors``, or by scores of principal components of spectra in units of their jump."""
    n_components: Annotated[int, Field(ge=1, le=12)] = 4
    """Principal components that are kept: eigenspectra, score maps, and dimensions of the space ``components``."""
    n_factors: Annotated[int, Field(ge=0, le=12)] = 0
    """Non-negative factors of the spectra, published as spectra and maps of their weights; 0 for none."""
    standardise: Literal["error", "zscore"] = "error"
    """Divide each descriptor by its median measurement error, or by its spread over all pixels."""
    borders: Literal["settled", "kmeans"] = "settled"
    """A pixel on the border of two domains holds a part of each and may look like a third: ``settled`` gives lone pixels
    and lines to the nearer of the domains beside them, ``kmeans`` leaves them as they are."""
    replicates: Annotated[int, Field(ge=0, le=1000)] = 50
    """Bootstrap replicates behind the intervals of the fractions and the stability of the domains; 0 for none."""
