"""Scans that are worse than they could be: fewer views, a part of the turn, and pixels that are wrong."""

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._validation import check_integer, check_real
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import as_radians
from tomolearn.simulation._arguments import as_projections, check_angle_range
from tomolearn.simulation._detector import draw_faults

__all__ = ["add_detector_defects", "select_views"]


def select_views(sinograms, angles, *, n_views=None, angle_range=None, angle_unit=None):
    """The views of a scan that a quicker one would have, or one that cannot turn all around.

    Parameters
    ----------
    sinograms : ndarray of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
    angles : array-like of shape (n_angles,)
        In any order.
    n_views : int, default=None
        So many of the views, evenly spread over those that there are, the first of them included: view
        ``k * n_angles // n_views`` for each k. None: all.
    angle_range : tuple of two float, default=None
        Limited angle: only views from the first to the second angle, both included, in the unit of ``angles``; before
        ``n_views`` are taken. None: all.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles`` and ``angle_range``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    sinograms : ndarray of shape (n_views, n_detectors) or (n, n_views, n_detectors)
    angles : ndarray of shape (n_views,), float64
        In radians.

    Raises
    ------
    ValueError
        If the sinograms have another number of angles, or there are fewer views than wanted.
    TypeError
        If a number is not one.
    GeometryError
        If angles or range are not angles, or none lies in the range.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import select_views
    >>> sparse, angles = select_views(np.zeros((2, 180, 64)), default_angles(180), n_views=4)
    >>> sparse.shape, np.rad2deg(angles).round(6).tolist()
    ((2, 4, 64), [0.0, 45.0, 90.0, 135.0])
    """
    sinograms, radians = np.asarray(sinograms), as_radians(angles, angle_unit)
    if sinograms.ndim not in (2, 3) or sinograms.shape[-2] != radians.size:
        raise ValueError(
            f"sinograms must be (n_angles, n_detectors) or (n, n_angles, n_detectors) with {radians.size} angles; got "
            f"shape {sinograms.shape}."
        )
    kept = np.arange(radians.size)
    if angle_range is not None:
        # The unit has been settled by the angles: a range in radians may look like degrees, and the other way round.
        low, high = check_angle_range(angle_range, angle_unit or "rad")
        slack = 1e-9 * max(1.0, abs(low), abs(high))  # of the conversion from degrees
        kept = np.flatnonzero((radians >= low - slack) & (radians <= high + slack))
        if kept.size == 0:
            raise GeometryError(
                f"angle_range must hold some of the angles, which reach from {radians.min():g} to {radians.max():g} "
                f"rad; got {low:g} to {high:g} rad."
            )
    if n_views is not None:
        n_views = check_integer(n_views, "n_views", low=1, high=kept.size)
        kept = kept[np.arange(n_views) * kept.size // n_views]
    return sinograms[..., kept, :], radians[kept]


def add_detector_defects(
    sinograms, *, ring_strength=0.0, ring_fraction=0.1, n_dead=0, random_state=None, return_dead=False
):
    """Sinograms as a detector measures them some of whose pixels are wrong.

    Each sinogram has a detector row of its own. A gain that is not the one of the flats is a stripe along the angles,
    which a reconstruction shows as a ring; a dead pixel has nothing to say.

    Parameters
    ----------
    sinograms : array-like of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals of the attenuation, without unit.
    ring_strength : float, default=0.0
        Standard deviation of the error of the gain. The stripe is ``-log(gain)``.
    ring_fraction : float, default=0.1
        Share of the pixels that have such an error.
    n_dead : int, default=0
        Dead pixels of each sinogram: their columns are 0.
    random_state : int, RandomState instance or None, default=None
        Source of the faults. A fault that is switched on does not move the others.
    return_dead : bool, default=False
        Also return which pixels are dead.

    Returns
    -------
    sinograms : ndarray
        In the shape and floating dtype of ``sinograms`` (integers give float32).
    dead : ndarray of shape (n_detectors,) or (n, n_detectors), bool
        Only with ``return_dead``.

    Raises
    ------
    ValueError
        If the sinograms have another number of axes or hold NaN or infinity, or a number is out of its range.
    TypeError
        If an argument does not hold real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.simulation import add_detector_defects
    >>> faulty, dead = add_detector_defects(np.ones((90, 64)), n_dead=2, random_state=0, return_dead=True)
    >>> dead.sum(), faulty[:, dead].max()
    (np.int64(2), np.float64(0.0))
    """
    values = as_projections(sinograms, "sinograms")
    if values.ndim not in (2, 3):
        raise ValueError(
            f"sinograms must be (n_angles, n_detectors) or (n, n_angles, n_detectors); got shape {np.shape(sinograms)}."
        )
    strength = check_real(ring_strength, "ring_strength", low=0, high=1)
    fraction = check_real(ring_fraction, "ring_fraction", low=0, high=1)
    n_dead = check_integer(n_dead, "n_dead", low=0, high=values.shape[-1])
    rng = np.random.default_rng(check_random_state(random_state).randint(0, 2**31 - 1))
    stack = values.reshape(-1, *values.shape[-2:])
    gain, dead = draw_faults((len(stack), stack.shape[2]), rng, strength, fraction, n_dead)
    stack = (stack - np.log(gain)[:, None, :]).astype(values.dtype)
    stack[np.broadcast_to(dead[:, None, :], stack.shape)] = 0
    faulty, dead = stack.reshape(values.shape), dead.reshape(*values.shape[:-2], -1)
    return (faulty, dead) if return_dead else faulty
