"""Errors of the science: the message names the rule, the value seen and the likely cause."""


class TaskError(Exception):
    """Root of every error raised in ``tasks``.

    Attributes
    ----------
    energy_ev : float or None
        The one energy [eV], as measured, without which the computation might succeed; None where no single one is to blame.
    """

    energy_ev: float | None = None


class InvalidOptionError(TaskError, ValueError):
    """An option, or a combination of options, that has no meaning."""


class GeometryError(TaskError, ValueError):
    """Positions, distances or pixel sizes that do not describe a ptychographic scan."""


class OrientationError(TaskError, ValueError):
    """Frames that are flipped or transposed against the positions, or that do not tell which way up they are."""


class VacuumError(TaskError, ValueError):
    """Too little empty space around the specimen to fix the gauge of the object."""


class BlankFixedImageError(VacuumError):
    """The energy against which the others are registered shows no specimen; no other energy is to blame."""


class RegistrationError(TaskError, ValueError):
    """Images of neighbouring energies that could not be brought onto one grid."""


class WarmStartError(TaskError, ValueError):
    """An energy cannot start from the reconstruction of another one, and starts from the optics instead."""


class EnergyGridError(TaskError, ValueError):
    """A set of energies too small, unordered, or off the absorption edge."""


class NoModelError(TaskError, ValueError):
    """A curve was asked for where the run fits no model to its spectra."""


class FormulaError(TaskError, ValueError):
    """A chemical formula or absorption edge the tables do not know."""


class CancelledError(TaskError, RuntimeError):
    """The caller asked a running computation to stop."""
