"""STXM stacks: a header and text images, written here line by line, and the real stack."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measurements import FOLDER

from storage.errors import UnknownFormatError
from storage.readers.image_format import open_images
from storage.readers.reconstructions.stxm import parse_header

REAL = FOLDER / "fe_l_stxm_stack.zip"
IMAGES = np.arange(3 * 16 * 20, dtype=float).reshape(3, 16, 20) + 0.5


def axis(name: str, unit: str, points: Any) -> str:
    listed = ", ".join(f"{point:.3f}" for point in points)
    return f'{{ Name = "{name}"; Unit = "{unit}"; Min = 0; Max = 1; Dir = 1;\n Points = ({len(points)}, {listed});\n}}'


def header(x: Any = None, y: Any = None, energies: Any = (700.0, 705.0, 710.0), unit: str = "um", **more: str) -> bytes:
    x = -4736.6 + 0.08 * np.arange(20) if x is None else x
    y = -638.1 + 0.08 * np.arange(16) if y is None else y
    region = f"{{ PAxis = {axis('Sample X', unit, x)};\n QAxis = {axis('Sample Y', unit, y)};\n}}"
    stack = axis("Energy", "eV", energies)
    text = (
        f'ScanDefinition = {{ Label = "s.hdr"; Type = "NEXAFS Image Scan"; Flags = "Image Stack"; Dwell = 0.4;\n'
        f"Regions = {more.get('regions', '(1,')}\n{region}{more.get('second', '')});\n\n"
        f'StackAxis = {stack};\nChannels = (1,\n{{ Name = "counter1"; Unit = "counts";}});\n}};\n'
        ' Time = "2007 December 14 18:52:00"; BeamFeedback = true;\nImage2 = {StorageRingCurrent = 333.08;};\n'
    )
    return text.encode()


def image(values: Any) -> bytes:
    return "\n".join("\t".join(f"{value:.1f}" for value in row) for row in values).encode()


def stack(**changed: bytes) -> dict[str, bytes]:
    found = {"s.hdr": header(), **{f"s_a{i:03d}.xim": image(values) for i, values in enumerate(IMAGES)}}
    return {name: content for name, content in {**found, **changed}.items() if content}


def test_images_come_with_their_energies_and_pixel(files: Any, tmp_path: Path) -> None:
    with open_images(files.zip(tmp_path / "f", stack())) as sources:
        assert [one.energy_ev for one in sources] == [700.0, 705.0, 710.0]
        assert all(one.quantity == "intensity" and one.i0 is None and one.faults == () for one in sources)
        assert sources[0].pixel_size_m == pytest.approx(80e-9)
        for one, expected in zip(sources, IMAGES, strict=True):
            assert one.image is not None
            np.testing.assert_array_equal(one.image[()], expected)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"s.hdr": header(energies=(700.0, 705.0))}, "3 images"),
        ({"s_a002.xim": b""}, "2 images"),
        ({"s.hdr": header(unit="fortnight")}, "no unit of length"),
        ({"s.hdr": header(y=-638.1 + 0.16 * np.arange(16))}, "square"),
        ({"s.hdr": header(x=np.r_[0.0, np.arange(19) + 5])}, "even steps"),
        ({"s.hdr": header(energies=("x",) and (float("nan"), 1.0, 2.0))}, "finite"),
        ({"s.hdr": header(regions="(2,", second=", { PAxis = 1; }")}, "2 regions"),
        ({"s.hdr": header()[:200]}, "cannot be understood"),
        ({"s.hdr": b"{" * 100_000}, "cannot be understood"),
        ({"s.hdr": b"a = " + b"(1, " * 5000}, "cannot be understood"),
        ({"s.hdr": b"Title = 1;"}, "ScanDefinition"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_in_words(
    files: Any, tmp_path: Path, changed: dict[str, bytes], words: str
) -> None:
    with open_images(files.zip(tmp_path / "f", stack(**changed))) as (source,):
        (fault,) = source.faults
    assert words in fault.message


@pytest.mark.parametrize("content", [image(IMAGES[0].T[:5]), b"1 2 three", image(IMAGES[0]) + b" 7"])
def test_an_image_that_is_not_what_the_header_says_is_refused_when_it_is_read(files: Any, tmp_path: Path, content: bytes) -> None:
    with open_images(files.zip(tmp_path / "f", stack(**{"s_a001.xim": content}))) as sources:
        assert sources[1].image is not None
        with pytest.raises(ValueError, match=r"numbers|convert"):
            sources[1].image[()]


def test_a_header_alone_is_no_stack(files: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match="STXM"), open_images(files.zip(tmp_path / "f", {"s.hdr": header()})):
        pass


def test_headers_are_read_into_dictionaries_and_lists() -> None:
    found = parse_header('A = { B = "x; {y}"; C = (2, {D = 1;}, 3); }; E F = -4;')
    assert found == {"A": {"B": "x; {y}", "C": [{"D": "1"}, "3"]}, "E F": "-4"}


@pytest.mark.skipif(not REAL.exists(), reason="needs fe_l_stxm_stack.zip of the real data")
def test_the_real_stack_is_read() -> None:
    with open_images(REAL) as sources:
        assert len(sources) == 123
        assert (sources[0].energy_ev, sources[-1].energy_ev) == (700.0, 730.353)
        assert sources[0].pixel_size_m == pytest.approx(80e-9)
        assert sources[0].image is not None
        values = sources[0].image[()]
    assert values.shape == (125, 125)
    assert 20 < values.min() < values.max() < 500
