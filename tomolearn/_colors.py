"""Colours that readers of every kind of colour vision tell apart: those of the displays and of pictures of labels."""

import importlib

__all__ = ["CLASS_COLORS", "COLORS", "class_colors"]

# Okabe and Ito's, without black and yellow: black is that of the truth, and yellow is hardly seen on white.
# https://jfly.uni-koeln.de/color/
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# On grey images the light ones are seen best.
CLASS_COLORS = (COLORS[4], COLORS[5], COLORS[2], "#F0E442", COLORS[3], COLORS[0], COLORS[1])


def class_colors(n):
    """A colour for each of ``n`` classes.

    Parameters
    ----------
    n : int

    Returns
    -------
    list of tuple of three float
        Red, green and blue, 0 to 1: `CLASS_COLORS`; of more classes than these viridis, of which neighbours look alike.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from tomolearn._colors import class_colors
    >>> len(class_colors(3)), class_colors(20)[0] == class_colors(20)[19]
    (3, False)
    """
    if n <= len(CLASS_COLORS):
        to_rgb = importlib.import_module("matplotlib.colors").to_rgb
        return [to_rgb(color) for color in CLASS_COLORS[:n]]
    viridis = importlib.import_module("matplotlib").colormaps["viridis"]
    return [viridis(k / (n - 1))[:3] for k in range(n)]
