"""The exceptions and warnings of tomolearn; each is also the built-in that callers would expect to catch."""

__all__ = [
    "DivergenceError",
    "ExtensionError",
    "FileFormatError",
    "GeometryError",
    "InconsistentVersionWarning",
    "MemoryBudgetError",
    "TomolearnError",
]


class TomolearnError(Exception):
    """Base of all exceptions of tomolearn."""


class DivergenceError(TomolearnError, ArithmeticError):
    """The loss of a training is no longer finite; the message names the parameters that prevent it."""


class ExtensionError(TomolearnError, ImportError):
    """A compiled extension is missing or does not load; the message holds the command that cures it."""


class FileFormatError(TomolearnError, ValueError):
    """A file that is broken, truncated, or of another kind or shape; the message says what was found and expected."""


class GeometryError(TomolearnError, ValueError):
    """Angles, centre, spacing or shapes that do not make a scan."""


class InconsistentVersionWarning(UserWarning):
    """A pickle of an estimator that another version of tomolearn wrote; the message names both versions."""


class MemoryBudgetError(TomolearnError, MemoryError):
    """More memory would be needed than there is; the message names the parameter that lowers the need."""
