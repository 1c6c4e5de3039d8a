"""Laws of the ramp filter, its windows and the padding; ASTRA and scikit-image as witnesses."""

import numpy as np
import pytest
import torch
from conftest import require

from tomolearn.ops import filters
from tomolearn.ops.filters import FILTERS, filter_name, filter_sinogram, padded_length, ramp_filter


def frequencies(n_fft, spacing=1.0):
    return np.fft.rfftfreq(n_fft, spacing)


# ---------------------------------------------------------------------------------------------------------- response


@pytest.mark.parametrize("spacing", [1.0, 0.5, 3.0])
def test_ram_lak_is_the_transform_of_the_spatial_sequence(spacing):
    n_fft = 64
    kernel = np.fft.irfft(ramp_filter(n_fft, detector_spacing=spacing), n=n_fft) / spacing
    lag = np.arange(1, n_fft // 2)
    expected = np.where(lag % 2, -1 / (np.pi * lag * spacing) ** 2, 0)
    assert kernel[0] == pytest.approx(1 / (4 * spacing**2), rel=1e-12)
    np.testing.assert_allclose(kernel[1 : n_fft // 2], expected, atol=1e-15)
    np.testing.assert_allclose(kernel[: n_fft // 2 : -1], expected, atol=1e-15)


@pytest.mark.parametrize("spacing", [1.0, 0.5, 3.0])
def test_ram_lak_follows_the_frequency_and_keeps_the_mean(spacing):
    n_fft = 2048
    response, f = ramp_filter(n_fft, detector_spacing=spacing), frequencies(n_fft, spacing)
    # |f| itself differs by the sequence that is cut off at n_fft / 2: at most 2 / (pi^2 n_fft d), worst at f = 0.
    assert np.abs(response - f).max() <= 1.001 * 2 / (np.pi**2 * n_fft * spacing)
    assert response[0] == pytest.approx(2 / (np.pi**2 * n_fft * spacing), rel=1e-3)
    low = slice(10, 100)
    assert np.polyfit(f[low], response[low], 1)[0] == pytest.approx(1, abs=1e-4)


def test_mean_of_the_full_response_is_the_kernel_at_zero():
    response = ramp_filter(90, detector_spacing=2.0)
    full = np.concatenate([response, response[-2:0:-1]])
    assert full.mean() == pytest.approx(1 / (4 * 2.0), rel=1e-12)


TEXTBOOK = {  # at nu = 0, 1/4, 1/2, 3/4, 1
    "ram-lak": [1, 1, 1, 1, 1],
    "shepp-logan": [
        1,
        np.sin(np.pi / 8) / (np.pi / 8),
        np.sqrt(8) / np.pi,
        np.sin(3 * np.pi / 8) / (3 * np.pi / 8),
        2 / np.pi,
    ],
    "cosine": [1, np.cos(np.pi / 8), np.sqrt(0.5), np.sin(np.pi / 8), 0],
    "hamming": [1, 0.54 + 0.46 * np.sqrt(0.5), 0.54, 0.54 - 0.46 * np.sqrt(0.5), 0.08],
    "hann": [1, 0.5 + np.sqrt(0.125), 0.5, 0.5 - np.sqrt(0.125), 0],
    "parzen": [1, 1 - 6 / 16 * 3 / 4, 0.25, 2 / 64, 0],
    "butterworth": [1, 1 / (1 + 0.3125**16), 1 / (1 + 0.625**16), 1 / (1 + 0.9375**16), 1 / (1 + 1.25**16)],
}


@pytest.mark.parametrize("cutoff", [1.0, 0.5])
@pytest.mark.parametrize("name", sorted(TEXTBOOK))
def test_windows_are_those_of_the_textbook_and_stretch_to_the_cutoff(name, cutoff):
    n_fft = 128
    window = ramp_filter(n_fft, name, cutoff=cutoff) / ramp_filter(n_fft)
    last = int(64 * cutoff)
    np.testing.assert_allclose(window[: last + 1 : last // 4], TEXTBOOK[name], atol=1e-12)
    assert (window[last + 1 :] == 0).all()


def test_every_filter_has_a_textbook_row():
    assert set(TEXTBOOK) | {"none"} == set(FILTERS)


@pytest.mark.parametrize("cutoff", [0.1, 0.3, 0.7])
def test_a_frequency_on_the_cutoff_passes_and_the_next_does_not(cutoff):
    response = ramp_filter(2000, cutoff=cutoff)
    last = round(1000 * cutoff)
    assert response[last] > 0
    assert (response[last + 1 :] == 0).all()


def test_none_is_no_filter():
    assert (ramp_filter(16, "none", detector_spacing=4.0) == 1).all()


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("ramlak", "ram-lak"),
        ("Ram_Lak", "ram-lak"),
        ("ramp", "ram-lak"),
        ("shepp", "shepp-logan"),
        ("SHEPP_LOGAN", "shepp-logan"),
        ("hanning", "hann"),
        (" Hann ", "hann"),
        ("NONE", "none"),
    ],
)
def test_aliases(alias, name):
    assert filter_name(alias) == name
    np.testing.assert_array_equal(ramp_filter(32, alias, cutoff=0.8), ramp_filter(32, name, cutoff=0.8))


def test_the_cached_response_cannot_be_spoilt():
    first = ramp_filter(32, "hann")
    first[:] = -1
    assert ramp_filter(32, "hann")[1] > 0


@pytest.mark.parametrize(
    ("name", "tolerance"),
    # scikit-image samples Hamming and Hann with the last point repeating the first: a shift of half a bin.
    [("ramp", 1e-14), ("shepp-logan", 1e-14), ("cosine", 1e-14), ("hamming", 2e-3), ("hann", 2e-3), (None, 0)],
)
def test_responses_are_those_of_scikit_image(name, tolerance):
    require("skimage")
    from skimage.transform.radon_transform import _get_fourier_filter

    n_fft = 1024
    theirs = _get_fourier_filter(n_fft, name)[: n_fft // 2 + 1, 0] / (1 if name is None else 2)
    np.testing.assert_allclose(ramp_filter(n_fft, name or "none"), theirs, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "cutoff"),
    [
        ("ram-lak", 1),
        ("ram-lak", 0.5),
        ("shepp-logan", 1),
        ("cosine", 0.7),
        ("hamming", 0.7),
        ("hann", 0.5),
        ("parzen", 1),
    ],
)
def test_filtered_projections_are_those_of_astra(name, cutoff, rng):
    astra = require("astra")
    n = 64  # ASTRA pads to a power of two
    row = np.convolve(rng.normal(size=n), np.ones(3), "same").astype(np.float32)
    geometry = astra.create_proj_geom("parallel", 1.0, n, [0.0])
    volume = astra.create_vol_geom(n, n)
    projector = astra.create_projector("linear", geometry, volume)
    sinogram = astra.data2d.create("-sino", geometry, row[None])
    image = astra.data2d.create("-vol", volume)
    config = astra.astra_dict("FBP")
    config.update(ProjectorId=projector, ProjectionDataId=sinogram, ReconstructionDataId=image)
    config["option"] = {"FilterType": name, "FilterD": cutoff}
    algorithm = astra.algorithm.create(config)
    try:
        astra.algorithm.run(algorithm)
        theirs = astra.data2d.get(image)[n // 2]  # one angle: every row of the image is the filtered row
    finally:
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([sinogram, image])
        astra.projector.delete(projector)
    ours = np.pi * filter_sinogram(row, name, cutoff=cutoff, padding="zero")
    np.testing.assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (32, "shep-logan"),
            {},
            ValueError,
            "filter must be one of 'ram-lak'.*got 'shep-logan'. Did you mean 'shepp-logan'",
        ),
        ((32, "gauss"), {}, ValueError, "filter must be one of .* got 'gauss'"),
        ((32, None), {}, TypeError, "'none' means no filter.*got None"),
        ((32, np.ones(16)), {}, ValueError, "filter must have 17 values, for rows padded to 32 .*got 16"),
        ((32, np.ones((2, 17))), {}, ValueError, "filter must have 1 dimensions"),
        ((32, np.full(17, np.nan)), {}, ValueError, "filter must be finite; got 17 NaN"),
        ((32, np.ones(17) * 1j), {}, TypeError, "filter must hold real numbers"),
        ((32,), {"cutoff": 0.0}, ValueError, "cutoff must be a number in \\(0, 1\\]; got 0.0"),
        ((32,), {"cutoff": 1.5}, ValueError, "cutoff must be a number in \\(0, 1\\]; got 1.5"),
        ((32,), {"cutoff": "hann"}, TypeError, "cutoff must be a number"),
        ((32,), {"detector_spacing": 0}, ValueError, "detector_spacing must be a number"),
        ((1,), {}, ValueError, "n_fft must be an integer >= 2"),
    ],
)
def test_bad_filters_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        ramp_filter(*arguments, **options)


# ---------------------------------------------------------------------------------------------------------- filtering


@pytest.mark.parametrize("n_detectors", [1, 2, 7, 64, 113, 511, 2049])
def test_padded_length(n_detectors):
    n_fft = padded_length(n_detectors)
    assert n_fft >= 2 * n_detectors
    assert n_fft % 2 == 0
    for factor in (2, 3, 5):
        while n_fft % factor == 0:
            n_fft //= factor
    assert n_fft == 1


def test_zero_padding_is_the_linear_convolution(rng):
    n, spacing = 37, 0.7
    rows = rng.normal(size=(4, n))
    lag = np.arange(n)[:, None] - np.arange(n)
    kernel = np.where(lag % 2, -1 / (np.pi * np.where(lag, lag, 1)) ** 2, 0) + (lag == 0) / 4
    expected = rows @ kernel.T / spacing
    np.testing.assert_allclose(filter_sinogram(rows, padding="zero", detector_spacing=spacing), expected, atol=1e-13)


def test_edge_padding_is_zero_padding_of_a_widened_row(rng):
    n = 50  # padded to 100: the buffer holds 25 more values on either side
    rows = rng.normal(size=(3, n))
    wide = np.pad(rows, [(0, 0), (25, 25)], mode="edge")
    lag = np.arange(100)
    lag = np.minimum(lag, 100 - lag)
    kernel = np.where(lag % 2, -1 / (np.pi * np.where(lag, lag, 1)) ** 2, 0) + (lag == 0) / 4
    expected = np.fft.irfft(np.fft.rfft(wide) * np.fft.rfft(kernel), n=100)[:, 25:75]
    np.testing.assert_allclose(filter_sinogram(rows), expected, atol=1e-13)


def test_a_constant_stays_flat_with_edge_padding_and_glows_at_the_rim_with_zeros():
    rows = np.ones((1, 200))
    edge, zero = filter_sinogram(rows), filter_sinogram(rows, padding="zero")
    assert np.abs(edge).max() < 1e-3
    assert zero[0, 0] > 0.1


def test_edge_equals_zero_padding_where_the_object_ends_inside():
    rows = np.zeros((2, 64))
    rows[:, 1:-1] = np.hanning(62)
    np.testing.assert_allclose(filter_sinogram(rows), filter_sinogram(rows, padding="zero"), atol=1e-15)


def test_none_returns_the_projections(rng):
    rows = rng.normal(size=(5, 33))
    np.testing.assert_allclose(filter_sinogram(rows, "none"), rows, atol=1e-14)


def test_an_array_is_the_whole_response(rng):
    rows = rng.normal(size=(5, 33))
    own = ramp_filter(padded_length(33), "hamming", cutoff=0.6, detector_spacing=2.0)
    expected = filter_sinogram(rows, "hamming", cutoff=0.6, detector_spacing=2.0)
    np.testing.assert_allclose(filter_sinogram(rows, own), expected, atol=1e-14)
    np.testing.assert_allclose(filter_sinogram(rows, own.tolist(), cutoff=0.6), expected, atol=1e-14)
    low = filter_sinogram(rows, np.ones(own.size), cutoff=0.5)
    np.testing.assert_allclose(low, filter_sinogram(rows, "none", cutoff=0.5), atol=1e-14)


@pytest.mark.parametrize("name", FILTERS)
def test_zero_padding_equals_its_own_transpose(name, rng):
    x, y = rng.normal(size=(2, 6, 45))
    left = np.vdot(filter_sinogram(x, name, padding="zero"), y)
    right = np.vdot(x, filter_sinogram(y, name, padding="zero"))
    assert abs(left - right) <= 1e-13 * np.linalg.norm(x) * np.linalg.norm(y)


@pytest.mark.parametrize("padding", ["edge", "zero"])
def test_gradients(padding, rng):
    rows = torch.tensor(rng.normal(size=(2, 3, 5)), requires_grad=True)

    def filtered(x):
        return filter_sinogram(x, "hann", padding=padding)

    assert torch.autograd.gradcheck(filtered, rows)
    assert torch.autograd.gradgradcheck(filtered, rows)


@pytest.mark.parametrize("padding", ["edge", "zero"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_and_graph_give_the_same_as_the_whole(padding, dtype, rng, monkeypatch):
    x = torch.tensor(rng.normal(size=(3, 7, 40)), dtype=dtype)
    whole = filter_sinogram(x, padding=padding)
    row_bytes = (padded_length(40) // 2 + 1) * 2 * x.element_size()
    for n_rows in (1, 2, 5):
        monkeypatch.setitem(filters._BLOCK_BYTES, "cpu", n_rows * row_bytes)
        torch.testing.assert_close(
            filter_sinogram(x, padding=padding), whole, rtol=0, atol=1e-6 * (dtype.itemsize == 4) + 1e-15
        )
        with_graph = filter_sinogram(x.clone().requires_grad_(), padding=padding)
        assert with_graph.requires_grad
        torch.testing.assert_close(with_graph.detach(), filter_sinogram(x, padding=padding), rtol=0, atol=0)


def test_threads_do_not_change_the_result(rng):
    x = rng.normal(size=(4, 60, 100)).astype(np.float32)
    torch.set_num_threads(1)
    one = filter_sinogram(x)
    torch.set_num_threads(2)
    np.testing.assert_array_equal(filter_sinogram(x), one)


def test_float32_is_close_to_float64(rng):
    x = rng.normal(size=(10, 300))
    error = filter_sinogram(x.astype(np.float32)) - filter_sinogram(x)
    assert np.abs(error).max() < 1e-6


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_kind_and_dtype_come_back(make, rng):
    counts = rng.integers(0, 100, size=(2, 3, 16))
    expected = filter_sinogram(counts.astype(np.float64))
    for dtype in (np.float32, np.float64):
        result = filter_sinogram(make(counts.astype(dtype)))
        assert isinstance(result, type(make(counts)))
        assert result.dtype == make(counts.astype(dtype)).dtype
        np.testing.assert_allclose(result, expected, atol=3e-5)
    result = filter_sinogram(make(counts.astype(np.int16)))
    assert result.dtype == make(np.zeros(1, np.float32)).dtype
    np.testing.assert_allclose(result, expected, atol=3e-5)


def test_any_layout_of_memory(rng):
    x = rng.normal(size=(4, 6, 20))
    expected = filter_sinogram(x)
    read_only = x.copy()
    read_only.setflags(write=False)
    flipped = np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1]
    for same in (x.astype(">f8"), np.asfortranarray(x), flipped, read_only, x.tolist()):
        np.testing.assert_allclose(filter_sinogram(same), expected, atol=1e-14)
    np.testing.assert_allclose(filter_sinogram(x[0, 0]), expected[0, 0], atol=1e-14)


def test_no_slices_give_no_slices():
    assert filter_sinogram(np.zeros((0, 5, 8), np.float32)).shape == (0, 5, 8)


@pytest.mark.parametrize(
    ("projections", "options", "message"),
    [
        (np.zeros((3, 0)), {}, r"projections must be \(..., n_detectors\) with some detectors; got shape \(3, 0\)"),
        (torch.tensor(1.0), {}, r"projections must be \(..., n_detectors\)"),
        (np.full((2, 4), np.inf), {}, "projections must be finite; got 8 NaN or infinite values of 8. Mask or repair"),
        (np.zeros((2, 4)), {"padding": "wrap"}, "padding must be one of 'edge', 'zero'; got 'wrap'"),
        (np.zeros((2, 4)), {"filter": np.ones(4)}, "filter must have 5 values"),
    ],
)
def test_bad_projections_are_named(projections, options, message):
    with pytest.raises(ValueError, match=message):
        filter_sinogram(projections, **options)
