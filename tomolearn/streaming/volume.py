"""``predict_volume``: what a fitted estimator predicts for a volume of any size, from file to file."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from tomolearn.io import ArraySource, open_scan
from tomolearn.io.source import SCAN_AXES, Source
from tomolearn.streaming.scan import reconstruct_volume

__all__ = ["VolumePrediction"]

ANGLE_TOLERANCE = 1e-3  # radians


class VolumePrediction:
    """Gives a fitted reconstructor the method `predict_volume`.

    Examples
    --------
    >>> from tomolearn import FBPReconstructor
    >>> from tomolearn.streaming import VolumePrediction
    >>> issubclass(FBPReconstructor, VolumePrediction)
    True
    """

    sinogram_shape_: tuple[int, int]
    verbose: int

    def predict_volume(self, source, out, *, memory=None, resume=False, overwrite=False):
        """Reconstruct a stack of sinograms of any size, block by block, from file to file.

        Slabs of 32 slices of a block, or of fewer where a device has no room for them, go to the estimator's ``device``
        and back while their neighbours are computed. Several devices, as "cuda:0,cuda:1", take them in turn; the volume
        is the same whichever takes which.

        Parameters
        ----------
        source : Source, array-like or path-like
            Line integrals (rows, angles, detectors), with sinograms as in ``fit`` or of another shape that ``predict``
            takes. Raw counts need corrections first: see `tomolearn.streaming.reconstruct_volume`.
        out : path-like
            The volume; its suffix says the kind (see `tomolearn.io.create_sink`).
        memory : str or int, default=None
            Most that the process may hold: "2GB", "500MiB" or bytes. None: half of what the machine has left.
        resume : bool, default=False
            Go on with what a run that was broken off has left.
        overwrite : bool, default=False
            Whether an existing volume may be replaced.

        Returns
        -------
        Path
            Of the volume.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If the sinograms have another shape than in ``fit``, are not finite, or are raw counts, or the file states
            other angles.
        MemoryBudgetError
            If not even one slice fits into ``memory``, or on a device.
        FileExistsError
            If the volume exists and ``overwrite`` is False.
        """
        check_is_fitted(self)
        if not isinstance(source, Source):
            is_path = isinstance(source, str) or hasattr(source, "__fspath__")
            source = open_scan(source) if is_path else ArraySource(source, SCAN_AXES)
        estimator = self._for_scan(source)
        _compare_angles(estimator, source)
        estimator = FrozenEstimator(estimator)
        report = reconstruct_volume(
            estimator, source, out, memory=memory, resume=resume, overwrite=overwrite, verbose=self.verbose
        )
        return report.path

    def _for_scan(self, source):
        """This estimator, if it takes the sinograms of ``source``."""
        if source.shape[1:] != self.sinogram_shape_:
            raise ValueError(
                f"source must hold sinograms of shape {self.sinogram_shape_} (n_angles, n_detectors) as in fit; "
                f"{source.name} holds {source.shape[1:]}. Fit again for another scan."
            )
        return self


def _compare_angles(estimator, source):
    """Raise if the file states other angles than those that the estimator was fitted with."""
    stated, known = getattr(source, "angles", None), getattr(estimator, "angles_", None)
    if stated is None or known is None or len(stated) != len(known):
        return
    apart = np.abs(np.exp(1j * np.asarray(stated)) - np.exp(1j * known)).max()
    if apart > ANGLE_TOLERANCE:
        raise ValueError(
            f"{source.name} states other angles than those of fit, by up to {np.rad2deg(apart):.2g} degrees. Fit with "
            "angles=scan.angles, angle_unit='rad'."
        )
