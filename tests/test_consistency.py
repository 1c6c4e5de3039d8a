"""The check of images against the measured data: what was planted or erased is found, noise is not."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from tomolearn import FBPReconstructor, Noise2SelfDenoiser, TVReconstructor, consistency, radon
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_photon_noise, random_foam

SIZE, ANGLES, ATTENUATION = 128, default_angles(128), 0.02


@pytest.fixture(scope="module")
def foam():
    """Two slices of a foam, and their exact sinograms."""
    foam = random_foam(2, SIZE, radius_range=(3, 10), random_state=5)
    return foam.volume(), foam.sinograms(ANGLES, supersampling=2)


def measured(sinograms, photons):
    return add_photon_noise(sinograms * ATTENUATION, photons, random_state=1) / ATTENUATION


def altered(truth, images, rng):
    """``images`` with voids planted in solid and solid in voids, and where that is."""
    images, where = images.copy(), np.zeros(truth.shape, bool)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for image, mask, true in zip(images, where, truth, strict=True):
        for _ in range(8):
            row, column = rng.uniform(35, SIZE - 35, 2)
            disc = np.hypot(rows - row, columns - column) < rng.uniform(2, 4)
            value = float(true[disc].mean() < 0.5)
            image[disc] = value
            mask |= disc & (np.abs(true - value) > 0.5)
    return images, where


@pytest.mark.parametrize("photons", [1000, 100])
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_what_was_planted_or_erased_is_found(foam, photons, sigma):
    """Area under the ROC curve of all pixels; the denoised slice is otherwise off too: its edges are blurred."""
    truth, sinograms = foam
    denoised = ndimage.gaussian_filter(truth, (0, sigma, sigma))
    images, where = altered(truth, denoised, np.random.default_rng(0))
    found = consistency(images, measured(sinograms, photons), ANGLES)
    inside = np.hypot(*np.mgrid[-63.5:64, -63.5:64]) < 0.45 * SIZE
    for mask, deviation in zip(where, found.map, strict=True):
        assert roc_auc_score(mask[inside], np.abs(deviation)[inside]) > 0.95
    added = images - truth
    assert np.median(found.map[where & (added > 0)]) < -4  # planted: the data have less
    assert np.median(found.map[where & (added < 0)]) > 4
    assert found.fraction > 1.3 * consistency(denoised, measured(sinograms, photons), ANGLES).fraction


def test_noise_alone_is_no_contradiction(foam):
    truth, sinograms = foam
    exact = radon(truth, ANGLES)
    found = consistency(truth, exact + np.random.default_rng(0).normal(0, 2.0, exact.shape), ANGLES)
    assert found.fraction == 0
    one_radius = consistency(
        truth, exact + np.random.default_rng(0).normal(0, 2.0, exact.shape), ANGLES, radii=(3.0,), threshold=1e-3
    )
    inside = np.hypot(*np.mgrid[-63.5:64, -63.5:64]) < 40
    assert one_radius.map[:, inside].std() == pytest.approx(1, abs=0.15)  # in units of the standard deviation
    assert one_radius.fraction > 0.99


def test_grey_values_that_are_off_over_large_areas_do_not_count(foam):
    truth, sinograms = foam
    wide = ndimage.gaussian_filter(truth, (0, 30, 30))
    found = consistency(truth + 0.2 * wide, measured(sinograms, 100), ANGLES)
    assert found.fraction < 0.01


def test_slices_centres_units_and_spacing(foam):
    truth, sinograms = foam
    images, _ = altered(truth, truth, np.random.default_rng(0))
    whole = consistency(images, sinograms, ANGLES)
    np.testing.assert_allclose(consistency(images[1:], sinograms[1:], ANGLES).map, whole.map[1:], atol=1e-4)
    of_degrees = consistency(images, sinograms, np.rad2deg(ANGLES), angle_unit="deg")
    np.testing.assert_allclose(of_degrees.map, whole.map, rtol=1e-3, atol=1e-2)
    wide = np.pad(sinograms, ((0, 0), (0, 0), (4, 0)))
    shifted = consistency(images, wide, ANGLES, center=np.full((2, 1), (SIZE - 1) / 2 + 4))
    assert np.corrcoef(shifted.map.ravel(), whole.map.ravel())[0, 1] > 0.99
    flipped = consistency(images, sinograms[:, :, ::-1], ANGLES)
    assert flipped.fraction > 2 * whole.fraction


def test_estimators_check_themselves(foam):
    truth, sinograms = foam
    noisy = measured(sinograms, 1000)
    reconstructor = TVReconstructor(regularization=1.0, max_iter=30).fit(noisy)
    expected = consistency(reconstructor.predict(noisy), noisy, ANGLES)
    np.testing.assert_array_equal(reconstructor.consistency(noisy).map, expected.map)
    flat = TVReconstructor(regularization=1.0, max_iter=30, sinogram_shape=(SIZE, SIZE), angles=ANGLES)
    flat.set_params(center=np.full(2, (SIZE - 1) / 2)).fit(noisy.reshape(2, -1))
    np.testing.assert_allclose(flat.consistency(noisy.reshape(2, -1)).map, expected.map, atol=0.05)
    X = FBPReconstructor().fit_transform(noisy)
    denoiser = Noise2SelfDenoiser(channels=(4, 6), max_epochs=1, random_state=0).fit(X)
    expected = consistency(denoiser.predict(X), noisy, ANGLES)
    np.testing.assert_array_equal(denoiser.consistency(X, noisy, ANGLES).map, expected.map)


def test_mistakes_are_named(foam):
    truth, sinograms = foam
    with pytest.raises(ValueError, match=r"images must be \(n, rows, columns\) and sinograms .* same slices; got"):
        consistency(truth[0], sinograms, ANGLES)
    with pytest.raises(ValueError, match="images must be .* of the same slices"):
        consistency(truth[:1], sinograms, ANGLES)
    with pytest.raises(ValueError, match="angles must be one per projection; got 127"):
        consistency(truth, sinograms, ANGLES[1:])
    with pytest.raises(ValueError, match="there must be 2 detectors"):
        consistency(truth, sinograms[:, :, :1], ANGLES)
    with pytest.raises(ValueError, match="radii must hold at least one radius"):
        consistency(truth, sinograms, ANGLES, radii=())
    with pytest.raises(ValueError, match="threshold must be"):
        consistency(truth, sinograms, ANGLES, threshold=0)
    with pytest.raises(GeometryError, match="center"):
        consistency(truth, sinograms, ANGLES, center=np.zeros((3, 2)))
    bad = sinograms.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        consistency(truth, bad, ANGLES)
