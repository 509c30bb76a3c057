"""Draws the packages and the direction of their imports, from the import contracts in ``pyproject.toml``."""

import ast
import re
import tomllib
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CHARACTER_PX: Final = 7.3
ROW_PX: Final = 30
GAP_PX: Final = 10
TITLE_PX: Final = 44
STYLE: Final = (
    "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1b1f24}.s{font:12px system-ui,sans-serif;fill:#57606a}"
    ".t{font-weight:700}rect{fill:#fff;stroke:#8c959f}.p{fill:#f6f8fa;stroke:#57606a}path{stroke:#57606a;fill:none}"
)


@dataclass(frozen=True)
class Package:
    """A top-level package: its name, what it is for, and its modules by layer, the uppermost first."""

    name: str
    purpose: str
    layers: list[list[str]] = field(default_factory=list)

    @property
    def width(self) -> float:
        """Width of its box [px]."""
        rows = [sum(box_width(name) + GAP_PX for name in layer) + GAP_PX for layer in self.layers]
        return max([*rows, 2 * GAP_PX + CHARACTER_PX * len(self.name), 2 * GAP_PX + 6.3 * len(self.purpose)])

    @property
    def height(self) -> float:
        """Height of its box [px]."""
        return TITLE_PX + len(self.layers) * (ROW_PX + GAP_PX) + GAP_PX / 2


def box_width(name: str) -> float:
    """Width of a module's box [px]."""
    return 2 * GAP_PX + CHARACTER_PX * len(name)


def contracts(pyproject: str) -> list[dict[str, object]]:
    """Import contracts of type ``layers`` in the text of a ``pyproject.toml``."""
    every: list[dict[str, object]] = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    return [contract for contract in every if contract["type"] == "layers"]


def split_layer(layer: str) -> list[str]:
    """Names of one layer: ``a | b : (c)`` is ``["a", "b", "c"]``."""
    return [name.strip(" ()") for name in layer.replace(":", "|").split("|")]


def packages_by_layer(pyproject: str) -> list[list[Package]]:
    """Top-level packages by layer, the uppermost first, with the layers inside each; deeper contracts are not drawn."""
    outer: list[list[str]] = []
    inner: dict[str, list[list[str]]] = {}
    for contract in contracts(pyproject):
        layers = contract["layers"]
        assert isinstance(layers, list)
        names = [split_layer(layer) for layer in layers]
        containers = contract.get("containers")
        if isinstance(containers, list):
            inner |= dict.fromkeys(containers, names)
        elif not any("." in name for layer in names for name in layer):
            outer = names
    return [[Package(name, purpose_of(name), inner.get(name, [])) for name in layer] for layer in outer]


def purpose_of(package: str) -> str:
    """Beginning of a package's docstring, up to the first full stop or colon."""
    text = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
    return re.split(r"[.:\n]", ast.get_docstring(ast.parse(text)) or "")[0]


def draw_package(package: Package, x: float, y: float, width: float) -> list[str]:
    """SVG elements of a package whose box begins at (x, y)."""
    parts = [
        f'<rect class="p" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{package.height:.0f}" rx="6"/>',
        f'<text class="t" x="{x + GAP_PX:.0f}" y="{y + 18:.0f}">{escape(package.name)}/</text>',
        f'<text class="s" x="{x + GAP_PX:.0f}" y="{y + 35:.0f}">{escape(package.purpose)}</text>',
    ]
    top = y + TITLE_PX
    for layer in package.layers:
        left = x + GAP_PX
        for name in layer:
            parts.append(f'<rect x="{left:.0f}" y="{top:.0f}" width="{box_width(name):.0f}" height="{ROW_PX}" rx="4"/>')
            parts.append(f'<text x="{left + GAP_PX:.0f}" y="{top + 20:.0f}">{escape(name)}</text>')
            left += box_width(name) + GAP_PX
        top += ROW_PX + GAP_PX
    return parts


def architecture_svg(pyproject: str) -> str:
    """The diagram as SVG: a package imports only what is drawn below it, and within a package the same holds for modules."""
    layers = packages_by_layer(pyproject)
    total = max(sum(one.width for one in layer) + GAP_PX * (len(layer) - 1) for layer in layers)
    parts: list[str] = []
    y = GAP_PX
    for number, layer in enumerate(layers):
        spare = (total - sum(one.width for one in layer) - GAP_PX * (len(layer) - 1)) / len(layer)
        x = float(GAP_PX)
        for one in layer:
            width = one.width + spare
            if number:
                middle = x + width / 2
                parts.append(f'<path d="M{middle:.0f} {y - 24:.0f}v20m-5 -7l5 7l5 -7"/>')
            parts += draw_package(one, x, y, width)
            x += width + GAP_PX
        y += round(max(one.height for one in layer)) + 28
    size = f'width="{total + 2 * GAP_PX:.0f}" height="{y - 18:.0f}"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
