"""DIVal's data set ellipses: the pairs that DIVal itself made, and an order that does not depend on the call."""

import numpy as np
import pytest

from tomolearn import FBPReconstructor, psnr
from tomolearn.simulation import make_ellipses_benchmark


@pytest.mark.shared_data
def test_equals_what_dival_made(shared_data):
    with np.load(shared_data / "dival_ellipses" / "first20.npz") as theirs:
        images, clean, noisy = (theirs[name] for name in ("gt", "clean", "sino"))
    ours = make_ellipses_benchmark("test", 20)
    assert np.abs(ours.images - images).max() < 1e-6
    assert np.sqrt(np.mean((ours.clean - clean) ** 2) / np.mean(clean**2)) < 1e-3  # their projector is another one
    noise, their_noise = ours.sinograms - ours.clean, noisy - clean
    assert np.sqrt(np.mean((noise - their_noise) ** 2) / np.mean(their_noise**2)) < 1e-3


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_pair_does_not_depend_on_the_call(part):
    whole, some = make_ellipses_benchmark(part, 5), make_ellipses_benchmark(part, 2, start=3)
    np.testing.assert_array_equal(some.images, whole.images[3:])
    np.testing.assert_allclose(some.sinograms, whole.sinograms[3:], rtol=0, atol=1e-4)
    assert whole.images.min() == 0 and whole.images.max() == pytest.approx(1, abs=1e-6)


def test_parts_differ_and_noise_is_as_stated():
    parts = [make_ellipses_benchmark(part, 8) for part in ("train", "validation", "test")]
    assert len({part.images.tobytes() for part in parts}) == 3
    for part in parts:
        ratio = (part.sinograms - part.clean).std(axis=(1, 2)) / np.abs(part.clean).mean(axis=(1, 2))
        np.testing.assert_allclose(ratio, 0.025, rtol=0.06)


def test_images_and_sinograms_belong_together():
    data = make_ellipses_benchmark("validation", 4)
    fbp = FBPReconstructor(
        filter="hann", cutoff=0.7, angles=data.angles, detector_spacing=data.detector_spacing, image_shape=(128, 128)
    )
    found = fbp.fit_transform(data.sinograms)
    for image, truth in zip(found, data.images, strict=True):
        assert psnr(truth, image, data_range=1) > 20
        assert psnr(truth.T, image, data_range=1) < 18  # of another orientation


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("tests",), {}, "part must be one of 'train', 'validation', 'test'"),
        (("test", 3201), {}, "n must be an integer from 1 to 3200; got 3201"),
        (("train", 1), {"start": 32000}, "start must be an integer from 0 to 31999"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        make_ellipses_benchmark(*arguments, **options)
