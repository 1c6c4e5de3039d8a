"""The classical reconstructors: known answers, the functions they stand for, centres, blocks, searches, messages."""

import io
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tomolearn import (
    CGLSReconstructor,
    FBPReconstructor,
    ParallelBeam,
    RadonOperator,
    SIRTReconstructor,
    TVReconstructor,
    cgls,
    fbp,
    radon,
    sirt,
    tv,
)
from tomolearn.exceptions import GeometryError, MemoryBudgetError
from tomolearn.geometry import default_angles

ALL = (FBPReconstructor, SIRTReconstructor, CGLSReconstructor, TVReconstructor)
ITERATIVE = ALL[1:]


def phantoms(n=4, size=24, seed=0):
    """Images of a few overlapping ellipses, zero at the rim."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    images = np.zeros((n, size, size))
    for image in images:
        for _ in range(3):
            (x0, y0), (a, b) = rng.uniform(-0.3, 0.3, 2), rng.uniform(0.2, 0.5, 2)
            image += rng.uniform(0.3, 1) * (((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 < 1)
    return images


def scan(images, n_angles=40, noise=0.0, **geometry):
    sinograms = radon(images, default_angles(n_angles), **geometry)
    return sinograms + np.random.default_rng(1).normal(0, noise, sinograms.shape) if noise else sinograms


# --------------------------------------------------------------------------------------------------- known answers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("image_shape", "n_detectors", "n_angles", "spacing", "center", "radius", "place"),
    [
        ((48, 48), 48, 77, 1.0, None, 16.0, (0, 0)),
        ((48, 48), 64, 77, 1.0, 29.3, 20.0, (2.0, -1.5)),
        ((64, 64), 140, 103, 0.5, 70.25, 24.0, (3.0, 4.0)),
        ((96, 96), 60, 160, 2.0, 28.7, 30.0, (-6.0, 8.0)),
        ((50, 81), 101, 130, 1.0, 47.6, 21.0, (14.0, 1.0)),
        ((129, 64), 160, 207, 0.9, None, 22.0, (4.0, -30.0)),
        ((200, 200), 200, 320, 1.0, 101.4, 90.0, (0.7, 0.2)),
    ],
)
def test_a_disc_of_value_1_has_mean_1(image_shape, n_detectors, n_angles, spacing, center, radius, place, dtype):
    axis = (n_detectors - 1) / 2 if center is None else center
    angles = default_angles(n_angles)[:, None]
    distance = (np.arange(n_detectors) - axis) * spacing - place[0] * np.cos(angles) - place[1] * np.sin(angles)
    sinogram = 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    reconstructor = FBPReconstructor(center=center, detector_spacing=spacing, image_shape=image_shape)
    image = reconstructor.fit_transform(sinogram[None].astype(dtype))[0]
    rows, columns = image_shape
    y, x = (rows - 1) / 2 - np.arange(rows)[:, None], np.arange(columns) - (columns - 1) / 2
    inside = np.hypot(x - place[0], y - place[1]) <= 0.7 * radius
    assert inside.sum() > 300
    assert image[inside].mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("reconstructor", "bound"),
    [
        (FBPReconstructor(), 0.12),
        (SIRTReconstructor(max_iter=300, nonnegative=True), 0.05),
        (SIRTReconstructor(max_iter=40, n_subsets=8, nonnegative=True), 0.05),
        (CGLSReconstructor(max_iter=60), 0.02),
        (TVReconstructor(regularization=0.01, max_iter=600), 0.02),
    ],
    ids=str,
)
def test_phantoms_come_back(reconstructor, bound):
    images = phantoms()
    error = reconstructor.fit_transform(scan(images)) - images
    assert np.sqrt((error**2).mean()) < bound * images.max()


SCAN = {"center": 10.8, "detector_spacing": 1.1, "image_shape": (20, 26)}


@pytest.mark.parametrize(
    ("reconstructor", "solver", "options"),
    [
        (FBPReconstructor, fbp, {"filter": "hann", "cutoff": 0.7, "padding": "edge"}),
        (SIRTReconstructor, sirt, {"max_iter": 7, "n_subsets": 3, "nonnegative": True}),
        (CGLSReconstructor, cgls, {"max_iter": 6, "regularization": 2.0, "nonnegative": False}),
        (TVReconstructor, tv, {"regularization": 0.3, "max_iter": 8, "nonnegative": True}),
    ],
)
def test_an_estimator_is_its_function(reconstructor, solver, options):
    X = scan(phantoms(), 15, noise=0.1)
    angles = np.sort(np.random.default_rng(0).uniform(0, 180, 15))
    A = RadonOperator(ParallelBeam(angles, 24, angle_unit="deg", **SCAN))
    estimator = reconstructor(angles=angles, angle_unit="deg", **SCAN, **options).fit(X)
    np.testing.assert_array_equal(estimator.predict(X), solver(A, X, **options))
    assert estimator.geometry_ == A.geometry
    # each option matters here, so that none can be lost on the way
    plain = {"image_shape": SCAN["image_shape"], "angles": angles, "angle_unit": "deg"}
    for name in {**SCAN, **options}:
        if name not in ("image_shape", "nonnegative"):
            fewer = {k: v for k, v in {**plain, **SCAN, **options}.items() if k != name}
            assert np.abs(reconstructor(**fewer).fit_transform(X) - estimator.predict(X)).max() > 1e-4, name


# ----------------------------------------------------------------------------------------------- what fit records


@pytest.mark.parametrize("reconstructor", ALL)
def test_fit_records_the_scan(reconstructor):
    X = scan(phantoms(), 12)
    fitted = reconstructor().fit(X)
    assert fitted.sinogram_shape_ == (12, 24) and fitted.image_shape_ == (24, 24)
    assert fitted.n_features_in_ == 12 * 24 and fitted.center_ == 11.5
    np.testing.assert_array_equal(fitted.angles_, default_angles(12))
    degrees = reconstructor(angles=np.arange(0, 180, 15), angle_unit="deg", center=[11, 12, 11, 12], image_shape=[5, 6])
    fitted = degrees.fit(X)
    np.testing.assert_allclose(fitted.angles_, np.arange(12) * np.pi / 12)
    assert fitted.angles_.dtype == np.float64 and fitted.image_shape_ == (5, 6)
    np.testing.assert_array_equal(fitted.center_, [11.0, 12.0, 11.0, 12.0])
    assert fitted.geometry_.center == ((11.0,), (12.0,), (11.0,), (12.0,))


def test_angles_that_span_many_turns_stay_what_the_unit_said():
    angles = np.linspace(0, 16, 40, endpoint=False)
    estimator = SIRTReconstructor(angles=angles, angle_unit="rad", center=np.full(4, 11.0), tol=0.9)
    np.testing.assert_array_equal(estimator.fit(scan(phantoms())).angles_, angles)


def test_a_stack_has_no_feature_names():
    fitted = FBPReconstructor().fit(scan(phantoms(), 12))
    fitted.feature_names_in_ = np.array(["a", "b"], dtype=object)  # as a data frame would have left them
    assert not hasattr(fitted.fit(scan(phantoms(), 12)), "feature_names_in_")


def test_flat_rows_are_taken_as_one_angle_with_a_warning():
    rows = np.random.default_rng(0).random((3, 7))
    with pytest.warns(UserWarning, match=r"each of the 7 values of a row of X .* Give X of shape .*sinogram_shape"):
        images = FBPReconstructor().fit(rows).predict(rows)
    expected = FBPReconstructor().fit(rows[:, None]).predict(rows[:, None])
    np.testing.assert_array_equal(images, expected.reshape(3, 49))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FBPReconstructor(sinogram_shape=(1, 7)).fit(rows)
        FBPReconstructor(angles=[0.3]).fit(rows)


# ------------------------------------------------------------------------------------------------ centres and blocks


@pytest.mark.parametrize("reconstructor", ALL)
def test_each_slice_has_its_center(reconstructor):
    images = phantoms()
    centers = np.array([11.5, 12.5, 10.0, 11.1])
    X = np.concatenate([scan(images[i : i + 1], 30, center=c, n_detectors=27) for i, c in enumerate(centers)])
    common = {"image_shape": (24, 24)}
    together = reconstructor(center=centers, **common).fit_transform(X)
    alone = [reconstructor(center=c, **common).fit_transform(X[i : i + 1]) for i, c in enumerate(centers)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-10)
    wrong = reconstructor(center=float(centers.mean()), **common).fit_transform(X)
    assert np.abs(together - images).mean() < 0.8 * np.abs(wrong - images).mean()


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("reconstructor", ITERATIVE)
def test_slices_do_not_know_each_other(reconstructor, nonnegative):
    X = scan(phantoms(5), 20, noise=0.3)
    X[0] = scan(np.ones((1, 24, 24)), 20)  # nothing to clip here, much in the others
    # Few iterations: conjugate gradients multiply rounding errors by ten in each, until they converge.
    fitted = reconstructor(nonnegative=nonnegative, max_iter=7).fit(X)
    together, alone = fitted.predict(X), np.concatenate([fitted.predict(x[None]) for x in X])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-10)
    assert (together.min() >= 0) == nonnegative


@pytest.mark.parametrize("n", [31, 32, 33, 65])
@pytest.mark.parametrize("per_slice", [False, True])
def test_blocks_join_without_a_seam(n, per_slice):
    X = np.random.default_rng(0).random((n, 6, 8))
    center = np.linspace(3, 4, n) if per_slice else 3.2
    A = RadonOperator(ParallelBeam(default_angles(6), 8, center=center[:, None] if per_slice else center))
    for reconstructor, solver in ((FBPReconstructor, fbp), (SIRTReconstructor, sirt)):
        images = reconstructor(center=center).fit_transform(X)
        np.testing.assert_allclose(images, solver(A, X), rtol=0, atol=1e-12)


def test_a_bad_value_in_a_late_block_is_found_first_and_placed(monkeypatch):
    X = np.random.default_rng(0).random((70, 6, 8))
    fitted = FBPReconstructor().fit(X)
    X[66, 2, 3] = np.nan
    monkeypatch.setattr("tomolearn.reconstruction.classical.fbp", None)  # nothing is solved before
    with pytest.raises(ValueError, match=r"^X\[64:70\] must be finite; got 1 NaN .*Repair such values.*weights="):
        fitted.predict(X)


# ------------------------------------------------------------------------------------------------------ iterations


@pytest.mark.parametrize("reconstructor", ITERATIVE)
def test_n_iter_is_what_predict_runs(reconstructor):
    X = scan(phantoms(), 20)
    assert reconstructor(max_iter=9).fit(X).n_iter_ == 9
    fitted = reconstructor(max_iter=400, tol=0.1).fit(X)
    assert 1 < fitted.n_iter_ < 400
    by_count = reconstructor(max_iter=fitted.n_iter_).fit(X)
    np.testing.assert_array_equal(fitted.predict(X), by_count.predict(X))
    # the easy slice alone would stop at once; it gets the iterations that fit counted
    easy = np.concatenate([X[:1], np.zeros_like(X[:1])])
    np.testing.assert_array_equal(fitted.predict(easy)[0], fitted.predict(X)[0])
    with pytest.warns(ConvergenceWarning, match=r"used all max_iter=2 iterations; raise max_iter or tol=1e-09"):
        assert reconstructor(max_iter=2, tol=1e-9).fit(X).n_iter_ == 2


def test_iterations_are_counted_on_slices_from_end_to_end():
    hard = scan(phantoms(1), 20)
    X = np.zeros((100, 20, 24))
    assert SIRTReconstructor(tol=0.1).fit(X).n_iter_ == 1
    for place in (0, 99):
        X[:] = 0
        X[place] = hard[0]
        alone = SIRTReconstructor(tol=0.1).fit(hard).n_iter_
        assert SIRTReconstructor(tol=0.1, center=np.full(100, 11.5)).fit(X).n_iter_ == alone > 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("reconstructor", ALL)
def test_progress_is_shown_on_a_terminal_alone(reconstructor, monkeypatch):
    X = np.ones((40, 6, 8))
    X[32:] = 0  # a block of zeros: SIRT and CGLS are done after one iteration, and the bar must end all the same
    loud, quiet = reconstructor(verbose=1).fit(X), reconstructor(verbose=False).fit(X)
    expected = quiet.predict(X)
    bar = f"{reconstructor.__name__}: 100%"
    for estimator, stream, text in ((loud, Terminal(), bar), (loud, io.StringIO(), ""), (quiet, Terminal(), "")):
        monkeypatch.setattr("sys.stderr", stream)
        np.testing.assert_array_equal(estimator.predict(X), expected)
        assert text in stream.getvalue() if text else stream.getvalue() == ""


# -------------------------------------------------------------------------------------------- searches and pipelines


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (FBPReconstructor(), {"filter": ["ram-lak", "hann"], "cutoff": [0.4, 1.0]}),
        (SIRTReconstructor(), {"max_iter": [2, 20, 200], "n_subsets": [1, 2]}),
        (CGLSReconstructor(), {"max_iter": [3, 30], "regularization": [0.0, 10.0]}),
        (TVReconstructor(max_iter=100), {"regularization": [0.001, 0.1, 10.0]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_search_finds_what_brute_force_finds(estimator, grid):
    images = phantoms(6)
    X = scan(images, 30, noise=1.0)
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, images)
    mean, folds = {}, [slice(3, 6), slice(0, 3)]
    for index, parameters in enumerate(search.cv_results_["params"]):
        # nothing is learned but the shape, so a fold is scored as if there were no folds
        fitted = type(estimator)(**{**estimator.get_params(), **parameters}).fit(X)
        errors, scores = [], []
        for fold in folds:
            truth = images[fold]
            errors.append(((fitted.predict(X[fold]) - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum())
            scores.append(1 - errors[-1])
        mean[index] = np.mean(scores)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], list(mean.values()), rtol=1e-9)
    assert search.best_index_ == max(mean, key=mean.get)
    assert search.best_score_ > min(mean.values()) + 0.01
    assert search.predict(X).shape == images.shape


def test_a_search_in_two_processes_is_a_search_in_one():
    images = phantoms(4)
    X = scan(images, 20, noise=1.0)
    pipeline = make_pipeline(FunctionTransformer(np.negative), FunctionTransformer(np.negative), FBPReconstructor())
    grid = {"fbpreconstructor__cutoff": [0.3, 1.0]}
    one, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(X, images) for n in (1, 2))
    np.testing.assert_allclose(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"], rtol=1e-9)


def test_a_pipeline_from_transmission_to_images():
    images = phantoms()
    X = scan(images)
    pipeline = make_pipeline(FunctionTransformer(lambda t: -np.log(t)), FBPReconstructor(filter="hann"))
    transmission = np.exp(-X)
    np.testing.assert_allclose(
        pipeline.fit(transmission, images).predict(transmission), FBPReconstructor(filter="hann").fit_transform(X)
    )
    scores = cross_val_score(pipeline, transmission, images, cv=2)
    expected = [
        FBPReconstructor(filter="hann").fit(X).score(X[fold], images[fold]) for fold in np.arange(4).reshape(2, 2)
    ]
    np.testing.assert_allclose(scores, expected)


def test_one_value_a_slice_is_a_weak_target_of_flat_data_alone():
    X = np.random.default_rng(0).random((4, 8))
    fitted = FBPReconstructor(angles=[0.0]).fit(X)
    y = np.array([1.0, 2.0, 3.0, 4.0])
    expected = fitted.score(X, np.repeat(y[:, None], 64, axis=1))
    assert fitted.score(X, y) == fitted.score(X, y[:, None]) == expected
    with pytest.raises(ValueError, match=r"y must have shape \(4, 8, 8\) or \(4, 64\).*got \(4,\)"):
        FBPReconstructor(angles=[0.0], image_shape=(8, 8)).fit(X).score(X, y)


# --------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("reconstructor", ALL)
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"angles": np.arange(0, 180, 15)}, GeometryError, "look like degrees; pass angle_unit='deg'"),
        ({"angles": [0, 1]}, GeometryError, r"angles must be one per projection; got 2 .*\(12, 16\)"),
        ({"angles": "half"}, GeometryError, "angles must be a list of numbers; got 'half'"),
        ({"angle_unit": "grad"}, GeometryError, "angle_unit must be 'rad', 'deg' or None; got 'grad'"),
        ({"center": "left"}, ValueError, "center must be one of 'vo', 'phase', 'entropy'.*'left'"),
        ({"center": np.ones((3, 1))}, GeometryError, r"center must be a number.*got an array of shape \(3, 1\)"),
        ({"center": [7, 8]}, GeometryError, "center holds one number for each of 2 slices; X has 3"),
        ({"center": np.nan}, GeometryError, "center must be finite and near the detector, which spans 0 to 15"),
        ({"detector_spacing": 0}, ValueError, r"detector_spacing must be a number in \[0.01, 100\]; got 0"),
        ({"image_shape": 8}, ValueError, "image_shape must be 2 positive integers; got 8"),
        ({"image_shape": (8, 0)}, ValueError, r"image_shape\[1\] must be an integer >= 1; got 0"),
        ({"sinogram_shape": (16, 12)}, ValueError, r"sinogram_shape=\(16, 12\) contradicts X of shape \(3, 12, 16\)"),
        ({"verbose": -1}, ValueError, "verbose must be an integer >= 0; got -1"),
        ({"verbose": "yes"}, TypeError, "verbose must be an integer >= 0; got 'yes'"),
    ],
    ids=str,
)
def test_a_wrong_scan_is_named(reconstructor, parameters, error, message):
    with pytest.raises(error, match=message):
        reconstructor(**parameters).fit(np.ones((3, 12, 16)))


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (FBPReconstructor(filter="ramp-lak"), ValueError, "filter must be one of 'ram-lak'.* got 'ramp-lak'. Did you"),
        (FBPReconstructor(filter=[1.0, 2.0]), ValueError, "filter must have .* values.*got 2"),
        (FBPReconstructor(cutoff=1.5), ValueError, r"cutoff must be a number in \(0, 1\]; got 1.5"),
        (FBPReconstructor(padding="wrap"), ValueError, "padding must be one of 'zero', 'edge'; got 'wrap'"),
        (SIRTReconstructor(n_subsets=13), ValueError, "n_subsets must be an integer from 1 to 12; got 13"),
        *((r(max_iter=0), ValueError, "max_iter must be an integer >= 1; got 0") for r in ITERATIVE),
        *((r(max_iter=2.0), TypeError, "max_iter must be an integer >= 1; got 2.0") for r in ITERATIVE),
        *((r(tol=-1), ValueError, r"tol must be a number in \[0, inf\]; got -1") for r in ITERATIVE),
        *((r(nonnegative="no"), TypeError, "nonnegative must be True or False; got 'no'") for r in ITERATIVE),
        *((r(regularization=-1), ValueError, "regularization must be a number.*got -1") for r in ITERATIVE[1:]),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(estimator, error, message):
    with pytest.raises(error, match=message):
        estimator.fit(np.ones((3, 12, 16)))


def test_another_scan_in_predict_is_named():
    X = np.ones((3, 12, 16))
    with pytest.raises(ValueError, match=r"shape \(12, 16\) .* as in fit; got \(16, 12\)\. Fit again for another scan"):
        FBPReconstructor().fit(X).predict(X.swapaxes(1, 2))
    with pytest.raises(GeometryError, match="center holds one number for each of 3 slices; X has 2"):
        FBPReconstructor(center=[7, 7, 7]).fit(X).predict(X[:2])
    with pytest.raises(ValueError, match=r"sinogram_shape=\(4, 4\) makes 16 values; X has 12 features"):
        FBPReconstructor(sinogram_shape=(4, 4)).fit(X[0].T)
    with pytest.raises(GeometryError, match=r"sinogram_shape=\(12, n_detectors\), or X\[None\] for a single sinogram"):
        FBPReconstructor(angles=default_angles(12)).fit(X[0])


@pytest.mark.parametrize("reconstructor", ALL)
def test_images_beyond_memory_are_refused(reconstructor):
    X = np.ones((3, 2, 4), np.float32)
    fitted = reconstructor(image_shape=(10**7, 10**6)).fit(X)
    with pytest.raises(MemoryBudgetError, match=r"^3 images of 10000000 x 1000000 .* GiB .*Lower image_shape="):
        fitted.predict(X)
    if reconstructor in ITERATIVE:
        with pytest.raises(MemoryBudgetError, match="^3 images of 10000000 x 1000000 pixels"):
            fitted.set_params(tol=0.1).fit(X)


def test_the_number_of_slices_counts_against_memory(monkeypatch):
    X = np.ones((200, 2, 64), np.float32)
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 3 * 10**6)
    assert FBPReconstructor(image_shape=(32, 64)).fit_transform(X).nbytes < 2 * 10**6
    with pytest.raises(MemoryBudgetError, match="^200 images of 64 x 64 pixels need .*take fewer slices at once"):
        FBPReconstructor().fit_transform(X)


# ---------------------------------------------------------------------------------------------------- measured data


@pytest.mark.shared_data
def test_the_measured_tooth_is_sharpest_at_its_center(shared_data):
    import h5py

    with h5py.File(shared_data / "aps_tooth" / "tooth.h5") as file:
        counts, flat, dark, theta = (file[f"exchange/{k}"][:] for k in ("data", "data_white", "data_dark", "theta"))
    transmission = (counts - dark.mean(axis=0)) / (flat.mean(axis=0) - dark.mean(axis=0))
    X = -np.log(transmission).swapaxes(0, 1)
    assert X.shape == (2, 181, 640)
    inside = np.hypot(*np.mgrid[-319.5:320, -319.5:320]) < 280

    def disorder(center):
        """Entropy of the histogram (Donath et al. 2006, DOI 10.1364/JOSAA.23.001048): least where edges are sharp."""
        images = FBPReconstructor(filter="hann", angles=theta, angle_unit="deg", center=center).fit(X).predict(X)
        assert images.shape == (2, 640, 640) and images.dtype == np.float32 and np.isfinite(images).all()
        share = np.histogram(images[:, inside], 256, (-0.002, 0.01))[0] / (2 * inside.sum())
        return -np.sum(share * np.log(share + 1e-12))

    assert disorder(296) < min(disorder(290), disorder(302)) - 0.1
    assert disorder(296) < min(disorder(295), disorder(297))
    per_slice = FBPReconstructor(angles=theta, angle_unit="deg", center=[296.0, 290.0]).fit(X).predict(X)
    for index, center in enumerate((296, 290)):
        alone = FBPReconstructor(angles=theta, angle_unit="deg", center=center).fit(X).predict(X)
        np.testing.assert_allclose(per_slice[index], alone[index], atol=1e-6)


@pytest.mark.parametrize("method", ["vo", "phase"])
def test_the_axis_is_found_in_fit(method):
    disc = np.hypot(*np.mgrid[-47.5:48, -47.5:48] - np.array([9, -14])[:, None, None]) < 20
    angles = np.linspace(0, np.pi, 120, endpoint=method == "phase")
    sinograms = radon(disc[None].astype(np.float32), angles, center=50.0)
    fitted = FBPReconstructor(angles=angles, center=method).fit(sinograms)
    assert isinstance(fitted.center_, float) and fitted.center_ == pytest.approx(50, abs=0.1)
    assert fitted.geometry_.center == fitted.center_
    expected = FBPReconstructor(angles=angles, center=fitted.center_).fit_transform(sinograms)
    np.testing.assert_array_equal(fitted.predict(sinograms), expected)
