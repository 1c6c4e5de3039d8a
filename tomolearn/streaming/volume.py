"""``predict_volume``: what a fitted estimator predicts for a volume of any size, from file to file."""

from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from tomolearn.io import ArraySource, open_scan
from tomolearn.io.source import SCAN_AXES, Source
from tomolearn.streaming.scan import reconstruct_volume

__all__ = ["VolumePrediction"]


class VolumePrediction:
    """Gives a fitted reconstructor the method `predict_volume`.

    Examples
    --------
    >>> from tomolearn import FBPReconstructor
    >>> from tomolearn.streaming import VolumePrediction
    >>> issubclass(FBPReconstructor, VolumePrediction)
    True
    """

    def predict_volume(self, source, out, *, memory=None, resume=False, overwrite=False):
        """Reconstruct a stack of sinograms of any size, block by block, from file to file.

        Parameters
        ----------
        source : Source, array-like or path-like
            Line integrals (rows, angles, detectors), with sinograms as in ``fit``. Raw counts need corrections first:
            see `tomolearn.streaming.reconstruct_volume`.
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
            If the sinograms have another shape than in ``fit``, are not finite, or are raw counts.
        MemoryBudgetError
            If not even one slice fits into ``memory``.
        FileExistsError
            If the volume exists and ``overwrite`` is False.
        """
        check_is_fitted(self)
        if not isinstance(source, Source):
            is_path = isinstance(source, str) or hasattr(source, "__fspath__")
            source = open_scan(source) if is_path else ArraySource(source, SCAN_AXES)
        if source.shape[1:] != self.sinogram_shape_:
            raise ValueError(
                f"source must hold sinograms of shape {self.sinogram_shape_} (n_angles, n_detectors) as in fit; "
                f"{source.name} holds {source.shape[1:]}. Fit again for another scan."
            )
        report = reconstruct_volume(
            FrozenEstimator(self), source, out, memory=memory, resume=resume, overwrite=overwrite, verbose=self.verbose
        )
        return report.path
