"""The estimator contract on every public estimator, the registry, and the public names."""

import importlib
import inspect
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from estimator_checks import Case, parametrize_with_image_checks
from expected_failures import EXPECTED_FAILED_CHECKS, expected_failed_checks
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import tomolearn
import tomolearn.classification
import tomolearn.denoising
import tomolearn.manifold
import tomolearn.preprocessing
import tomolearn.reconstruction
import tomolearn.segmentation
from tomolearn.base import available_memory, check_memory, register, registry
from tomolearn.exceptions import MemoryBudgetError

pytestmark = [
    pytest.mark.filterwarnings("ignore:FlatFieldCorrector.fit was given neither flats nor darks"),
    pytest.mark.filterwarnings("ignore:(AirNormalizer|MinusLog|ZingerRemover). [0-9]+ of [0-9]+ (values|zingers)"),
]

# One epoch of a few batches: the checks ask how an estimator behaves, not how well it does. Where they do ask that, of
# classifiers and regressors, it has more.
TRAINED = {"max_epochs": 1, "batch_size": 32, "learning_rate": 1e-2, "random_state": 0}
NARROW_ALEXNET = {"widths": (64, 64, 64), "dropout": 0.0, "precision": "float32"}
QUICK = {
    "FBPReconstructor": {},
    "SIRTReconstructor": {"max_iter": 5},
    "CGLSReconstructor": {"max_iter": 5},
    "TVReconstructor": {"max_iter": 5},
    "AutomapReconstructor": {**TRAINED, "rank": 4, "n_filters": 4},
    "CNNReconstructor": {**TRAINED, "width": 8, "n_filters": 4, "n_image_filters": 4},
    "DenseReconstructor": {**TRAINED, "width": 8, "n_filters": 4},
    "FBPUNetReconstructor": {**TRAINED, "channels": (4, 6)},
    "IRadonMAPReconstructor": {**TRAINED, "channels": (4, 6)},
    "LearnedPrimalDualReconstructor": {**TRAINED, "n_iterations": 2, "n_primal": 2, "n_dual": 2, "n_filters": 4},
    "Noise2InverseReconstructor": {**TRAINED, "channels": (4, 6), "patch_shape": (8, 8)},
    "Noise2SelfDenoiser": {**TRAINED, "channels": (4, 6), "spacing": 2, "patch_shape": (8, 8)},
    "TomoGANDenoiser": {**TRAINED, "perceptual_weight": 0, "patch_shape": (8, 8)},
    "VAEDenoiser": {**TRAINED, "latent_dim": 4, "patch_shape": (12, 12)},
    "UNetSegmenter": {**TRAINED, "n_levels": 2, "base_channels": 4},
    "AlexNetClassifier": {
        **TRAINED,
        **NARROW_ALEXNET,
        "channels": (4, 4, 4, 4, 8),
        "max_epochs": 3,
        "batch_size": 16,
    },
    "AlexNetRegressor": {
        **TRAINED,
        **NARROW_ALEXNET,
        "channels": (8, 12, 12, 12, 12),
        "max_epochs": 9,
    },
    "TSNEReducer": {"perplexity": 2.0, "max_iter": 60, "random_state": 0},
    "TrainingSetDetector": {"n_neighbors": 2},
    "AirNormalizer": {"width": 1, "side": "left"},
    "BadPixelRepairer": {},
    "FlatFieldCorrector": {},
    "HalfAcquisitionStitcher": {"center": 0.0},
    "MinusLog": {},
    "PaganinFilter": {"pixel_size": 1e-6, "distance": 1e-3, "energy": 2e4, "delta_beta": 100.0},
    "SinogramBinner": {},
    "SinogramPadder": {"width": 3},
    "StripeRemover": {"large_size": 5, "sorting_size": 3},
    "ZingerRemover": {},
}
ALEXNETS = ["AlexNetClassifier", "AlexNetRegressor"]
MAPS = ["TSNEReducer", "TrainingSetDetector"]  # no images come out of them; their files hold their image checks
# Those whose checks by scikit-learn are in test_estimators_slow.py: a file is one process' work.
SLOW = (*ALEXNETS, *MAPS, "UNetSegmenter", "TomoGANDenoiser", "VAEDenoiser", "Noise2SelfDenoiser")
DENOISERS = [name for name in QUICK if name.endswith("Denoiser")]
RECONSTRUCTORS = [name for name in QUICK if name.endswith("Reconstructor")]
LEARNED = [name for name in RECONSTRUCTORS if "max_epochs" in QUICK[name] and name != "Noise2InverseReconstructor"]


NEED_TARGETS = (*LEARNED, "TomoGANDenoiser", "UNetSegmenter", *ALEXNETS)
LABELS = np.random.default_rng(1).integers(3, size=(5, 12, 16))


def quick(name):
    return registry()[name](**QUICK[name])


def sinograms(n=5, n_angles=12, n_detectors=16):
    return np.random.default_rng(0).random((n, n_angles, n_detectors))


def test_the_registry_holds_every_public_estimator():
    public = {
        name: thing
        for room in (
            tomolearn.reconstruction,
            tomolearn.denoising,
            tomolearn.classification,
            tomolearn.segmentation,
            tomolearn.manifold,
            tomolearn.preprocessing,
        )
        for name, thing in vars(room).items()
        if inspect.isclass(thing) and issubclass(thing, BaseEstimator) and name in room.__all__
    }
    assert registry() == public
    assert set(QUICK) == set(public)
    assert set(EXPECTED_FAILED_CHECKS) <= set(public)
    assert all(len(failures) <= 4 for failures in EXPECTED_FAILED_CHECKS.values())


@pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning")
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@parametrize_with_checks(
    [quick(name) for name in QUICK if name not in SLOW], expected_failed_checks=expected_failed_checks
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", QUICK)
def test_scikit_learn_skips_nothing(name):
    tags = get_tags(quick(name))
    assert tags.input_tags.two_d_array and not tags.no_validation and not tags._skip_test and tags.requires_fit
    assert tags.target_tags.required == (name in NEED_TARGETS) and not tags.non_deterministic
    assert tags.target_tags.multi_output or name not in RECONSTRUCTORS


CASES = [
    Case(
        clone(quick(name)).set_params(image_shape=(14, 15), center=7.2), sinograms(), flat={"sinogram_shape": (12, 16)}
    )
    for name in RECONSTRUCTORS
    if "max_epochs" not in QUICK[name]
]
CASES += [
    Case(
        clone(quick(name)).set_params(image_shape=(14, 15)),
        sinograms(),
        np.random.default_rng(1).random((5, 14, 15)) if name in LEARNED else None,
        flat={"sinogram_shape": (12, 16)},
        rtol=1e-5,  # networks compute in float32
        half_rtol=0.1,
    )
    for name in RECONSTRUCTORS
    if "max_epochs" in QUICK[name]
]
CASES += [
    Case(
        quick(name),
        sinograms(),
        flat={"sinogram_shape": (12, 16)},
        slices_are_independent=quick(name).n_halo_rows == 0,
    )
    for name in QUICK
    if name not in RECONSTRUCTORS + DENOISERS + ALEXNETS + MAPS + ["UNetSegmenter"]
]
CASES += [
    Case(
        quick(name),
        sinograms(),
        np.random.default_rng(1).random((5, 12, 16)) if name == "TomoGANDenoiser" else None,
        flat={"image_shape": (12, 16)},
        rtol=1e-5,  # networks compute in float32
        half_rtol=0.1,
    )
    for name in DENOISERS
]
CASES += [
    Case(
        clone(quick(name)).set_params(max_epochs=1, learning_rate=1e-4),
        sinograms(),
        y,
        flat={"image_shape": (12, 16)},
        rtol=1e-5,
        half_rtol=0.1,
    )
    for name, y in zip(
        [*ALEXNETS, "UNetSegmenter"],
        (np.array([1, 0, 1, 0, 2]), np.random.default_rng(1).random((5, 2)), LABELS),
        strict=True,
    )
]


@parametrize_with_image_checks(CASES)
def test_images(case, check, request):
    if "tmp_path" in inspect.signature(check).parameters:
        check(case, tmp_path=request.getfixturevalue("tmp_path"))
    else:
        check(case)


def _predict(estimator, X):
    return estimator.predict(X) if hasattr(estimator, "predict") else estimator.transform(X)


def test_another_process_predicts_the_same():
    X = sinograms()
    images = np.random.default_rng(1).random((5, 16, 16))
    targets = {name: np.arange(5) for name in ALEXNETS} | {name: images[:, :12] for name in DENOISERS}
    targets["UNetSegmenter"] = LABELS
    fitted = [quick(name).fit(X, targets.get(name, images)) for name in QUICK]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(_predict, fitted, [X] * len(fitted)))
    for estimator, result in zip(fitted, results, strict=True):
        np.testing.assert_allclose(result, _predict(estimator, X), rtol=1e-12, err_msg=type(estimator).__name__)


def test_two_classes_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr("tomolearn.base.registration._REGISTRY", {})
    one = register(type("Twin", (), {"__module__": "one"}))
    again = register(type("Twin", (), {"__module__": "one"}))  # a module that is loaded anew
    assert registry() == {"Twin": again} and one is not again
    with pytest.raises(ValueError, match=r"Twin is the name of one\.Twin; choose another"):
        register(type("Twin", (), {"__module__": "two"}))
    assert registry() == {"Twin": again}


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    assert 2**20 < available_memory() < 2**60
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 3 * 2**30)
    check_memory(3 * 2**30, "the images", "Take fewer.")
    with pytest.raises(MemoryBudgetError, match=r"^the images need 4\.0 GiB; 3\.0 GiB are available\. Take fewer\.$"):
        check_memory(4 * 2**30, "the images", "Take fewer.")


# ---------------------------------------------------------------------------------------------------- public names


def fresh_process(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout + run.stderr


def test_import_is_quiet_and_light():
    heavy = "{m.split('.')[0] for m in sys.modules} & {'torch', 'sklearn', 'numpy', 'scipy', 'matplotlib'}"
    assert fresh_process(f"import sys, tomolearn; print({heavy})").strip() == "set()"


def test_every_public_name_resolves():
    code = (
        "import sys, tomolearn\n"
        "assert set(tomolearn.__all__) <= set(dir(tomolearn))\n"
        "assert tomolearn.solvers.fbp is tomolearn.fbp\n"
        "from tomolearn import *\n"
        "print([name for name in tomolearn.__all__ if name not in globals()])\n"
    )
    assert fresh_process(code).strip() == "[]"


def test_public_names_are_those_of_their_rooms():
    for room, names in tomolearn._EXPORTS.items():
        module = importlib.import_module(f"tomolearn.{room}")
        for name in names:
            assert name in module.__all__
            assert getattr(tomolearn, name) is getattr(module, name)
    assert set(tomolearn._EXPORTS["reconstruction"]) == set(tomolearn.reconstruction.__all__)
    with pytest.raises(AttributeError, match="module 'tomolearn' has no attribute 'FBP'"):
        _ = tomolearn.FBP
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(tomolearn)
