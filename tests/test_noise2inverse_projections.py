"""What Noise2Inverse must refuse: projections whose noise is not independent, and nothing else."""

import h5py
import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from test_noise2inverse import foam, sinograms, tiny

from tomolearn.base import Corrector, registry
from tomolearn.geometry import default_angles
from tomolearn.io import ArraySource, Scan
from tomolearn.preprocessing import HalfAcquisitionStitcher, MinusLog, StripeRemover, ZingerRemover
from tomolearn.reconstruction._coupling import check_independent, noise_coupling
from tomolearn.streaming import reconstruct_volume, sample_sinograms


def averaged(y, size):
    return uniform_filter1d(y, size, axis=1)


def interpolated(y):
    y = y.copy()
    y[:, 1:-1:2] = (y[:, :-2:2] + y[:, 2::2]) / 2
    return y


def binned_and_repeated(y):
    return np.repeat((y[:, ::2] + y[:, 1::2]) / 2, 2, axis=1)


def binned_and_interpolated(y):
    coarse = (y[:, ::2] + y[:, 1::2]) / 2
    between = (coarse[:, :-1] + coarse[:, 1:]) / 2
    fine = np.empty((y.shape[0], 2 * coarse.shape[1] - 1, y.shape[2]))
    fine[:, ::2], fine[:, 1::2] = coarse, between
    return fine


def check(y, center=None):
    check_independent(y, default_angles(y.shape[1]), (y.shape[2] - 1) / 2 if center is None else center)


@pytest.mark.parametrize("n_angles", [48, 128, 256])
@pytest.mark.parametrize("photons", [10, 1000, 1e5, None])
def test_measured_projections_pass(n_angles, photons):
    check(foam(128, n_angles, 2, photons)[0])


def test_wide_objects_and_those_near_the_axis_pass():
    for photons in (1000, 1e6):
        lines = foam(128, 256, 2, photons)[0]
        check(lines[..., 32:96])
        check(np.pad(lines, ((0, 0), (0, 0), (64, 64)))[:, ::2] + np.zeros((1, 1, 256)))
    disc = 2 * np.sqrt(np.maximum(900 - (np.arange(64) - 31.5) ** 2, 0))
    check(np.broadcast_to(disc, (1, 100, 64)))
    check(np.zeros((1, 100, 64)))


@pytest.mark.parametrize("n_angles", [128, 256])
@pytest.mark.parametrize("photons", [10, 1000])
@pytest.mark.parametrize("couple", [lambda y: averaged(y, 2), lambda y: averaged(y, 3)])
def test_averages_over_projections_are_refused(n_angles, photons, couple):
    lines = foam(128, n_angles, 2, photons)[0]
    with pytest.raises(
        ValueError, match=r"noise is independent; .* correlation of 0\.[4-7].*set check_projections=False"
    ):
        check(couple(lines))


@pytest.mark.parametrize("n_angles", [32, 256])
@pytest.mark.parametrize("photons", [100, None])
@pytest.mark.parametrize("couple", [interpolated, binned_and_repeated, binned_and_interpolated])
def test_interpolated_and_repeated_projections_are_refused(n_angles, photons, couple):
    with pytest.raises(ValueError, match=r"(4[5-9]|5[0-2]) % of them repeat the one before or are the mean of their"):
        check(couple(foam(128, n_angles, 1, photons)[0]))


def test_fit_refuses_coupled_projections():
    X = averaged(foam(64, 128, 1, 100)[0], 3)
    with pytest.raises(ValueError, match=r"X must hold projections whose noise is independent"):
        tiny(max_epochs=1).fit(X)
    with pytest.raises(ValueError, match=r"X must hold projections whose noise is independent"):
        tiny(max_epochs=1).fit(ArraySource(X))
    tiny(max_epochs=1, patch_shape=(64, 64), check_projections=False).fit(X)


