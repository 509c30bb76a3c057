"""Every choice a run leaves to its user, one frozen dataclass a stage.

Each class is at once the stage's argument, the JSON body, the OpenAPI text and the provenance record, so a
field's docstring is what a user reads. Unknown names are refused.
"""

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from tasks.presets import renamed, with_preset

CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""Unknown names are refused, and every number is finite."""

MOST_CYCLES: Final = 100_000
"""Upper bound of every number of cycles."""
AUTO_CYCLES: Final = 800
"""Cycles after which ``reconstruct.cycles="auto"`` ends an energy that has not converged."""
EXPECTED_CYCLES: Final = {"cold": 150, "warm": 55}
"""Cycles that ``auto`` takes from the optics, and from a reference."""

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
LACKING: Final[dict[str, tuple[str, ...]]] = {
    "no_pre_edge": ("pre_edge",),
    "l3_l2": ("pre_edge",),
    "none": ("pre_edge", "white_line", "edge_width"),
}
"""Beginnings of the descriptors that a model does not have."""
NEED_PHASE: Final = frozenset({"electron_ratio"})
"""Descriptors that absorption alone does not give."""

Index = Annotated[int, Field(ge=0, le=100_000)]
Signed = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)]
Formula = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, config=CONFIG)
class ReconstructOptions:
    """Ptychographic reconstruction of one energy (ePIE, Maiden & Rodenburg 2009)."""

    cycles: Annotated[int, Field(ge=1, le=MOST_CYCLES)] | Literal["auto"] = "auto"
    """Number of cycles, one cycle being one visit to every scan position. ``auto`` ends an energy when what still changes of its
    object, slow waves included, is small against photon noise, at the latest after 800."""
    start_from: Literal["reference", "pilot", "optics"] = "reference"
    """What an energy starts from. ``reference``: object and probe of one energy, which all others wait for; eight more cycles
    find drift, contrast and flux (with fewer than 16 ``cycles`` all start from the optics). ``pilot``: only the probe, found by
    some cycles of the lowest energy; a live run waits for the seal. ``optics``: an empty object and the dataset's probe."""
    reference_energy_ev: Annotated[float, Field(gt=0)] | Literal["post-edge"] = "post-edge"
    """The reference: the measured energy nearest to this one, or the one in the middle of those above the edge. A live run knows
    it when the very energy named has arrived, else with the seal; until then it looks at every energy from the optics."""
    alpha: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Step of the object update."""
    beta: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Step of the probe update; 0 keeps the probe fixed."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of the random order in which positions are visited."""
    subpixel: bool = True
    """Displace the probe by the fraction of a pixel instead of rounding positions."""
    probe_update: Literal["cycle", "position"] = "cycle"
    """Correct the probe once a cycle from all positions, or at every position (ePIE as published)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Share of its last step that the probe takes again (``probe_update="cycle"``)."""
    object_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Share of its last step that the object takes again after each cycle (``probe_update="cycle"``)."""
    regularisation: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the probe's peak in what the object's step is divided by; 1 is ePIE, less makes dim places follow as fast as
    bright ones (rPIE, Maiden et al. 2017)."""
    probe_regularisation: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The same for the probe's step (``probe_update="position"``; once a cycle it is a half)."""
    momentum_every: Annotated[int, Field(ge=0, le=MOST_CYCLES)] = 0
    """Positions between two steps of momentum of object and probe with ``probe_update="position"`` (mPIE); 0 gives none."""
    settle: Annotated[float, Field(ge=0, le=1)] = 1 / 3
    """Share of the cycles, at the end, over which the object's step falls to a tenth; 0 keeps it (ePIE as published)."""
    probe_modes: Annotated[int, Field(ge=1, le=8)] | Literal["auto"] = "auto"
    """Modes of a partially coherent probe, whose intensities add; each costs as much as the first. ``auto`` begins with one
    and adds another, up to three, where R no longer falls and yet is well above what photon noise leaves
    (``probe_update="cycle"``)."""
    pilot_cycles: Annotated[int, Field(ge=1, le=10_000)] = 60
    """Cycles of the pilot (``start_from="pilot"``)."""
    probe_start: Annotated[int, Field(ge=0, le=MOST_CYCLES)] = 1
    """First cycle that updates the probe."""
    probe_warmup: Annotated[int, Field(ge=0, le=MOST_CYCLES)] = 3
    """Cycles in which a probe that is still far from its place after the first few is corrected at every position
    (``probe_update="cycle"``); 0 leaves it to the gathered steps."""
    stop_change: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stop an energy whose R falls by less than this share over ten cycles: it settles and is done, whatever ``cycles``
    says, and takes no part in later rounds. 0 never stops; 0.01 is a useful value."""
    position_refinement: Literal["none", "affine", "points"] = "none"
    """Correct the measured positions by the diffraction patterns: none, all by one affine map (scale, rotation, shear), or
    each by itself. Errors of a few pixels; needs ``subpixel``."""
    frame_flux: bool = False
    """Find the flux of every frame, for a source that drifts during the scan."""
    refine_start: Annotated[int, Field(ge=1, le=MOST_CYCLES)] = 10
    """Cycle after which positions and flux are first corrected."""
    refine_every: Annotated[int, Field(ge=1, le=MOST_CYCLES)] = 5
    """Cycles between two corrections; one takes the time of two cycles."""

    @model_validator(mode="before")
    @classmethod
    def _accept_the_former_name(cls, given: Any) -> Any:
        return renamed(given, "probe_from", "start_from")

    @model_validator(mode="after")
    def _has_no_effectless_option(self) -> "ReconstructOptions":
        """Refuse an option that the chosen rule does not use, unless it has its default."""
        for is_chosen, rule, unused in self._unused_options():
            for name in unused if is_chosen else ():
                default, value = type(self).__dataclass_fields__[name].default, getattr(self, name)
                if value != default:
                    raise ValueError(
                        f"{name} has no effect with {rule}; got {name}={value!r}: leave it out, or choose the rule that uses it"
                    )
        return self

    @model_validator(mode="after")
    def _step_decay_has_a_beginning(self) -> "ReconstructOptions":
        if self.cycles == "auto" and self.settle == 1:
            reason = "a step that decays from the first cycle on cannot wait for convergence; got settle=1"
            raise ValueError(f'cycles="auto" needs settle < 1: {reason}. Give a number of cycles, or a smaller settle')
        return self

    @property
    def max_cycles(self) -> int:
        """Number of cycles after which an energy ends at the latest."""
        return AUTO_CYCLES if self.cycles == "auto" else self.cycles

    @property
    def expected_cycles(self) -> int:
        """Number of cycles that most energies take, for estimates of cost and progress."""
        expected = EXPECTED_CYCLES["warm" if self.start_from == "reference" else "cold"]
        return expected if self.cycles == "auto" else self.cycles

    def _unused_options(self) -> tuple[tuple[bool, str, tuple[str, ...]], ...]:
        """Whether a rule is chosen, its name, and the options that it does not use."""
        by_position, no_placement = self.probe_update == "position", self.position_refinement == "none" and not self.frame_flux
        return (
            (not by_position, 'probe_update="cycle"', ("probe_regularisation", "momentum_every")),
            (by_position, 'probe_update="position"', ("probe_warmup",)),
            (
                by_position and not self.momentum_every,
                'probe_update="position" and momentum_every=0',
                ("momentum", "object_momentum"),
            ),
            (
                self.beta == 0,
                "beta=0, which keeps the probe fixed,",
                ("momentum", "probe_regularisation", "probe_start", "probe_warmup"),
            ),
            (self.start_from != "pilot", f'start_from="{self.start_from}"', ("pilot_cycles",)),
            (self.start_from != "reference", f'start_from="{self.start_from}"', ("reference_energy_ev",)),
            (no_placement, 'position_refinement="none" and frame_flux=false', ("refine_start", "refine_every")),
        )

    @model_validator(mode="after")
    def _refined_positions_lie_between_pixels(self) -> "ReconstructOptions":
        if self.position_refinement != "none" and not self.subpixel:
            raise ValueError(
                "position_refinement needs subpixel=true, because rounding would undo it; got position_refinement="
                f'"{self.position_refinement}" and subpixel=false'
            )
        return self


@dataclass(frozen=True, config=CONFIG)
class AlignOptions:
    """One pixel grid, one gauge and one origin for all energies."""

    vacuum_box: tuple[Index, Index, Index, Index] | None = None
    """Rows and columns (y0, y1, x0, x1) of the common grid known to be empty; found automatically where not given."""
    min_vacuum_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of the scanned field that must be empty for the gauge to be fixed."""
    drift: Literal["find", "none"] = "find"
    """Find how far the specimen moved between energies, or take it that images are aligned already."""
    energy_offset_ev: Annotated[float, Field(ge=-50, le=50)] = 0.0
    """Calibration: added to every energy [eV] before it meets the tables. The tabulated edge of a metal foil minus the
    edge found on the beamline; ``ptyxas submit --foil`` takes it from the foil's spectrum."""

    @field_validator("vacuum_box")
    @classmethod
    def _box_holds_pixels(cls, box: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if box is not None and not (box[0] < box[1] and box[2] < box[3]):
            raise ValueError(f"must be rows y0 < y1 and columns x0 < x1, got (y0, y1, x0, x1) = {box}")
        return box


@dataclass(frozen=True, config=CONFIG)
class KKROptions:
    """Kramers-Kronig coupling of the energies."""

    mode: Literal["joint", "absorption_to_phase", "phase_to_absorption", "off"] = "joint"
    """Direction of the constraint: the weighted least-squares compromise, one way, the other way, or none."""
    start: Annotated[int, Field(ge=1, le=MOST_CYCLES)] = 500
    """Cycle after which the constraint is first applied; with ``reconstruct.cycles="auto"`` it is applied once, at the end."""
    every: Annotated[int, Field(ge=1, le=MOST_CYCLES)] = 50
    """Cycles between two applications."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the correction that is applied within the reconstruction."""


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
    """Smallest edge jump, in units of its noise, that mode ``jump`` keeps."""
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


@dataclass(frozen=True, config=CONFIG)
class ReferenceOptions:
    """Spectra of known compounds: overlaid on those of the specimens, and mixed to explain every pixel."""

    xdi: Annotated[tuple[Annotated[str, Field(max_length=1 << 17)], ...], Field(max_length=8)] = ()
    """The texts of XDI files, one a compound; from two on, every pixel is explained as a mixture of them."""


@dataclass(frozen=True, config=CONFIG)
class RunOptions:
    """All stages of a run; each has defaults for everything."""

    preset: Literal["default", "paper"] = "default"
    """Where the defaults of all other options come from. ``paper``: Uematsu et al. (2023), with ePIE as published, 800 cycles of
    every energy from the optics, the paper's mask and constants, no prior or settled borders. Every option may still be given."""
    reconstruct: ReconstructOptions = Field(default_factory=ReconstructOptions)
    align: AlignOptions = Field(default_factory=AlignOptions)
    kkr: KKROptions = Field(default_factory=KKROptions)
    fit: FitOptions = Field(default_factory=FitOptions)
    chemistry: ChemistryOptions = Field(default_factory=ChemistryOptions)
    domains: DomainOptions = Field(default_factory=DomainOptions)
    references: ReferenceOptions = Field(default_factory=ReferenceOptions)

    @model_validator(mode="before")
    @classmethod
    def _begin_with_the_preset(cls, given: Any) -> Any:
        return with_preset(given)

    @model_validator(mode="after")
    def _descriptors_are_distinct(self) -> "RunOptions":
        names = self.domains.descriptors
        if len(set(names)) != len(names):
            raise ValueError(f"domains.descriptors must be distinct, got {list(names)}")
        return self

    @model_validator(mode="after")
    def _descriptors_are_those_of_the_model(self) -> "RunOptions":
        names, lacking = self.domains.descriptors, LACKING.get(self.fit.model, ())
        kept = tuple(name for name in names if not (lacking and name.startswith(lacking)))
        if kept != names and names != DEFAULT_DESCRIPTORS:
            raise ValueError(f'fit.model "{self.fit.model}" does not have domains.descriptors {sorted({*names} - {*kept})}')
        object.__setattr__(self, "domains", replace(self.domains, descriptors=kept))
        return self

    @model_validator(mode="after")
    def _phase_is_used_once(self) -> "RunOptions":
        if self.fit.joint and self.kkr.mode != "off":
            raise ValueError(
                f'fit.joint needs kkr.mode "off", because the constraint has used the phase already; got "{self.kkr.mode}"'
            )
        return self

    def rounds(self) -> list[int]:
        """Cycles of each round: one up to ``kkr.start``, then ``kkr.every`` at a time; one without KKR or with ``auto``."""
        total = self.reconstruct.max_cycles
        if self.reconstruct.cycles == "auto" or self.kkr.mode == "off" or total <= self.kkr.start:
            return [total]
        rest = total - self.kkr.start
        tail = [self.kkr.every] * (rest // self.kkr.every)
        return [self.kkr.start, *tail, *([rest % self.kkr.every] if rest % self.kkr.every else [])]
