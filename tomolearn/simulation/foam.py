"""Foams: a cylinder of solid with round voids, whose volume is drawn and whose projections are exact."""

from dataclasses import dataclass

import numpy as np

from tomolearn._validation import check_integer, check_real
from tomolearn.simulation._arguments import check_pair, check_supersampling
from tomolearn.simulation.ellipses import ellipse_image, ellipse_sinogram
from tomolearn.simulation.spheres import pack_spheres, sphere_projections, sphere_volume

__all__ = ["Foam", "random_foam"]

CYLINDER_RADIUS = 0.45  # of the size
VOID_RADIUS = 0.97  # of the cylinder's: the skin that no void breaks
# Measured: full packings of radii s to l have some 0.05 V / (s**2.2 l**0.8) spheres in the volume V, for l = 1.5 s to
# 8 s. With 40 % of them the smallest are about 1.5 s, and solid is left between.
DENSITY = 0.02


@dataclass(frozen=True, eq=False)
class Foam:
    """A cylinder around the rotation axis with spherical voids, as `random_foam` makes it.

    Parameters
    ----------
    n_slices : int
    size : int
        Rows and columns of a slice.
    radius : float
        Of the cylinder in pixels; it goes on above and below the slices.
    voids : ndarray of shape (n, 4), float64
        Columns x, y, z, r in pixels from the middle of the volume; see `tomolearn.simulation.spheres`.
    value : float
        Of the solid: an attenuation in 1 / pixel.

    Examples
    --------
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import random_foam
    >>> foam = random_foam(4, 64, random_state=0)
    >>> foam.volume().shape, foam.sinograms(default_angles(90), start=1, stop=3).shape
    ((4, 64, 64), (2, 90, 64))
    """

    n_slices: int
    size: int
    radius: float
    voids: np.ndarray
    value: float

    def volume(self, *, start=0, stop=None, supersampling=3, n_threads=None):
        """Slices ``start`` to ``stop``: a foam need not fit into memory.

        Parameters
        ----------
        start : int, default=0
            First slice.
        stop : int, default=None
            The slice after the last one; None: ``n_slices``.
        supersampling : int, default=3
            Each voxel is the mean over this many points along each of its edges, at most 64.
        n_threads : int, default=None
            None: as many as there are processors for this process.

        Returns
        -------
        ndarray of shape (stop - start, size, size), float32
            From 0 to ``value``.

        Raises
        ------
        ValueError, TypeError
            If the slices are not those of the foam, or a number is out of its range.
        """
        start, stop = self._slices(start, stop)
        shape = (stop - start, self.size, self.size)
        volume = sphere_volume(self._table(start, stop), shape, supersampling=supersampling, n_threads=n_threads)
        volume += ellipse_image(self._cylinder(), shape[1:], supersampling="exact").astype(np.float32)
        # A pixel of the border that a void reaches: the share of the cylinder is exact, that of the void sampled.
        return np.maximum(volume, 0, out=volume)

    def sinograms(
        self,
        angles,
        *,
        n_detectors=None,
        center=None,
        detector_spacing=1.0,
        start=0,
        stop=None,
        supersampling=1,
        angle_unit=None,
        n_threads=None,
    ):
        """Exact parallel-beam projections of the slices ``start`` to ``stop``.

        Parameters
        ----------
        angles : array-like of shape (n_angles,)
            In any order and spacing.
        n_detectors : int, default=None
            Number of detector bins; None: ``size``.
        center : float, default=None
            Detector coordinate of the rotation axis; None: the middle of the detector.
        detector_spacing : float, default=1.0
            Width of a detector bin in pixels.
        start : int, default=0
            First slice.
        stop : int, default=None
            The slice after the last one; None: ``n_slices``.
        supersampling : int, default=1
            Rays of each cell along its width and its height, whose mean is taken. 1: the ray through its middle.
        angle_unit : {"rad", "deg", None}, default=None
            Unit of ``angles``; None means radians and is refused for values that look like degrees.
        n_threads : int, default=None
            None: as many as there are processors for this process.

        Returns
        -------
        ndarray of shape (stop - start, n_angles, n_detectors), float32

        Raises
        ------
        GeometryError
            If angles or centre do not make a scan.
        ValueError, TypeError
            If the slices are not those of the foam, or a number is out of its range.
        """
        start, stop = self._slices(start, stop)
        supersampling = check_supersampling(supersampling)
        n_detectors = self.size if n_detectors is None else n_detectors
        scan = {"center": center, "detector_spacing": detector_spacing, "angle_unit": angle_unit}
        cylinder = ellipse_sinogram(self._cylinder(), angles, n_detectors, bin_average=supersampling > 1, **scan)
        voids = sphere_projections(
            self._table(start, stop),
            angles,
            (stop - start, n_detectors),
            supersampling=supersampling,
            n_threads=n_threads,
            **scan,
        )
        for sinogram in voids:
            np.add(sinogram, cylinder, out=sinogram, casting="same_kind")
        return voids

    def _slices(self, start, stop):
        start = check_integer(start, "start", low=0, high=self.n_slices - 1)
        stop = self.n_slices if stop is None else stop
        return start, check_integer(stop, "stop", low=start + 1, high=self.n_slices)

    def _cylinder(self):
        return [[self.value, self.radius, self.radius, 0.0, 0.0, 0.0]]

    def _table(self, start, stop):
        """The voids that reach into the slices, seen from the middle of these."""
        z = self.voids[:, 2] - ((start + stop) / 2 - self.n_slices / 2)
        near = np.abs(z) < self.voids[:, 3] + (stop - start) / 2
        x, y, r = self.voids[near][:, [0, 1, 3]].T
        return np.column_stack([np.full(len(r), -self.value), x, y, z[near], r])