@pytest.mark.shared_data
def test_measured_scans_pass(shared_data):
    with h5py.File(shared_data / "aps_tooth" / "tooth.h5") as file:
        data, flat, dark = (file[f"exchange/{name}"][:] for name in ("data", "data_white", "data_dark"))
        angles = np.deg2rad(file["exchange/theta"][:])
    dark = dark.mean(0)
    tooth = -np.log(np.maximum((data - dark) / (flat.mean(0) - dark), 1e-3)).transpose(1, 0, 2)
    check_independent(tooth, angles, 296.0)
    with pytest.raises(ValueError, match="noise is independent; that of neighbouring ones"):
        check_independent(averaged(tooth, 2), angles, 296.0)
    raw = (shared_data / "i13_24737" / "projections.mrc").read_bytes()[1024:]
    grain = np.frombuffer(raw, "<f2").reshape(91, 135, 160).astype(np.float64)[:, 20:120:20]
    check_independent(-np.log(np.maximum(grain, 1e-3)).transpose(1, 0, 2), np.linspace(0, np.pi, 91), 86.0)


def test_the_corrections_say_whether_they_couple_projections():
    correctors = [cls for cls in registry().values() if issubclass(cls, Corrector)]
    assert len(correctors) >= 10 and all("couples_projections" in vars(cls) for cls in correctors)
    coupling = {cls.__name__ for cls in correctors if cls.couples_projections is not False}
    assert coupling == {"HalfAcquisitionStitcher"}
    even = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    odd = np.linspace(0, 2 * np.pi, 15, endpoint=False)
    assert not HalfAcquisitionStitcher(angles=even).couples_projections
    assert HalfAcquisitionStitcher(angles=odd).couples_projections
    assert not HalfAcquisitionStitcher().couples_projections
    fitted = HalfAcquisitionStitcher(center=3.0).fit(np.ones((1, 15, 20)))
    assert fitted.couples_projections


@pytest.mark.parametrize("method", ["all", "large", "unresponsive", "sorting", "filtering", "offset", "wavelet"])
def test_stripe_removal_and_outliers_leave_noise_independent(method):
    lines = foam(64, 128, 2, 100)[0]
    step = StripeRemover(method=method, large_size=21, sorting_size=5)
    correlations = [noise_coupling(y, default_angles(128), 31.5)[0] for y in (lines, step.fit(lines).transform(lines))]
    assert abs(correlations[1] - correlations[0]) < 0.03
    transmissions = np.exp(-lines)
    cleaned, counts = ZingerRemover().fit(transmissions).transform_counted(transmissions)
    assert counts["zingers replaced"] < 0.01 * lines.size
    assert noise_coupling(-np.log(cleaned), default_angles(128), 31.5)[0] < 0.1


class Smoother(FunctionTransformer):
    couples_projections = True


def test_steps_before_it_that_couple_projections_are_named(tmp_path):
    X = sinograms()
    scan = Scan(np.exp(-X / 20))
    fitted = tiny().fit(X)
    steps = [("log", MinusLog()), ("mean", Smoother())]
    pipeline = Pipeline([*steps, ("clean", FrozenEstimator(fitted))])
    message = r"step 'mean', a Smoother, couples projections, whose noise must be independent for Noise2Inverse"
    with pytest.raises(ValueError, match=message):
        reconstruct_volume(pipeline, scan, tmp_path / "volume.npy")
    with pytest.raises(ValueError, match="step 'mean', a Smoother, couples projections"):
        sample_sinograms(steps, scan, independent=True)
    assert sample_sinograms(steps[:1], scan, independent=True)[0].shape == sample_sinograms(steps, scan)[0].shape
    with pytest.raises(ValueError, match=r"step 'clean', a Noise2Inverse.* learns from the scan .*FrozenEstimator"):
        reconstruct_volume(Pipeline([("log", MinusLog()), ("clean", tiny())]), scan, tmp_path / "volume.npy")
    assert not (tmp_path / "volume.npy").exists()
    report = reconstruct_volume(Pipeline([steps[0], ("clean", FrozenEstimator(fitted))]), scan, tmp_path / "volume.npy")
    assert report.shape == (3, 16, 16)
