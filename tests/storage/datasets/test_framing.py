import numpy as np
import pytest

from storage.datasets.framing import frame_about


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("orientation", range(8))
def test_a_turned_frame_is_the_far_field_of_a_turned_exit_wave(n: int, orientation: int) -> None:
    # Turning the wave about its centre pixel turns its diffraction pattern the same way, the beam staying put.
    random = np.random.default_rng(orientation)
    wave = random.random((n, n)) + 1j * random.random((n, n))
    framing = frame_about((n, n), None, orientation)

    def far_field(exit_wave: np.ndarray) -> np.ndarray:
        return np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(exit_wave)))) ** 2

    np.testing.assert_allclose(framing.orient(far_field(wave)), far_field(framing.orient(wave)), rtol=1e-9)
    beam = np.zeros((n, n))
    beam[n // 2, n // 2] = 1
    np.testing.assert_array_equal(framing.orient(beam), beam)


@pytest.mark.parametrize("n", [6, 7])
def test_the_eight_orientations_are_the_eight_there_are(n: int) -> None:
    frame = np.random.default_rng(0).random((n, n))
    turned = {frame_about((n, n), None, orientation).orient(frame).tobytes() for orientation in range(8)}
    assert len(turned) == 8
    np.testing.assert_array_equal(frame_about((n, n), None, 0).orient(frame), frame)
    np.testing.assert_array_equal(frame_about((n, n), None, 4).orient(frame), frame.T)


@pytest.mark.parametrize(
    ("shape", "centre", "n_pixels", "rows", "columns"),
    [
        ((16, 16), None, None, (0, 16), (0, 16)),
        ((15, 15), None, None, (0, 15), (0, 15)),
        ((16, 24), None, None, (0, 16), (4, 20)),
        ((16, 24), (8, 10), None, (0, 16), (2, 18)),
        ((16, 16), (8.2, 7.7), None, (0, 16), (0, 16)),
        ((20, 20), (7, 12), None, (0, 14), (5, 19)),
        ((20, 20), (7, 12), 8, (3, 11), (8, 16)),
        ((20, 20), None, 8, (6, 14), (6, 14)),
        ((20, 20), None, 30, (0, 20), (0, 20)),
    ],
)
def test_the_square_is_about_the_beam_centre(
    shape: tuple[int, int],
    centre: tuple[float, float] | None,
    n_pixels: int | None,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    framing = frame_about(shape, centre, 0, n_pixels)
    assert ((framing.rows.start, framing.rows.stop), (framing.columns.start, framing.columns.stop)) == (rows, columns)
    if centre is not None:
        beam = np.zeros(shape)
        beam[round(centre[0]), round(centre[1])] = 1
        assert framing.crop(beam)[framing.n_pixels // 2, framing.n_pixels // 2] == 1


@pytest.mark.parametrize("centre", [(0, 8), (8, 17), (-5, 8), (1e9, 8), (8, 1)])
def test_a_centre_off_the_detector_or_at_its_edge_is_refused(centre: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="beam centre"):
        frame_about((16, 16), centre, 0)


def test_a_probe_is_cropped_as_its_far_field_is() -> None:
    random = np.random.default_rng(3)
    far = np.zeros((16, 16), complex)
    far[5:9, 6:10] = random.random((4, 4)) + 1j * random.random((4, 4))
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far), norm="ortho"))
    cropped = frame_about((16, 16), (7, 8), 0, 8).crop_probe(probe[None].astype(np.complex64))
    seen = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(cropped[0]), norm="ortho")))
    np.testing.assert_allclose(seen, np.abs(far[3:11, 4:12]), atol=1e-6)


def test_the_far_field_of_a_beam_along_the_axis_is_cropped_about_the_middle() -> None:
    """A probe from the optics knows nothing of where on the detector the beam was."""
    y, x = np.indices((30, 34)) - np.array([15, 17])[:, None, None]
    probe = np.exp(-(y**2 + 2 * x**2) / 12 + 0.1j * y**2)
    y, x = np.indices((24, 24)) - 12
    coarse = np.exp(-((y * 30 / 24) ** 2 + 2 * (x * 34 / 24) ** 2) / 12 + 0.1j * (y * 30 / 24) ** 2)
    cropped = frame_about((30, 34), (12, 19), 0).crop_probe(probe[None].astype(np.complex64))[0]
    likeness = abs(np.vdot(cropped, coarse)) / np.linalg.norm(cropped) / np.linalg.norm(coarse)
    assert likeness > 0.999


@pytest.mark.parametrize("value", [0, np.nan])
def test_a_probe_without_light_is_cropped_too(value: float) -> None:
    """What is wrong with it is said where probes are checked, not by a division by zero."""
    cropped = frame_about((30, 34), (12, 19), 0).crop_probe(np.full((1, 30, 34), value, np.complex64))
    assert cropped.shape[0] == 1
    assert not (np.isfinite(cropped) & (cropped != 0)).any()
