"""tomolearn: scikit-learn for X-ray tomography."""

import importlib

__version__ = "0.1.0"

# What `from tomolearn import ...` gives, by the room that holds it; rooms are imported at first use (PEP 562).
_EXPORTS = {
    "geometry": ("ParallelBeam",),
    "io": ("create_sink", "open_library", "open_pairs", "open_scan", "open_volume", "write_scan"),
    "metrics": ("Consistency", "consistency", "dice", "iou", "mcc", "mse", "nrmse", "psnr", "scorer", "ssim"),
    "operators": ("GradientOperator", "LinearOperator", "RadonOperator"),
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
    "display": ("EmbeddingDisplay", "check_training_set"),
    "solvers": ("cgls", "fbp", "sirt", "tv"),
    "streaming": ("reconstruct_volume",),
}
_ROOM_OF = {name: room for room, names in _EXPORTS.items() for name in names}
_ROOMS = (*_EXPORTS, "base", "exceptions", "simulation", "training")

__all__ = ["__version__", "load", *sorted(_ROOM_OF)]


def load(path):
    """Read an estimator that was written by its method ``save``. No code of the file is run.

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
