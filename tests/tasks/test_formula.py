"""Formulas: what can be read has its amounts, what can be read in two ways is refused with the way to write it."""

import pytest

from tasks.errors import FormulaError
from tasks.formula import composition


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [
        ("LiVO2", {"Li": 1, "V": 1, "O": 2}),
        ("Li10/7V6/7O2", {"Li": 10 / 7, "V": 6 / 7, "O": 2}),
        ("Li1.2/3VO2", {"Li": 0.4, "V": 1, "O": 2}),
        ("Li1/3(VO2)2/3", {"Li": 1 / 3, "V": 2 / 3, "O": 4 / 3}),
        ("(NH4)2(VO3)2", {"N": 2, "H": 8, "V": 2, "O": 6}),
        ("K4[Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("V1e-3O2", {"V": 0.001, "O": 2}),
        ("V.5O2", {"V": 0.5, "O": 2}),
        (" V2 O5 ", {"V": 2, "O": 5}),
        ("V2O5·0.5H2O", {"V": 2, "O": 5.5, "H": 1}),
        ("V2O5*1/2H2O", {"V": 2, "O": 5.5, "H": 1}),
        ("CuSO4•5H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}),
        ("V2O5.H2O", {"V": 2, "O": 6, "H": 2}),
        ("V₂O₅", {"V": 2, "O": 5}),
        ("LiNi₀.₅Mn₁.₅O₄", {"Li": 1, "Ni": 0.5, "Mn": 1.5, "O": 4}),
        ("V₂O₅·½H₂O".replace("½", "1/2"), {"V": 2, "O": 5.5, "H": 1}),
        ("MgCl2‧6H2O", {"Mg": 1, "Cl": 2, "H": 12, "O": 6}),
        ("{[(VO)2O]2}2", {"V": 8, "O": 12}),
        ("V2O5·(H2O)0.5·(NH3)2", {"V": 2, "O": 5.5, "H": 7, "N": 2}),
        ("DTO", {"H": 2, "O": 1}),
    ],
)
def test_amounts(formula: str, atoms: dict[str, float]) -> None:
    assert composition(formula) == pytest.approx(atoms)


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("V2O5 0.5H2O", "V2O5·0.5H2O"),
        ("V2O5 .5H2O", "V2O5·0.5H2O"),
        ("CuSO4.5H2O", "CuSO4·5H2O"),
        ("NaCl.2H2O", "CuSO4·5H2O"),
        ("V2O5.0.5H2O", "CuSO4·5H2O"),
        ("V₂O₅ 0.5H₂O", "V2O5·0.5H2O"),
        ("V₂O₅ ₀.₅H₂O", "V2O5·0.5H2O"),
        ("CuSO₄.5H₂O", "CuSO4·5H2O"),
        ("CuSO4.5(H2O)", "CuSO4·5H2O"),
        ("CuSO4.5[H2O]", "CuSO4·5H2O"),
        ("CuSO4.5D2O", "CuSO4·5H2O"),
        ("NiCl2.6NH3", "CuSO4·5H2O"),
        ("V2O5.1/2H2O", "CuSO4·5H2O"),
        ("V2O5·½H2O", "neither an element nor an amount"),
        ("V⁴⁺O₂", "neither an element nor an amount"),
        ("VO2^2-", "neither an element nor an amount"),
        ("[51V]2O5", "an element is missing"),
        ("V2O5·nH2O", "neither an element nor an amount"),
        ("V２O５", "neither an element nor an amount"),
        ("V1_0O2", "neither an element nor an amount"),
        ("V1/2/3O2", "neither an element nor an amount"),
        ("V--2O5", "neither an element nor an amount"),
        ("V2O5\x00", "neither an element nor an amount"),
        ("v2o5", "neither an element nor an amount"),
        ("VO2/0", "greater than zero"),
        ("V0O2", "greater than zero"),
        ("V0.0O2", "greater than zero"),
        ("V0/3O2", "greater than zero"),
        ("V1e400O2", "finite"),
        ("V1e-400O2", "greater than zero"),
        ("(V1e200)1e200", "from 1e-06 to 1e+06"),
        ("(Li1e-300)1e-300V", "from 1e-06 to 1e+06"),
        ("V1e308O1e308", "from 1e-06 to 1e+06"),
        ("V1e-300O2", "from 1e-06 to 1e+06"),
        ("(" * 5000 + "V" + ")" * 5000, "more than 30 brackets"),
        ("VO2 M1", "'M' is not an element"),
        ("LiXx2", "'Xx' is not an element"),
        ("V4+O2", "neither an element nor an amount"),
        ("not a formula!", "neither an element nor an amount"),
        ("PuO2", "end with uranium"),
        ("K4[Fe(CN])6", "bracket is not closed"),
        ("(VO2", "bracket is not closed"),
        ("VO2)", "an element or a bracket is due"),
        ("", "an element is missing"),
        ("V·", "an element is missing"),
        ("2V", "an element is missing"),
    ],
)
def test_what_cannot_be_read_or_computed_is_refused(formula: str, says: str) -> None:
    with pytest.raises(FormulaError, match="formula must be") as refused:
        composition(formula)
    assert says in str(refused.value)
