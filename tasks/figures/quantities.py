"""The quantities that are mapped: what to call them on an axis, their unit, their colours."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Quantity:
    """A map's name on paper. ``{absorber}`` in it stands for the absorbing element."""

    symbol: str
    unit: str = ""
    cmap: str = "viridis"


ERROR: Final = "Standard error of "

QUANTITIES: Final[dict[str, Quantity]] = {
    "edge_energy": Quantity("Edge energy", "eV", "viridis"),
    "pre_edge_ratio": Quantity(r"Pre-edge area over jump, PE/$\Delta\mu$", "eV", "cividis"),
    "electron_ratio": Quantity(r"Electrons per absorber, Re[$N_e$]/$N_{{{absorber}}}$", "", "plasma"),
    "edge_jump": Quantity(r"Edge jump $\Delta\mu$", "", "viridis"),
    "edge_width": Quantity("Edge width", "eV", "viridis"),
    "offset": Quantity("Offset", "", "viridis"),
    "pre_edge_height": Quantity("Pre-edge height", "", "cividis"),
    "pre_edge_energy": Quantity("Pre-edge energy", "eV", "viridis"),
    "pre_edge_width": Quantity("Pre-edge width", "eV", "viridis"),
    "pre_edge_area": Quantity("Pre-edge area", "eV", "cividis"),
    "white_line_height": Quantity("White-line height", "", "cividis"),
    "white_line_energy": Quantity("White-line energy", "eV", "viridis"),
    "white_line_width": Quantity("White-line width", "eV", "viridis"),
    "n_absorber": Quantity(r"Absorber density, $N_{{{absorber}}}$", r"m$^{-2}$", "viridis"),
    "n_electron": Quantity(r"Electron density, Re[$N_e$]", r"m$^{-2}$", "viridis"),
    "absorption": Quantity(r"Absorption $-\ln|O|$", "", "gray_r"),
    "phase": Quantity("Phase", "rad", "bone"),
    "residual": Quantity("Residual of the fit", "", "magma"),
}


def quantity(name: str) -> Quantity:
    """The quantity of a variable; one that is not listed is called by its own name."""
    if name.endswith("_sigma") and name.removesuffix("_sigma") in QUANTITIES:
        base = QUANTITIES[name.removesuffix("_sigma")]
        is_word = base.symbol[:4].isalpha()
        symbol = base.symbol[0].lower() + base.symbol[1:] if is_word else base.symbol
        return Quantity(f"{ERROR}{symbol}", base.unit, "magma")
    return QUANTITIES.get(name, Quantity(name.replace("_", " ").capitalize()))


def axis_label(name: str, absorber: str = "V", *, lines: int = 1) -> str:
    """Name and unit of a variable for an axis or a colour bar; on two lines its symbol stands on the second.

    A standard error on two lines is that of the symbol, where there is one: beside a short colour bar there is no room for both.
    """
    found = quantity(name)
    symbol = found.symbol.replace("{{{absorber}}}", "{" + absorber + "}")
    if lines > 1 and symbol.startswith(ERROR):
        symbol = f"{ERROR.rstrip()}\n{symbol.removeprefix(ERROR).rpartition(', ')[2]}"
    elif lines > 1:
        symbol = symbol.replace(", ", ",\n", 1)
    return f"{symbol} ({found.unit})" if found.unit else symbol


def density_label(name: str) -> str:
    """Label of a density over ``name``, in the inverse of its unit."""
    unit = quantity(name).unit
    return f"Density ({unit}$^{{-1}}$)" if unit == "eV" else "Density"
