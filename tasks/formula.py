"""Chemical formulas: text to the amount of each element."""

import math
import re
from functools import lru_cache
from typing import Final

from tasks.errors import FormulaError

LAST_TABULATED: Final = 92
"""The tables of scattering factors end with uranium."""

ISOTOPES: Final = {"D": "H", "T": "H"}
OPENING: Final = {"(": ")", "[": "]", "{": "}"}
HYDRATE_DOTS: Final = "·•⋅∙‧・*"
LOWERED: Final = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
"""Subscripts, as texts and spreadsheets have them, and the digits they mean."""
NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?"
TOKEN: Final = re.compile(
    rf"(?P<amount>{NUMBER}(?:/{NUMBER})?)|(?P<element>[A-Z][a-z]?)|(?P<open>[(\[{{])|(?P<close>[)\]}}])"
    rf"|(?P<dot>[{HYDRATE_DOTS}]|\.(?=[A-Z(\[{{]))"
)
MOST_ATOMS: Final = 1e6
"""Atoms of one element in a formula unit, and the inverse of the fewest; beyond both, sums lose the other elements."""
MOST_BRACKETS: Final = 30
DOTTED_WATER: Final = re.compile(r"\.[0-9][0-9./]*[(\[{]?(?:[HDT]2O|HDO|OH2|NH3)")
"""``CuSO4.5H2O``: 4.5 atoms of oxygen, or five molecules of water; likewise heavy water, and ammonia."""


@lru_cache(maxsize=256)
def composition(formula: str) -> dict[str, float]:
    """Atoms of each element in one formula unit, such as ``LiVO2``, ``Li10/7V6/7O2``, ``(NH4)2(VO3)2`` or ``V2O5·0.5H2O``.

    An amount is a decimal number or a fraction of two, after an element or a bracket, or before what follows a dot.

    Raises
    ------
    FormulaError
        The formula cannot be read or can be read in two ways, names an element that is unknown or has no tables, or holds
        an amount that is not positive or not between a millionth and a million.
    """
    text = formula.translate(LOWERED)
    if re.search(r"[\d.]\s+[\d.]", text):
        raise _unreadable(formula, "a space between two numbers joins them; write a hydrate with a dot, V2O5·0.5H2O")
    text = "".join(text.split())
    if sum(text.count(opening) for opening in OPENING) > MOST_BRACKETS:
        raise _unreadable(formula, f"more than {MOST_BRACKETS} brackets")
    if DOTTED_WATER.search(re.sub(rf"[{HYDRATE_DOTS}][0-9.]+", "", text)):
        raise _unreadable(formula, "a full stop before water may be a decimal point; write a hydrate as CuSO4·5H2O")
    return _Reader(formula, text).read()


def _unreadable(formula: str, why: str) -> FormulaError:
    return FormulaError(f"a formula must be element symbols and amounts, such as LiVO2; got {formula!r}: {why}")


class _Reader:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, formula: str, text: str) -> None:
        self.formula = formula
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise _unreadable(formula, f"{text[at : at + 8]!r} is neither an element nor an amount")
            self.tokens.append((str(match.lastgroup), match[0]))
            at = match.end()
        self.at = 0

    def read(self) -> dict[str, float]:
        """Atoms of the whole formula: parts that dots separate, each with an amount before it or not."""
        total: dict[str, float] = {}
        while True:
            factor = self._amount() if total else 1.0
            for element, amount in self._part(None).items():
                total[element] = total.get(element, 0.0) + factor * amount
            if self._kind() != "dot":
                break
            self.at += 1
        if self.at < len(self.tokens):
            raise _unreadable(self.formula, f"{self.tokens[self.at][1]!r} stands where an element or a bracket is due")
        for element, amount in total.items():
            if not 1 / MOST_ATOMS <= amount <= MOST_ATOMS:
                limits = f"from {1 / MOST_ATOMS:g} to {MOST_ATOMS:g}"
                raise _unreadable(self.formula, f"the amount of {element} must be {limits}, it is {amount:g}")
        return total

    def _part(self, closing: str | None) -> dict[str, float]:
        """Atoms up to a dot, the closing bracket or the end."""
        atoms: dict[str, float] = {}
        while (kind := self._kind()) in ("element", "open"):
            token = self.tokens[self.at][1]
            self.at += 1
            inner = self._group(token) if kind == "open" else {self._element(token): 1.0}
            factor = self._amount()
            for element, amount in inner.items():
                atoms[element] = atoms.get(element, 0.0) + factor * amount
        if not atoms:
            raise _unreadable(self.formula, "an element is missing")
        if closing is not None and (self._kind() != "close" or self.tokens[self.at][1] != closing):
            raise _unreadable(self.formula, f"a bracket is not closed by {closing!r}")
        return atoms

    def _group(self, opening: str) -> dict[str, float]:
        atoms = self._part(OPENING[opening])
        self.at += 1
        return atoms

    def _kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else "end"

    def _element(self, symbol: str) -> str:
        element = ISOTOPES.get(symbol, symbol)
        # The tables take a second to load, which who only reads options or help need not wait for.
        import xraydb

        try:
            number = int(xraydb.atomic_number(element))
        except ValueError as error:
            raise _unreadable(self.formula, f"{symbol!r} is not an element") from error
        if number > LAST_TABULATED:
            raise _unreadable(self.formula, f"there are no tabulated scattering factors of {symbol}, they end with uranium")
        return element

    def _amount(self) -> float:
        """The amount at this place; 1 where there is none."""
        if self._kind() != "amount":
            return 1.0
        text = self.tokens[self.at][1]
        self.at += 1
        above, _, below = text.partition("/")
        denominator = float(below) if below else 1.0
        value = float(above) / denominator if denominator else math.inf
        if not 0.0 < value < math.inf:
            raise _unreadable(self.formula, f"an amount must be finite and greater than zero, {text!r} is not")
        return value
