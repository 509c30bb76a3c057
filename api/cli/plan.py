"""A plan of energies in words and as JSON: what the command ``ptyxas plan`` prints."""

from dataclasses import asdict
from typing import Any, Final

from rich.console import Group
from rich.table import Table

from tasks.planning.plan import REFERENCE_ENERGIES, Plan

TOO_SPARSE: Final = 0.1
"""Rms of the Kramers-Kronig matrix [electrons] from which on the constraint does more harm than good."""

WORDS: Final = {
    "edge_energy_ev": "edge energy, eV",
    "pre_edge_ratio_ev": "pre-edge area / jump, eV",
    "edge_jump": "edge jump and amount of the absorber, relative",
    "electron_ratio": "electrons per absorber",
}
"""Names of `tasks.planning.plan.Errors`."""


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Energies, shares and errors; what a beamline's script reads."""
    return {
        "energies_ev": plan.energy_ev.round(3).tolist(),
        "photon_shares": plan.share.round(5).tolist(),
        "expected_errors": asdict(plan.errors),
        "expected_errors_of_40_energies": asdict(plan.reference),
        "kramers_kronig_rms": plan.kk_rms,
        "options": asdict(plan.options),
    }


def plan_in_words(plan: Plan) -> Group:
    """The energies to measure, then the errors to expect beside those of the usual grid."""
    edge = plan.options.absorber.edge_energy_ev
    energies = Table("energy, eV", "from the edge", "share of the photons", box=None, header_style="bold", pad_edge=False)
    for energy, share in zip(plan.energy_ev, plan.share, strict=True):
        energies.add_row(f"{energy:.2f}", f"{energy - edge:+.2f}", f"{share:.1%}")
    usual = f"{REFERENCE_ENERGIES} energies"
    errors = Table("error to expect of one pixel", "this plan", usual, box=None, header_style="bold", pad_edge=False)
    for name, words in WORDS.items():
        errors.add_row(words, *(f"{getattr(one, name):.3g}" for one in (plan.errors, plan.reference)))
    relation = f"\nthe Kramers-Kronig matrix leaves {plan.kk_rms:.3f} electrons rms on these energies"
    if plan.kk_rms > TOO_SPARSE:
        relation += ": too much for the constraint. Submit with -o kkr.mode=off -o fit.joint=true"
    return Group(energies, "", errors, relation)
