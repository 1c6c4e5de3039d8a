"""Turns and reflections of an image that its projections follow exactly: more training pairs from those there are."""

import numpy as np
import torch

from tomolearn.exceptions import GeometryError

__all__ = ["Symmetries"]

TOLERANCE = 1e-6  # of directions and of the centre


class Symmetries:
    """The reflections and quarter turns under which a scan maps onto itself.

    An image that is reflected or turned has the projections of the image itself under other angles. Where those are
    angles of the scan too, a pair of sinogram and image gives up to eight.

    Parameters
    ----------
    geometry : ParallelBeam

    Raises
    ------
    GeometryError
        If the scan has no symmetry: then nothing can be gained.

    Examples
    --------
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.reconstruction._symmetries import Symmetries
    >>> len(Symmetries(ParallelBeam(default_angles(4), 8)).kinds)
    8
    """

    def __init__(self, geometry):
        angles = np.asarray(geometry.angles, np.float64)
        square = geometry.image_shape[0] == geometry.image_shape[1]
        directions = np.stack([np.cos(angles), np.sin(angles)])
        middle = np.ndim(geometry.center) == 0 and abs(geometry.center - (geometry.n_detectors - 1) / 2) < TOLERANCE
        self.kinds = []  # (transpose, flip rows, flip columns, order of the angles, which are read from the back)
        for transpose in (False, True) if square else (False,):
            for up_down in (False, True):
                for left_right in (False, True):
                    # As the image is changed: x to the right and y upwards swap signs in a transposed image.
                    turn = np.diag([-1.0 if left_right else 1.0, -1.0 if up_down else 1.0])
                    if transpose:
                        turn = np.array([[0.0, -1.0], [-1.0, 0.0]]) @ turn
                    found = _matching(turn @ directions, directions)
                    if found is not None and (middle or not found[1].any()):
                        self.kinds.append((transpose, up_down, left_right, *map(torch.from_numpy, found)))
        if len(self.kinds) < 2:
            raise GeometryError(
                "augmentation=True needs a scan that a reflection or a quarter turn maps onto itself, such as angles "
                "equally spaced over half a turn with the axis in the middle of the detector; this one has no such "
                "symmetry. Set augmentation=False."
            )

    def __call__(self, sinograms, images):
        """Sinograms and images under a symmetry drawn from torch's global generator, the same for the whole batch.

        Parameters
        ----------
        sinograms : Tensor of shape (n, n_angles, n_detectors)
        images : Tensor of shape (n, rows, columns)

        Returns
        -------
        sinograms, images : Tensor
        """
        return self.apply(int(torch.randint(len(self.kinds), ())), sinograms, images)

    def apply(self, kind, sinograms, images):
        """Sinograms and images under one of the symmetries.

        Parameters
        ----------
        kind : int
            Position in ``kinds``; 0 changes nothing.
        sinograms : Tensor of shape (n, n_angles, n_detectors)
        images : Tensor of shape (n, rows, columns)

        Returns
        -------
        sinograms, images : Tensor
        """
        transpose, up_down, left_right, order, backwards = self.kinds[kind]
        sinograms = sinograms[:, order]
        sinograms = torch.where(backwards[:, None].to(sinograms.device), sinograms.flip(-1), sinograms)
        if transpose:
            images = images.transpose(1, 2)
        axes = [axis for axis, flip in ((1, up_down), (2, left_right)) if flip]
        return sinograms, images.flip(axes).contiguous()


def _matching(wanted, directions):
    """For each wanted direction a given one of its own that equals it, or is its opposite, and which are opposite.

    Equal ones first: a scan over a full turn holds both, and only they serve a scan whose axis is off the middle.
    """
    n = directions.shape[1]
    order, opposite, free = np.full(n, -1), np.zeros(n, bool), np.ones(n, bool)
    for sign in (1.0, -1.0):
        for k in np.flatnonzero(order < 0):
            fits = free & (np.abs(wanted[:, [k]] - sign * directions).max(axis=0) < TOLERANCE)
            if fits.any():
                order[k], opposite[k] = fits.argmax(), sign < 0
                free[order[k]] = False
    return (order, opposite) if (order >= 0).all() else None
