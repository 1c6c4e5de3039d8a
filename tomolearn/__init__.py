"""tomolearn: scikit-learn for X-ray tomography."""

import importlib

__version__ = "0.1.0"

# What `from tomolearn import ...` gives, by the room that holds it; rooms are imported at first use (PEP 562).
_EXPORTS = {
    "geometry": ("ParallelBeam",),
    "io": ("create_sink", "open_library", "open_pairs", "open_scan", "open_volume", "write_scan"),
    "metrics": ("Consistency", "consistency", "dice", "iou", "mcc", "mse", "nrmse", "psnr", "scorer", "ssim"),
    "operators": ("FourierRadonOperator", "GradientOperator", "LinearOperator", "RadonOperator"),
    "ops": ("backproject", "backproject_adjoint", "extract_patches", "radon", "radon_adjoint", "stitch_patches"),
    "preprocessing": (
        "AirNormalizer",
        "BadPixelRepairer",
        "FlatFieldCorrector",
        "HalfAcquisitionStitcher",
        "MinusLog",
        "PaganinFilter",
        "SinogramBinner",
        "SinogramPadder",
        "StripeRemover",
        "ZingerRemover",
        "find_center",
    ),
    "reconstruction": (
        "AutomapReconstructor",
        "CGLSReconstructor",
        "CNNReconstructor",
        "DenseReconstructor",
        "FBPReconstructor",
        "FBPUNetReconstructor",
        "IRadonMAPReconstructor",
        "LearnedPrimalDualReconstructor",
        "Noise2InverseReconstructor",
        "SIRTReconstructor",
        "TVReconstructor",
    ),
    "denoising": ("Noise2SelfDenoiser", "TomoGANDenoiser", "VAEDenoiser"),
    "classification": ("AlexNetClassifier", "AlexNetRegressor"),
    "segmentation": ("UNetSegmenter",),
    "manifold": ("TSNEReducer", "TrainingSetDetector"),
    "display": (
        "DenoisingDisplay",
        "EmbeddingDisplay",
        "ReconstructionDisplay",
        "SegmentationDisplay",
        "SinogramDisplay",
        "TrainingCurveDisplay",
        "check_training_set",
    ),
    "solvers": ("cgls", "fbp", "fista_tv", "sirt", "tv"),
    "streaming": ("reconstruct_volume",),
}
_ROOM_OF = {name: room for room, names in _EXPORTS.items() for name in names}
_ROOMS = (*_EXPORTS, "base", "exceptions", "simulation", "training")

__all__ = ["__version__", "load", "save", *sorted(_ROOM_OF)]


def load(path):
    """Read what ``save`` has written: a fitted estimator or a pipeline of such. No code of the file is run.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator
        Fitted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is broken, no model file, or holds what no estimator of this version can hold.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import tomolearn
    >>> X, y = np.random.default_rng(0).random((2, 8, 12, 12))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> tomolearn.CNNReconstructor(width=8, max_epochs=1, random_state=0).fit(X, y).save(path)
    >>> tomolearn.load(path).predict(X).shape
    (8, 12, 12)
    """
    for room in _EXPORTS:  # public estimators enter the registry when their room is imported
        importlib.import_module(f"{__name__}.{room}")
    return importlib.import_module(f"{__name__}.base").read_estimator(path)


def save(estimator, path, *, dtype=None):
    """Write a fitted estimator of tomolearn, or a pipeline of such, as one file that `load` reads.

    Parameters
    ----------
    estimator : estimator, Pipeline or FrozenEstimator
        Steps may be estimators of tomolearn, ``FrozenEstimator`` around them, "passthrough", and pipelines, up to three
        within each other. A step that is not fitted is kept unfitted. The cache of a pipeline (``memory``) is not kept.
    path : path-like
        An existing file is replaced when the new one is whole.
    dtype : {"float16", "bfloat16"}, default=None
        Of the networks' weights in the file; half the size, and rounded. None: as they are.

    Raises
    ------
    NotFittedError
        If ``estimator`` is not fitted.
    TypeError, ValueError
        If a step is of another package, a parameter is no plain value, or ``dtype`` is unknown.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import tomolearn
    >>> from sklearn.pipeline import make_pipeline
    >>> X = np.random.default_rng(0).uniform(0.5, 1.0, (2, 8, 12))
    >>> pipeline = make_pipeline(tomolearn.MinusLog(), tomolearn.FBPReconstructor()).fit(X)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.tomo"
    >>> tomolearn.save(pipeline, path)
    >>> bool((tomolearn.load(path).predict(X) == pipeline.predict(X)).all())
    True
    """
    importlib.import_module(f"{__name__}.base").write_estimator(estimator, path, dtype=dtype)


def __getattr__(name):
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value  # the next look does not come here
        return value
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'tomolearn' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__, *_ROOMS})
