"""Numbers and options as a page says them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter

from tasks.options.run import OPTIONS
from tasks.ptycho.probe import ProbeSpec

PROBE: Final = TypeAdapter(ProbeSpec)
MOST_SIGNS: Final = 80
"""Longest value of an option that is shown whole."""


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


def optics_in_words(probe: Mapping[str, Any]) -> str:
    """The optics of a dataset's ``probe``: ``KB mirrors, 300 nm, in focus``."""
    return PROBE.validate_python(dict(probe)).in_words()


def orientation_in_words(orientation: int | str) -> str:
    """``5`` as ``rows flipped, then transposed``."""
    if orientation == "auto":
        return "found at the lowest energy of each run"
    flips = ("", "rows flipped", "columns flipped", "rows and columns flipped")[int(orientation) % 4]
    turned = "transposed" if int(orientation) >= 4 else ""
    return ", then ".join(filter(None, (flips, turned))) or "as in the files"


def labels_in_words(labels: Sequence[str]) -> str:
    """Labels that people gave, without those by which ``ptyxas submit`` and ``follow`` find a dataset again."""
    return ", ".join(label for label in labels if not label.startswith(("described:", "follow:")))


def chosen_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Options of a run that differ from the defaults of its preset, by their paths, as text."""
    preset = options.get("preset", "default")
    defaults = OPTIONS.dump_python(OPTIONS.validate_python({"preset": preset}), mode="json")
    found = {"preset": preset} if preset != "default" else {}
    for stage, values in options.items():
        if isinstance(values, Mapping):
            own = defaults.get(stage, {})
            found |= {f"{stage}.{name}": value for name, value in values.items() if name not in own or own[name] != value}
    return {path: shortened(value if isinstance(value, str) else json.dumps(value)) for path, value in found.items()}


def shortened(text: str) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= MOST_SIGNS else f"{text[: MOST_SIGNS - 1]}…"
