"""What all corrections have in common: kinds, dtypes and shapes, data left alone, slices on their own."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from tomolearn import preprocessing
from tomolearn.preprocessing import (
    AirNormalizer,
    BadPixelRepairer,
    FlatFieldCorrector,
    MinusLog,
    SinogramBinner,
    SinogramPadder,
    StripeRemover,
    ZingerRemover,
    bin_stack,
    flat_field,
    minus_log,
    normalize_air,
    pad_detectors,
    remove_stripes,
    remove_zingers,
    repair_pixels,
)

METHODS = ("all", "large", "unresponsive", "sorting", "filtering", "offset", "wavelet")
FUNCTIONS = {
    "flat_field": lambda X: flat_field(X, np.full((len(X), 2, X.shape[2]), 2.0), np.full((len(X), 1, X.shape[2]), 0.1)),
    "minus_log": minus_log,
    "remove_zingers": remove_zingers,
    "repair_pixels": repair_pixels,
    "repair_pixels with a mask": lambda X: repair_pixels(X, np.arange(X.shape[2]) == 3),
    "normalize_air": normalize_air,
    "pad_detectors": lambda X: pad_detectors(X, (2, 3)),
    "bin_stack": lambda X: bin_stack(X, (1, 2, 3)),
    "bin_stack of nothing": lambda X: bin_stack(X, (1, 1, 1)),
    **{f"remove_stripes {method}": lambda X, method=method: remove_stripes(X, method) for method in METHODS},
    **{f"remove_stripes_{method}": getattr(preprocessing, f"remove_stripes_{method}") for method in METHODS},
}
STACKS_ONLY = {"flat_field", "bin_stack", "bin_stack of nothing"}
PAIRS = {
    "minus_log": MinusLog(),
    "remove_zingers": ZingerRemover(),
    "repair_pixels": BadPixelRepairer(),
    "normalize_air": AirNormalizer(),
    "pad_detectors": SinogramPadder(width=(2, 3)),
    "bin_stack": SinogramBinner(angle_factor=2, detector_factor=3),
    **{f"remove_stripes {method}": StripeRemover(method=method) for method in METHODS},
}


@pytest.fixture
def stack(rng):
    """Transmissions with a zinger and a stripe."""
    X = 0.5 + 0.1 * rng.random((3, 32, 40)) + 0.3 * np.cos(np.arange(40) / 9)
    X[1, 7, 11] = 9.0
    X[:, :, 21] *= 1.3
    return X


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kind_dtype_and_data_are_kept(name, stack):
    function = FUNCTIONS[name]
    expected = function(stack)
    assert isinstance(expected, np.ndarray) and expected.dtype == np.float64
    assert np.isfinite(expected).all()
    for dtype in (np.float64, np.float32, np.float16):
        X = stack.astype(dtype)
        before = X.copy()
        result = function(X)
        assert result.dtype == dtype and result.shape == expected.shape
        assert not np.shares_memory(result, X)
        np.testing.assert_array_equal(X, before)
        tensor = torch.from_numpy(X)
        of_tensor = function(tensor)
        assert isinstance(of_tensor, torch.Tensor) and of_tensor.dtype == tensor.dtype
        np.testing.assert_array_equal(of_tensor.numpy(), result)
        np.testing.assert_array_equal(tensor.numpy(), before)
    learning = torch.from_numpy(stack.copy()).requires_grad_()  # there is no gradient, but no error either
    np.testing.assert_array_equal(function(learning).numpy(), expected)
    counts = np.round(1000 * stack).astype(np.uint16)
    assert function(counts).dtype == np.float32
    np.testing.assert_allclose(function(counts), function(counts.astype(np.float32)), rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts_do_not_matter(name, stack):
    function = FUNCTIONS[name]
    expected = function(stack)
    read_only = stack.copy()
    read_only.setflags(write=False)
    for X in (np.asfortranarray(stack), stack.astype(">f8"), read_only, stack[::-1, ::-1].copy()[::-1, ::-1]):
        np.testing.assert_allclose(function(X), expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - STACKS_ONLY))
def test_one_sinogram_is_a_stack_of_one(name, stack):
    function = FUNCTIONS[name]
    if "mask" in name:
        np.testing.assert_array_equal(
            repair_pixels(stack[0], np.arange(40) == 3), repair_pixels(stack[:1], np.arange(40) == 3)[0]
        )
    else:
        np.testing.assert_array_equal(function(stack[0]), function(stack[:1])[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slices_do_not_know_each_other(name, stack):
    function = FUNCTIONS[name]
    one_by_one = np.concatenate([function(stack[i : i + 1]) for i in range(len(stack))])
    np.testing.assert_allclose(function(stack), one_by_one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_many_threads_are_one(name, rng):
    X = (1 + rng.random((2, 80, 600))).astype(np.float32)
    torch.set_num_threads(1)
    expected = FUNCTIONS[name](X)
    torch.set_num_threads(3)
    np.testing.assert_allclose(FUNCTIONS[name](X), expected, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("repair")])
def test_not_finite_is_refused(name, stack):
    for value in (np.nan, np.inf):
        stack[2, 5, 6] = value
        with pytest.raises(ValueError, match="must be finite; got 1 NaN or infinite values.*repair_pixels"):
            FUNCTIONS[name](stack)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_shapes_and_kinds_are_refused(name, stack):
    function = FUNCTIONS[name]
    with pytest.raises(TypeError, match="X must hold real numbers; got dtype complex128"):
        function(stack.astype(complex))
    if name != "minus_log":
        with pytest.raises(ValueError, match="X must (have 2 or 3 dimensions|be )"):
            function(stack[None])
    with pytest.raises(ValueError, match="X must (hold at least one value|be .* none of them zero); got"):
        function(stack[:, :0])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (1, 5, 1), (1, 2, 2), (2, 3, 5), (1, 40, 4), (1, 4, 40)])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith(("bin", "repair_pixels with"))])
def test_small_sinograms(name, shape, rng):
    X = 1 + rng.random(shape)
    result = FUNCTIONS[name](X)
    assert np.isfinite(result).all() and result.shape[:2] == shape[:2]


@pytest.mark.parametrize("name", PAIRS)
def test_transformers_are_their_functions(name, stack):
    for dtype in (np.float32, np.float64):
        X = stack.astype(dtype)
        transformer = clone(PAIRS[name]).fit(X)
        corrected, counts = transformer.transform_counted(X)
        np.testing.assert_array_equal(corrected, FUNCTIONS[name](X))
        assert corrected.dtype == dtype and corrected.shape[1:] == transformer.corrected_shape_
        flat = clone(transformer).set_params(sinogram_shape=X.shape[1:]).fit_transform(X[2:].reshape(1, -1))
        np.testing.assert_array_equal(flat.reshape(corrected[2:].shape), corrected[2:])
        assert set(counts.values()) <= {0, 1}


def test_rows_of_a_stack_in_blocks(monkeypatch, rng):
    """What was learned for each row stays with its row, however many are corrected together."""
    X, flats, darks = rng.random((7, 4, 9)) + 1, rng.random((7, 2, 9)) + 3, rng.random((7, 2, 9))
    corrector = FlatFieldCorrector().fit(X, flats=flats, darks=darks)
    expected = corrector.transform(X)
    monkeypatch.setattr(FlatFieldCorrector, "_block_size", lambda self: 3)
    np.testing.assert_array_equal(corrector.transform(X), expected)
    np.testing.assert_allclose(expected, flat_field(X, flats, darks), rtol=1e-14)
