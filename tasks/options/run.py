"""The options of a whole run, and the rules that tie one stage's to another's."""

from dataclasses import replace
from typing import Any, Final, Literal

from pydantic import Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from tasks.options.config import CONFIG
from tasks.options.coupling import AlignOptions, KKROptions
from tasks.options.domains import DEFAULT_DESCRIPTORS, DomainOptions
from tasks.options.presets import with_preset
from tasks.options.reconstruct import ReconstructOptions
from tasks.options.spectra import ChemistryOptions, FitOptions, ReferenceOptions

LACKING: Final[dict[str, tuple[str, ...]]] = {
    "no_pre_edge": ("pre_edge",),
    "l3_l2": ("pre_edge",),
    "none": ("pre_edge", "white_line", "edge_width"),
}
"""Beginnings of the descriptors that a model does not have."""


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


OPTIONS: Final = TypeAdapter(RunOptions)
"""Reads options from what JSON holds, writes them as that, and knows their JSON schema."""
