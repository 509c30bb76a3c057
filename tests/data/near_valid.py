"""Hypothesis strategies of values, options and files that are valid or nearly so, and how an unforeseen error reads."""

import io
import re
from dataclasses import asdict
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tasks.options.run import RunOptions

QUICK = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

UNFORESEEN = re.compile(r"\(at \w+\.py:\d+\)|^[A-Za-z]\w*(Error|Exception|Interrupt|Iteration)\b: ")
"""How workers and the run loop tell of an error that nobody foresaw."""

ODD: list[Any] = [0, 1, -1, 2, 10, 800, 10**6, 10**30, 1e-300, 1e300, 0.5, True, None, "", "auto", "off", "\0", "x" * 300, [], {}]
NEAR: Any = st.one_of(
    st.sampled_from(ODD),
    st.integers(-5, 2000),
    st.floats(-10, 10, allow_nan=False),
    st.lists(st.integers(-3, 70), max_size=5),
)
FIELDS = [(stage, name) for stage, values in asdict(RunOptions()).items() if isinstance(values, dict) for name in values]


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Options in which up to three values are replaced by others, most of the time of the same kind."""
    chosen: dict[str, Any] = {}
    defaults = asdict(RunOptions())
    for stage, name in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        default = defaults[stage][name]
        alike = st.just(default)
        if isinstance(default, int | float) and not isinstance(default, bool):
            alike = st.sampled_from([default, default * 2, default / 2, default + 1, -default, default * 1000])
        chosen.setdefault(stage, {})[name] = draw(st.one_of(alike, NEAR))
    return chosen


def npz(energy_ev: Any = 5420.0, **changes: Any) -> bytes:
    """A small scan file with nothing wrong with it; ``changes`` replace its arrays, or leave out those that are None."""
    y, x = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    arrays: dict[str, Any] = {
        "counts": np.random.default_rng(0).poisson(50, (16, 32, 32)).astype(np.uint16),
        "positions_m": np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
        "energy_ev": np.array(energy_ev),
        "detector_pixel_size_m": np.array(75e-6),
        **changes,
    }
    file = io.BytesIO()
    np.savez(file, **{name: values for name, values in arrays.items() if values is not None})
    return file.getvalue()
