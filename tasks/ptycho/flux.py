"""What the flux of the frames, where it is free, shares with object and probe: fixed by the vacuum.

``exp(q(r))`` on the object, ``exp(-q(u))`` on the probe and ``exp(-q(r_p))`` on the scale of the frame at r_p leave every
diffraction pattern unchanged if q is a plane, and hardly change them if it is a quadratic surface: PIE would take
thousands of cycles to tell one. In vacuum |O| = 1, so its ln|O| is q.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.errors import VacuumError
from tasks.gauge import field_of_view, find_vacuum, fit_quadratic_surface, quadratic_surface
from tasks.ptycho.probe import pixel_coordinates
from tasks.ptycho.scan import Canvas, Placement, Scan, illumination

LEAST_VACUUM = 0.02
"""Share of the field that must be empty."""

Levelled = tuple[NDArray[np.complex64], NDArray[np.complex64], Placement]


def levelled(
    scan: Scan, canvas: Canvas, image: NDArray[np.complex64], probe: NDArray[np.complex64], placement: Placement
) -> Levelled:
    """Object (Y, X), probe (M, N, N) and placement with the vacuum level; as they were where no vacuum is found."""
    dose = illumination(canvas, placement.positions_m(scan, canvas), probe)
    try:
        vacuum = find_vacuum(image, field_of_view(dose), LEAST_VACUUM)
    except VacuumError:
        return image, probe, placement
    found = fit_quadratic_surface(image, vacuum, dose)
    found[0] = 0.0
    n = scan.n_pixels
    middle = (np.array(canvas.shape) - 1) / 2
    y, x = (np.arange(side) - centre for side, centre in zip(canvas.shape, middle, strict=True))
    u = pixel_coordinates(n)
    at = placement.corners_px(scan, canvas) + n // 2 - middle
    scale = placement.scale * np.exp(quadratic_surface(found, at[:, 0], at[:, 1]))
    mean = float(np.sqrt(np.mean(scale**2)))
    flat = image * np.exp(-quadratic_surface(found, y[:, None], x[None, :]))
    bent = mean * probe * np.exp(quadratic_surface(found, u[:, None], u[None, :]))
    return flat.astype(np.complex64), bent.astype(np.complex64), Placement(placement.displacement_px, scale / mean)
