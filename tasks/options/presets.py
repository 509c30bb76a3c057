"""What options become before they are read: the defaults of a preset are put under them, and former names are replaced."""

from typing import Any, Final

from pydantic_core import ArgsKwargs

PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "default": {},
    "paper": {
        "reconstruct": {
            "cycles": 800,
            "start_from": "optics",
            "probe_update": "position",
            "settle": 0,
            "probe_modes": 1,
        },
        "kkr": {"start": 500, "every": 50},
        "fit": {"mask": "paper", "prior": "none"},
        "chemistry": {"preset": "paper"},
        "domains": {"borders": "kmeans"},
    },
}
"""Defaults of each preset that differ from those of the options, by stage."""


def with_preset(given: Any) -> Any:
    """The options of a run with their preset's defaults under each stage; a stage given as an object stays as it is."""
    values = dict(_named(given) or {})
    for stage, defaults in PRESETS.get(str(values.get("preset")), {}).items():
        chosen = values.get(stage, {})
        values[stage] = {**defaults, **chosen} if isinstance(chosen, dict) else chosen
    return _like(given, values)


def renamed(given: Any, former: str, name: str) -> Any:
    """The options of a stage with ``name`` in place of a former name.

    Raises
    ------
    ValueError
        Both are given.
    """
    values = _named(given)
    if not values or former not in values:
        return given
    if name in values:
        raise ValueError(f"{former} is the former name of {name}: give {name} alone")
    return _like(given, {name if one == former else one: value for one, value in values.items()})


def _named(given: Any) -> dict[str, Any] | None:
    """Options by their names; None where they are no mapping and no arguments."""
    return given if isinstance(given, dict) else given.kwargs if isinstance(given, ArgsKwargs) else None


def _like(given: Any, values: dict[str, Any]) -> Any:
    """The values in the form in which they were given."""
    return values if isinstance(given, dict) else ArgsKwargs(given.args, values) if isinstance(given, ArgsKwargs) else given
