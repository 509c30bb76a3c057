"""Options of the reconstruction of one energy."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.options.config import CONFIG, MOST_CYCLES
from tasks.options.presets import renamed

AUTO_CYCLES: Final = 800
"""Cycles after which ``reconstruct.cycles="auto"`` ends an energy that has not converged."""
EXPECTED_CYCLES: Final = {"cold": 110, "warm": 55}
"""Cycles that ``auto`` takes from the optics, and from a reference."""


@dataclass(frozen=True, config=CONFIG)
class ReconstructOptions:
    """Ptychographic reconstruction of one energy (ePIE, Maiden & Rodenburg 2009)."""

    cycles: Annotated[int, Field(ge=1, le=MOST_CYCLES)] | Literal["auto"] = "auto"
    """Number of cycles, one cycle being one visit to every scan position. ``auto`` ends an energy when what still changes of its
    object, slow waves included, is small against photon noise, at the latest after 800."""
    half_detector: Literal["auto", "never"] = "auto"
    """Cycles that see the middle half of the detector, where the object's slow waves settle at a quarter of the cost. ``auto``:
    with ``cycles="auto"``, frames of at least 128 x 128 pixels and hardly any light outside that half, most of the cycles before
    the last 25; not with ``probe_update="position"``, ``stop_change``, ``position_refinement`` or ``frame_flux``."""
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
    object_momentum: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """Share of its last step that the object takes again after each cycle (``probe_update="cycle"``). ``auto``: 0.8, and 0.95
    from the 20th cycle until its step falls, in which slow waves settle three to four times as fast."""
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
