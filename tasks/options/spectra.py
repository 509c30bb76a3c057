"""Options of what is taken from spectra: fits, densities and ratios, and the compounds they are compared with."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.options.config import CONFIG

Signed = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)]
Formula = Annotated[str, Field(min_length=1, max_length=200)]

MOST_REFERENCES: Final = 8
"""Reference spectra of a run."""
MOST_REFERENCE_CHARACTERS: Final = 1 << 17
"""Characters of a reference's text."""


@dataclass(frozen=True, config=CONFIG)
class FitOptions:
    """What is taken from the spectrum of every pixel: least-squares fit of eq. 1, or of another model, or none."""

    model: Literal["eq1", "no_pre_edge", "two_pre_edges", "l3_l2", "none"] = "eq1"
    """``eq1`` describes K edges of 3d metals; ``no_pre_edge``: step and white line, wherever it lies; ``two_pre_edges``: eq. 1
    and another peak; ``l3_l2``: step and white line of either edge; ``none``: edge jump and energy by normalisation."""
    pre_edge_ev: tuple[Signed, Signed] | None = None
    """Window of the normalisation's line before the edge [eV from the steepest rise]; by default half of what is there."""
    post_edge_ev: tuple[Signed, Signed] | None = None
    """Window of the polynomial after the edge [eV from the steepest rise]; the last part of the spectrum where not given."""
    mask: Literal["jump", "paper"] = "jump"
    """Which pixels are kept: edge jump at least ``min_jump_to_sigma`` standard errors, or the paper's jump >= sigma of the
    points before the edge."""
    min_jump_to_sigma: Annotated[float, Field(gt=0)] = 10.0
    """Smallest edge jump, or white line with ``l3_l2``, in units of its noise, that mode ``jump`` keeps."""
    prior: Literal["population", "mean", "none"] = "population"
    """What each pixel may learn from the others about the widths and positions of its features, never about heights:
    ``population`` draws them as far as the specimen's pixels vary beyond their errors and leaves the edge energy alone;
    ``mean`` draws them towards the fit of the mean spectrum, by a fixed spread, and the edge energy a little."""
    joint: bool = False
    """Fit absorption and phase together, the phase by the Kramers-Kronig partner of eq. 1, in place of the constraint
    (needs ``kkr.mode="off"``). Better where the phase is clearly less noisy than the absorption."""

    @model_validator(mode="after")
    def _windows_lie_on_their_side_of_the_edge(self) -> "FitOptions":
        before, after = self.pre_edge_ev, self.post_edge_ev
        if before is not None and not before[0] < before[1] < 0:
            raise ValueError(f"pre_edge_ev must be two ascending numbers below 0, got {before}")
        if after is not None and not 0 < after[0] < after[1]:
            raise ValueError(f"post_edge_ev must be two ascending numbers above 0, got {after}")
        if self.joint and self.model != "eq1":
            raise ValueError(f'joint needs model="eq1", whose partner is known; got model="{self.model}"')
        return self


@dataclass(frozen=True, config=CONFIG)
class ChemistryOptions:
    """From fitted spectra to projected densities and ratios (eqs 2-5)."""

    preset: Literal["paper", "chantler"] = "paper"
    """Scattering factors: the constants of the paper (V K edge) or the Chantler tables at the actual energy (any element)."""
    phase_energy_ev: Annotated[float, Field(gt=0)] | Literal["lowest"] = "lowest"
    """Energy at which the phase gives the electron density: the measured energy nearest to this one."""
    compounds: Annotated[tuple[Formula, ...], Field(max_length=12)] = ()
    """Formulas whose theoretical electron ratio is marked in the histograms, beside those of the datasets."""


@dataclass(frozen=True, config=CONFIG)
class ReferenceOptions:
    """Spectra of known compounds: overlaid on those of the specimens, and mixed to explain every pixel."""

    xdi: Annotated[
        tuple[Annotated[str, Field(max_length=MOST_REFERENCE_CHARACTERS)], ...], Field(max_length=MOST_REFERENCES)
    ] = ()
    """The texts of XDI files, one a compound; from two on, every pixel is explained as a mixture of them."""
    names: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=MOST_REFERENCES)] = ()
    """Names of spectra that the project keeps (``PUT /references/NAME``), whose texts are taken when the run is submitted."""
