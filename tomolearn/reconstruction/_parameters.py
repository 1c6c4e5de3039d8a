"""The parameters and attributes that learned reconstructors share, described once."""

from tomolearn.training.parameters import describe_training

__all__ = ["describe"]

_TEXTS = {
    "{scan}": """
    angles : array-like of shape (n_angles,), default=None
        In any order and spacing. None: equally spaced over half a turn, ``linspace(0, pi, n_angles, endpoint=False)``.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    center : float, default=None
        Detector coordinate of the rotation axis. None: the middle, ``(n_detectors - 1) / 2``.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels of the image.
    image_shape : tuple of two int, default=None
        Rows and columns of an image. None: those of a stack ``y``; else ``(n_detectors, n_detectors)``.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.
    """,
    "{augmentation}": """
    augmentation : bool, default=False
        In training, reflect and turn each batch at random, sinograms and images alike, in the up to eight ways that map
        the scan onto itself: equally spaced angles over half a turn have them, with the axis in the middle.
    """,
    "{shapes}": """
    image_shape : tuple of two int, default=None
        Rows and columns of an image. None: those of a stack ``y``; else ``(n_detectors, n_detectors)``.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.
    """,
    "{scanned}": """
    geometry_ : ParallelBeam
        The scan.
    angles_ : ndarray of shape (n_angles,), float64
        In radians.
    center_ : float
        The centre that is used.
    """,
    "{learned}": """
    x_mean_, x_scale_, y_mean_, y_scale_ : float
        Mean and scale of sinograms and images, by which they are normalised.
    sinogram_shape_, image_shape_ : tuple of two int
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.
    """,
}


def describe(learning_rate, loss="mse", optimizer="adam"):
    """Fill in the parameters and attributes that learned reconstructors share: a class decorator."""
    return describe_training(learning_rate, loss, optimizer, _TEXTS)