def random_foam(
    n_slices, size, *, n_voids=None, radius_range=None, height=None, value=1.0, n_candidates=None, random_state=None
):
    """A random foam: a cylinder of solid with spherical voids that do not overlap.

    The cylinder stands on the rotation axis and has the radius ``0.45 * size``; the voids keep to 97 % of it.

    Parameters
    ----------
    n_slices, size : int
        Of the volume: slices, and rows and columns of each, at least 16.
    n_voids : int, default=None
        How many, within ``height``; None: as many as make a loose foam of these radii, with 50 to 70 % voids.
    radius_range : tuple of two float, default=None
        Smallest and largest radius in pixels; None: ``(size / 64, size / 12)``.
    height : float, default=None
        Of the part of the cylinder that has voids, in pixels, with the slices in its middle; None: ``n_slices`` and
        the largest void above and below, so that voids are cut by the first and the last slice.
    value : float, default=1.0
        Of the solid: an attenuation in 1 / pixel.
    n_candidates : int, default=None
        As in `pack_spheres`: more make a denser packing.
    random_state : int, RandomState instance or None, default=None
        Seed of the packing; an int gives the same foam on every platform.

    Returns
    -------
    Foam

    Raises
    ------
    ValueError
        If a number is out of its range, or so many voids do not fit.
    TypeError
        If an argument is not a number.

    References
    ----------
    D. M. Pelt, A. A. Hendriksen and K. J. Batenburg, "Foam-like phantoms for comparing tomography algorithms",
    J. Synchrotron Rad. 29 (2022) 254, DOI 10.1107/S1600577521011322.

    Examples
    --------
    >>> from tomolearn.simulation import random_foam
    >>> foam = random_foam(2, 128, n_voids=100, radius_range=(2.0, 10.0), value=0.01, random_state=0)
    >>> foam.voids.shape, float(foam.volume().max())
    ((100, 4), 0.009999999776482582)
    """
    n_slices, size = check_integer(n_slices, "n_slices", low=1), check_integer(size, "size", low=16)
    value = check_real(value, "value", low=0, high=1e6, open_low=True)
    radius = CYLINDER_RADIUS * size
    radius_range = (size / 64, size / 12) if radius_range is None else radius_range
    smallest, largest = check_pair(
        radius_range, "radius_range", check_real, {"low": 0, "high": radius, "open_low": True}
    )
    height = n_slices + 2 * largest if height is None else check_real(height, "height", low=n_slices, high=1e9)
    if n_voids is None:
        volume = np.pi * (VOID_RADIUS * radius) ** 2 * height
        n_voids = max(1, int(DENSITY * volume / (smallest**2.2 * largest**0.8)))
    voids = pack_spheres(
        n_voids,
        (smallest, largest),
        radius=VOID_RADIUS * radius,
        height=height,
        n_candidates=n_candidates,
        random_state=random_state,
    )
    return Foam(n_slices, size, radius, voids, value)
