"""Numbers as a page says them."""

from collections.abc import Sequence


def bytes_in_words(n_bytes: float) -> str:
    """``1234567`` as ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 100 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def seconds_in_words(seconds: float) -> str:
    """``95`` as ``1 min 35 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def energies_in_words(energies_ev: Sequence[float]) -> str:
    """How many energies, and from where to where."""
    if not energies_ev:
        return "no energies yet"
    if len(energies_ev) == 1:
        return f"1 energy, {energies_ev[0]:.1f} eV"
    return f"{len(energies_ev)} energies, {min(energies_ev):.1f}–{max(energies_ev):.1f} eV"
