"""Positions in files of their own: the forms that two beamlines write."""

from pathlib import Path

import numpy as np
import pytest

from storage.errors import InvalidScanError
from storage.readers.fields import Fields
from storage.readers.measurements.positions import read_positions

VELOCIPROBE = """# Velociprobe
0,1000,2000,0,0,-2000,0,0
1,3000,2200,0,0,-2200,0,0
2,5000,4000,0,0,-4000,0,1
"""


def read(path: Path, text: str) -> np.ndarray | None:
    path.write_text(text, encoding="utf-8")
    return read_positions(path, Fields(lambda _: None))


def test_lines_of_velociprobe_are_averaged_by_frame(tmp_path: Path) -> None:
    found = read(tmp_path / "f.csv", VELOCIPROBE)
    assert found is not None
    np.testing.assert_allclose(found, 1e-9 * np.array([[2100.0, 2000.0], [4000.0, 5000.0]]))


@pytest.mark.parametrize("text", [VELOCIPROBE.replace("3000", "3.5"), "0,1,2,3,4,5,6,x\n", "0,1,2\n", ""])
def test_what_is_none_of_the_forms_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidScanError):
        read(tmp_path / "f.csv", text)


@pytest.mark.parametrize(
    "text",
    [
        "y_um;x_um\n1,5;2,5\n3,5;2,5\n",
        "y_um x_um\n1 2 3\n4 5 6\n",
        "y_m,x_m\n0,1e-6,0,2e-6\n",
        "Scan\nn Average_x_st_fzp Average_y_st_fzp\n0 1,5 2,5\n",
    ],
)
def test_more_numbers_than_columns_are_named_are_refused(tmp_path: Path, text: str) -> None:
    """A decimal comma makes two numbers of one: the wrong columns would be read."""
    with pytest.raises(InvalidScanError, match="decimals with a point"):
        read(tmp_path / "f.csv", text)


@pytest.mark.parametrize(
    "text",
    [
        "x (um),y (um)\n2,1\n4,3\n",
        "x [um]; y [um]\n2; 1\n4; 3\n",
        "n,x_µm,y_um,x_std,y_std,t,i0,temp\n0,2,1,9,9,0,0,0\n1,4,3,9,9,0,0,0\n",
        "y_mm,x_um,energy,t,i0,ic,exposure,temp\n0.001,2,7112,0,0,0,0,0\n0.003,4,7112,1,0,0,0,0\n",
    ],
)
def test_columns_are_found_by_name_and_unit_whatever_else_is_named(tmp_path: Path, text: str) -> None:
    found = read(tmp_path / "f.csv", text)
    assert found is not None
    np.testing.assert_allclose(found, 1e-6 * np.array([[1.0, 2.0], [3.0, 4.0]]))


def test_two_columns_of_one_axis_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidScanError, match="which column is x, 'x_um', 'x_mm'"):
        read(tmp_path / "f.csv", "x_um,x_mm,y_um\n1,2,3\n")
