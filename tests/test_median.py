"""The sliding median against a slow truth and scipy's, at every SIMD level."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter

from tomolearn._extension import SIMD_LEVELS, simd_level
from tomolearn.ops import sliding_median
from tomolearn.ops._register import operators


@pytest.fixture(params=SIMD_LEVELS)
def level(request):
    if simd_level(request.param) != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    simd_level("avx512")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("length", "lines", "size"), [(1, 1, 1), (1, 3, 5), (5, 3, 3), (5, 17, 21), (40, 33, 21), (7, 70, 61), (90, 16, 51)]
)
def test_equals_the_slow_truth(level, dtype, length, lines, size, rng):
    x = rng.normal(size=(2, length, lines)).round(1).astype(dtype)  # rounded: equal values must not confuse it
    # scipy 1.17 reads beyond its memory where the window is much longer than the axis, so it is no truth there.
    padded = np.pad(x, ((0, 0), (size // 2, size // 2), (0, 0)), mode="symmetric")
    expected = np.median(sliding_window_view(padded, size, axis=1), axis=-1)
    if size <= length:
        np.testing.assert_array_equal(median_filter(x, size=(1, size, 1), mode="reflect"), expected)
    result = sliding_median(x, size)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(sliding_median(x[0], size), expected[0])


def test_kinds_layouts_and_threads(rng):
    x = rng.integers(0, 1000, (3, 40, 50)).astype(np.uint16)
    expected = median_filter(x, size=(1, 5, 1), mode="reflect")
    assert sliding_median(x, 5).dtype == np.float32
    np.testing.assert_array_equal(sliding_median(x, 5), expected)
    strided = np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        result = sliding_median(torch.from_numpy(strided.astype(np.float64)), 5)
        assert isinstance(result, torch.Tensor)
        np.testing.assert_array_equal(result.numpy(), expected)
    assert sliding_median(x[:0], 5).shape == (0, 40, 50)


def test_torch_knows_the_shape():
    torch.library.opcheck(operators().sliding_median, (torch.rand(2, 5, 7), 3))


@pytest.mark.parametrize(
    ("x", "size", "error", "message"),
    [
        (np.zeros((4, 4)), 4, ValueError, "size must be odd, .*got 4. Take 3 or 5"),
        (np.zeros((4, 4)), 0, ValueError, "size must be an integer from 1 to 1048575; got 0"),
        (np.zeros((4, 4)), 3.0, TypeError, "size must be an integer"),
        (np.zeros(4), 3, ValueError, "x must have 2 or 3 dimensions; got 1"),
        (np.full((4, 4), np.nan), 3, ValueError, "x must be finite; got 16 NaN"),
    ],
)
def test_wrong_arguments(x, size, error, message):
    with pytest.raises(error, match=message):
        sliding_median(x, size)


@pytest.mark.parametrize(
    "arguments", [(torch.zeros(3, 3), 3), (torch.zeros(1, 3, 3), 2), (torch.zeros(1, 1, 1).int(), 1)]
)
def test_the_operator_itself_refuses(arguments):
    with pytest.raises(RuntimeError, match="must be"):
        operators().sliding_median(*arguments)
