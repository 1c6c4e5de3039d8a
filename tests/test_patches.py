"""Patches: against the slow truth, torch, scikit-image and SciPy; inverse and transpose; every kind of input."""

import warnings

import numpy as np
import pytest
import reference_patches as reference
import torch
from conftest import require

from tomolearn.ops import extract_patches, patch_grid_shape, stitch_patches
from tomolearn.ops._register import operators
from tomolearn.ops.patches import _counts, _tables

PADDINGS = ("reflect", "zero")
BLENDS = ("none", "hann", "gaussian")


def draw_grid(rng, n_axes, gaps=False, reflect=True):
    """Random shapes; with `reflect`, none that reaches further beyond the image than there is to reflect."""
    while True:
        image = tuple(int(v) for v in rng.integers(1, 24 if n_axes == 2 else 12, n_axes))
        patch = tuple(int(v) for v in rng.integers(1, 12 if n_axes == 2 else 7, n_axes))
        stride = tuple(int(rng.integers(1, 2 * p + 2 if gaps else p + 1)) for p in patch)
        ends = [reference.patch_starts(*a)[-1] + a[1] - a[0] for a in zip(image, patch, stride, strict=True)]
        if not reflect or all(end < n for end, n in zip(ends, image, strict=True)):
            return image, patch, stride


def relative_error(ours, truth):
    return np.abs(ours - truth).max(initial=0) / max(np.abs(truth).max(initial=0), 1e-3)


# ------------------------------------------------------------------------------------------------------ known answers


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("padding", PADDINGS)
def test_extract_is_the_slow_reference(rng, n_axes, padding):
    for _ in range(60):
        image_shape, patch_shape, stride = draw_grid(rng, n_axes, gaps=True, reflect=padding == "reflect")
        images = rng.random((2, *image_shape))
        patches = extract_patches(images, patch_shape, stride=stride, padding=padding)
        truth = np.stack([reference.extract_patches(image, patch_shape, stride, padding) for image in images])
        np.testing.assert_array_equal(patches, truth)
        np.testing.assert_array_equal(extract_patches(images[1], patch_shape, stride=stride, padding=padding), truth[1])


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("normalize", [True, False])
def test_stitch_is_the_slow_reference(rng, n_axes, padding, blend, normalize):
    for trial in range(12):
        dtype, bound = (np.float32, 1e-6) if trial % 2 else (np.float64, 1e-14)
        image_shape, patch_shape, stride = draw_grid(rng, n_axes, gaps=not normalize, reflect=padding == "reflect")
        n_patches = np.prod(patch_grid_shape(image_shape, patch_shape, stride=stride))
        patches = rng.uniform(-1, 1, (2, n_patches, *patch_shape)).astype(dtype)
        options = {"stride": stride, "padding": padding, "blend": blend, "normalize": normalize}
        images = stitch_patches(patches, image_shape, **options)
        truth = np.stack([reference.stitch_patches(p.astype(float), image_shape, **options) for p in patches])
        assert images.dtype == dtype
        assert relative_error(images, truth) <= bound
        np.testing.assert_array_equal(stitch_patches(patches[1], image_shape, **options), images[1])


@pytest.mark.parametrize("image, patch, stride", [((31, 22), (7, 4), (6, 3)), ((16, 24), (4, 6), (4, 6))])
def test_torch_unfold_and_fold(rng, image, patch, stride):
    images = torch.from_numpy(rng.random((3, *image)))
    columns = torch.nn.functional.unfold(images[:, None], patch, stride=stride)
    patches = extract_patches(images, patch, stride=stride)
    assert torch.equal(patches, columns.mT.unflatten(2, patch))
    folded = torch.nn.functional.fold(columns, image, patch, stride=stride)[:, 0]
    torch.testing.assert_close(stitch_patches(patches, image, stride=stride, normalize=False), folded)


@pytest.mark.parametrize(
    "image, patch, stride", [((31, 22), (7, 4), (6, 3)), ((9, 8, 13), (3, 4, 5), (2, 4, 8)), ((12, 12), (2, 2), (5, 5))]
)
def test_skimage_view_as_windows(rng, image, patch, stride):
    view_as_windows = require("skimage.util").view_as_windows
    volume = rng.integers(0, 65536, image).astype(np.uint16)
    np.testing.assert_array_equal(
        extract_patches(volume, patch, stride=stride), view_as_windows(volume, patch, stride).reshape(-1, *patch)
    )


def test_windows_are_the_documented_ones():
    signal = require("scipy.signal")
    for size in (1, 2, 7, 16):
        ones = np.ones((1, size, 1))
        hann = stitch_patches(ones, (size, 1), blend="hann", normalize=False)[:, 0]
        gaussian = stitch_patches(ones, (size, 1), blend="gaussian", normalize=False)[:, 0]
        np.testing.assert_allclose(hann, signal.windows.hann(2 * size + 1)[1::2], atol=1e-15)
        np.testing.assert_allclose(gaussian, signal.windows.gaussian(size, size / 8), atol=1e-15)
        assert hann.min() > 0
    halves = stitch_patches(np.ones((7, 16, 1)), (64, 1), stride=(8, 1), blend="hann", normalize=False)
    np.testing.assert_allclose(halves[8:56], 1, rtol=1e-14)


@pytest.mark.parametrize(
    "image, patch, stride, counts",
    [
        ((4096, 4096), (256, 256), 192, (21, 21)),
        ((10, 11), (4, 4), 3, (3, 4)),
        ((3, 8), (5, 8), 1, (1, 1)),
        ((10, 10), (2, 2), (20, 9), (1, 2)),
        ((5, 6, 7), (5, 3, 3), None, (1, 2, 3)),
    ],
)
def test_patch_grid_shape(image, patch, stride, counts):
    assert patch_grid_shape(image, patch, stride=stride) == counts


def test_overlap_is_another_word_for_stride(rng):
    image = rng.random((20, 17))
    patches = extract_patches(image, (6, 5), stride=(4, 2))
    np.testing.assert_array_equal(extract_patches(image, (6, 5), overlap=(2, 3)), patches)
    np.testing.assert_array_equal(
        stitch_patches(patches, image.shape, overlap=(2, 3)), stitch_patches(patches, image.shape, stride=(4, 2))
    )
    assert patch_grid_shape(image.shape, (6, 5), overlap=1) == patch_grid_shape(image.shape, (6, 5), stride=(5, 4))


# --------------------------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_stitch_inverts_extract(rng, n_axes, blend, dtype, bound):
    for trial in range(25):
        padding = PADDINGS[trial % 2]
        image_shape, patch_shape, stride = draw_grid(rng, n_axes, reflect=padding == "reflect")
        images = rng.uniform(-1, 1, (2, *image_shape)).astype(dtype)
        patches = extract_patches(images, patch_shape, stride=stride, padding=padding)
        assert relative_error(stitch_patches(patches, image_shape, stride=stride, blend=blend), images) <= bound


def test_stitch_without_overlap_is_exact_to_the_bit(rng):
    image = rng.random((50, 41)).astype(np.float32)
    np.testing.assert_array_equal(stitch_patches(extract_patches(image, (16, 16)), image.shape), image)


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_stitch_is_the_transpose_of_extract(rng, dtype, bound):
    worst = 0
    for trial in range(200):
        padding, n_axes = PADDINGS[trial % 2], 2 + trial // 2 % 2
        image_shape, patch_shape, stride = draw_grid(rng, n_axes, gaps=True, reflect=padding == "reflect")
        x = rng.uniform(-1, 1, image_shape).astype(dtype)
        ax = extract_patches(x, patch_shape, stride=stride, padding=padding).astype(np.float64)
        y = rng.uniform(-1, 1, ax.shape).astype(dtype)
        aty = stitch_patches(y, image_shape, stride=stride, padding=padding, normalize=False).astype(np.float64)
        scale = max(np.linalg.norm(ax) * np.linalg.norm(y), np.linalg.norm(x) * np.linalg.norm(aty))
        worst = max(worst, abs(np.vdot(ax, y) - np.vdot(x, aty)) / scale)
    assert worst <= bound


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_gradient_is_the_transpose_with_any_weights(rng, blend, dtype, bound):
    worst = 0
    for trial in range(60):
        image_shape, patch_shape, stride = draw_grid(rng, 2 + trial % 2, gaps=trial % 4 > 1)
        n_patches = np.prod(patch_grid_shape(image_shape, patch_shape, stride=stride))
        y = torch.from_numpy(rng.uniform(-1, 1, (2, n_patches, *patch_shape))).to(dtype).requires_grad_()
        x = torch.from_numpy(rng.uniform(-1, 1, (2, *image_shape))).to(dtype)
        ay = stitch_patches(y, image_shape, stride=stride, blend=blend, normalize=trial % 4 <= 1)
        (atx,) = torch.autograd.grad(ay, y, x)
        ay, atx, x, y = (t.detach().double() for t in (ay, atx, x, y))
        scale = max(ay.norm() * x.norm(), y.norm() * atx.norm())
        worst = max(worst, float(((ay * x).sum() - (y * atx).sum()).abs() / scale))
    assert worst <= bound


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_threads_give_the_same_bits(rng, dtype):
    image = (rng.random((2, 1100, 523)) * 255).astype(dtype)  # enough for the threads to share, and for huge pages
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        patches = extract_patches(image, (96, 64), overlap=17)
        results.append((patches, stitch_patches(patches, image.shape[1:], overlap=17, blend="hann")))
    for patches, stitched in results[1:]:
        np.testing.assert_array_equal(patches, results[0][0])
        np.testing.assert_array_equal(stitched, results[0][1])
    assert relative_error(results[0][1], image) < 1e-6


@pytest.mark.parametrize("n_axes", [2, 3])
def test_gradients_of_gradients(rng, n_axes):
    image_shape, patch_shape, stride = (5, 4, 3)[:n_axes], (3, 2, 2)[:n_axes], (2, 2, 1)[:n_axes]
    image = torch.from_numpy(rng.random((2, *image_shape))).requires_grad_()
    n_patches = np.prod(patch_grid_shape(image_shape, patch_shape, stride=stride))
    patches = torch.from_numpy(rng.random((2, n_patches, *patch_shape))).requires_grad_()
    for padding in PADDINGS:
        options = {"stride": stride, "padding": padding}

        def extract(x, options=options):
            return extract_patches(x, patch_shape, **options)

        def stitch(y, options=options):
            return stitch_patches(y, image_shape, blend="hann", **options)

        for function, x in ((extract, image), (stitch, patches)):
            assert torch.autograd.gradcheck(function, x)
            assert torch.autograd.gradgradcheck(function, x)


def test_half_precision_has_gradients():
    x = torch.arange(12.0).reshape(3, 4).half().requires_grad_()
    patches = extract_patches(x, (2, 2), stride=1)
    assert patches.dtype == torch.float16
    (gradient,) = torch.autograd.grad(patches.sum(), x)
    expected = torch.tensor([[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]], dtype=torch.float16)
    assert torch.equal(gradient, expected)


def op_cases(rng):
    """The registered operators with their arguments, unweighted and weighted."""
    image_shape, patch_shape, stride = (7, 6), (4, 3), (3, 2)
    counts = _counts(image_shape, patch_shape, stride)
    for blend in ("none", "hann"):
        tables = _tables(image_shape, patch_shape, stride, counts, "reflect", blend)
        images = torch.from_numpy(rng.random((2, *image_shape))).requires_grad_()
        patches = torch.from_numpy(rng.random((2, np.prod(counts), *patch_shape))).requires_grad_()
        yield operators().extract_patches, (images, *tables, counts, patch_shape)
        yield operators().stitch_patches, (patches, *tables, counts, image_shape)


def test_opcheck(rng):
    for op, arguments in op_cases(rng):
        torch.library.opcheck(op, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_operators(rng, dynamic):
    for op, (x, *rest) in op_cases(rng):
        torch.compiler.reset()
        compiled = torch.compile(
            lambda x, op=op, rest=rest: 2 * op(x, *rest), dynamic=dynamic, backend="aot_eager", fullgraph=True
        )
        for n in (2, 1, 3):
            given = torch.cat([x, x[:1]])[:n]
            torch.testing.assert_close(compiled(given), 2 * op(given, *rest))


def test_vmap(rng):
    for op, (x, *rest) in op_cases(rng):
        stack = torch.stack([x, 2 * x, -x], 1)
        mapped = torch.func.vmap(lambda v, op=op, rest=rest: op(v, *rest), in_dims=1)(stack)
        torch.testing.assert_close(mapped, torch.stack([op(v, *rest) for v in stack.unbind(1)]))


# --------------------------------------------------------------------------------------------------------- every input


@pytest.mark.parametrize(
    "dtype", "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()
)
@pytest.mark.parametrize("as_torch", [False, True])
def test_extract_keeps_the_dtype(rng, dtype, as_torch):
    high = 2 if dtype == "bool" else 100
    image = rng.integers(0, high, (9, 11)).astype(dtype)
    patches = extract_patches(torch.from_numpy(image) if as_torch else image, (4, 5), overlap=2)
    assert isinstance(patches, torch.Tensor if as_torch else np.ndarray)
    patches = np.asarray(patches)
    assert patches.dtype == image.dtype
    np.testing.assert_array_equal(patches, reference.extract_patches(image, (4, 5), (2, 3)))


@pytest.mark.parametrize(
    "dtype, expected",
    [("uint8", "float32"), ("uint16", "float32"), ("float16", "float16"), ("float32", "float32"), ("float64",) * 2],
)
@pytest.mark.parametrize("as_torch", [False, True])
def test_stitch_keeps_the_floating_dtype(rng, dtype, expected, as_torch):
    image = rng.integers(0, 200, (9, 11)).astype(dtype)
    patches = reference.extract_patches(image, (4, 5), (2, 3))
    images = stitch_patches(torch.from_numpy(patches) if as_torch else patches, (9, 11), overlap=2, blend="hann")
    assert isinstance(images, torch.Tensor if as_torch else np.ndarray)
    images = np.asarray(images)
    assert images.dtype == expected
    np.testing.assert_allclose(images, image, rtol=1e-6)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "big_endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "fortran": np.asfortranarray,
    "negative": lambda x: x[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "strided": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "read_only": read_only,
    "list": lambda x: x.tolist(),
    "torch_strided": lambda x: torch.from_numpy(np.repeat(x, 2, -1))[..., ::2],
    "torch_transposed": lambda x: torch.from_numpy(x.swapaxes(-1, -2).copy()).mT,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(rng, layout):
    image = rng.random((3, 13, 10))
    patches = extract_patches(image, (5, 4), overlap=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = extract_patches(LAYOUTS[layout](image), (5, 4), overlap=1)
        back = stitch_patches(LAYOUTS[layout](patches), (13, 10), overlap=1)
    np.testing.assert_array_equal(np.asarray(ours), patches)
    np.testing.assert_array_equal(np.asarray(back), stitch_patches(patches, (13, 10), overlap=1))


def test_the_result_is_a_copy(rng):
    image = rng.random((6, 6))
    extract_patches(image, (6, 6))[...] = 7
    assert (image != 7).all()


@pytest.mark.parametrize("image_shape, patch_shape", [((6, 5), (3, 2)), ((6, 5, 4), (3, 2, 4))])
def test_empty_stacks(image_shape, patch_shape):
    counts = np.prod(patch_grid_shape(image_shape, patch_shape))
    patches = extract_patches(np.empty((0, *image_shape), np.uint16), patch_shape)
    assert patches.shape == (0, counts, *patch_shape) and patches.dtype == np.uint16
    assert stitch_patches(patches, image_shape, blend="hann").shape == (0, *image_shape)


def test_nan_stays_where_it_is():
    image = np.zeros((12, 12))
    image[5, 6] = np.nan
    patches = extract_patches(image, (4, 4), overlap=2)
    back = stitch_patches(patches, image.shape, overlap=2, blend="hann")
    np.testing.assert_array_equal(np.isnan(back), np.isnan(image))


def test_what_lies_beyond_the_image_is_dropped():
    patches = extract_patches(np.ones((5, 5)), (4, 4))
    patches[1::2, :, 1:] = np.nan
    patches[2:, 1:] = np.inf
    np.testing.assert_array_equal(stitch_patches(patches, (5, 5), blend="gaussian"), np.ones((5, 5)))


def test_gaps():
    image = np.arange(1.0, 11).reshape(1, 10)
    patches = extract_patches(image, (1, 2), stride=(1, 4))
    np.testing.assert_array_equal(patches[:, 0], [[1, 2], [5, 6], [9, 10]])
    back = stitch_patches(patches, (1, 10), stride=(1, 4), normalize=False)
    np.testing.assert_array_equal(back, [[1, 2, 0, 0, 5, 6, 0, 0, 9, 10]])
    with pytest.raises(ValueError, match=r"no patch of 2 pixels covers the pixels 2..3, 6..7 of axis 1. Extract with"):
        stitch_patches(patches, (1, 10), stride=(1, 4))


# ------------------------------------------------------------------------------------------------------------- errors

IMAGE = np.zeros((2, 9, 10))


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        ((IMAGE, 4), {}, ValueError, "patch_shape must be 2 positive integers for images or 3 for volumes; got 4"),
        ((IMAGE, (4,)), {}, ValueError, "patch_shape must be 2 positive integers for images or 3"),
        ((IMAGE, (4, 0)), {}, ValueError, r"patch_shape\[1\] must be an integer >= 1; got 0"),
        ((IMAGE, (4, 2.5)), {}, TypeError, r"patch_shape\[1\] must be an integer >= 1; got 2.5"),
        ((IMAGE[0, 0], (4, 4)), {}, ValueError, r"images must have 2 or 3 dimensions with patch_shape \(4, 4\); got 1"),
        ((IMAGE[None], (4, 4)), {}, ValueError, r"got 4 \(shape \(1, 2, 9, 10\)\)"),
        ((IMAGE[:, :0], (4, 4)), {}, ValueError, r"the shape of images\[0\] must be an integer >= 1; got 0"),
        ((IMAGE, (4, 4)), {"stride": 0}, ValueError, "stride must be an integer >= 1; got 0"),
        ((IMAGE, (4, 4)), {"stride": (1, 2, 3)}, ValueError, r"stride must be one integer or 2, .* got \(1, 2, 3\)"),
        ((IMAGE, (4, 4)), {"overlap": -1}, ValueError, "overlap must be an integer >= 0; got -1"),
        ((IMAGE, (4, 3)), {"overlap": 3}, ValueError, "overlap must be less than patch_shape .* Use a smaller overlap"),
        ((IMAGE, (4, 4)), {"stride": 2, "overlap": 2}, ValueError, "stride and overlap are two ways to say the same"),
        ((IMAGE, (4, 4)), {"padding": "edge"}, ValueError, "padding must be one of 'reflect', 'zero'; got 'edge'"),
        (
            (IMAGE, (18, 4)),
            {},
            ValueError,
            r"can extend axis 0 of the image, 9 pixels, by 8 pixels at most; patches of 18 pixels need 9\. Use a",
        ),
        ((IMAGE.astype(complex), (4, 4)), {}, TypeError, "images must hold real numbers .* got dtype complex128"),
        ((torch.zeros(4, 4, dtype=torch.complex64), (4, 4)), {}, TypeError, "got dtype torch.complex64"),
        ((IMAGE.astype(np.longdouble), (4, 4)), {}, TypeError, "at most 64 bits; got dtype float128"),
        (([["a"]], (1, 1)), {}, TypeError, "images must hold real numbers of at most 64 bits; got dtype <U1"),
    ],
)
def test_extract_errors(arguments, options, error, message):
    with pytest.raises(error, match=message):
        extract_patches(*arguments, **options)


@pytest.mark.parametrize(
    "shape, image_shape, options, error, message",
    [
        ((6, 4, 4), (9, 10), {}, ValueError, r"got 6, .* stride \(4, 4\) has 3 x 3 = 9\. Give the image_shape"),
        ((9, 4, 4), (9, 10), {"overlap": 2}, ValueError, r"got 9, .* stride \(2, 2\) has 4 x 4 = 16"),
        ((4, 4), (9, 10), {}, ValueError, r"patches must have 3 or 4 dimensions with image_shape \(9, 10\); got 2"),
        ((9, 0, 4), (9, 10), {}, ValueError, r"the shape of patches, after their number,\[0\] must be"),
        ((9, 4, 4), 9, {}, ValueError, "image_shape must be 2 positive integers for images or 3 for volumes; got 9"),
        ((9, 4, 4), (9, 10), {"blend": "cosine"}, ValueError, "blend must be one of 'none', 'hann', 'gaussian'; got"),
        ((9, 4, 4), (9, 10), {"padding": None}, ValueError, "padding must be one of 'reflect', 'zero'; got None"),
        ((4, 2, 2), (12, 12), {"stride": 9}, ValueError, "pixels 2..8, 11 of axis 0. Extract with stride <= 2, or use"),
    ],
)
def test_stitch_errors(shape, image_shape, options, error, message):
    with pytest.raises(error, match=message):
        stitch_patches(np.zeros(shape), image_shape, **options)


def test_stitch_refuses_what_is_not_real():
    with pytest.raises(TypeError, match="patches must hold real numbers; got dtype complex128"):
        stitch_patches(np.zeros((9, 4, 4), complex), (9, 10))


def test_operators_refuse_what_would_read_foreign_memory():
    op = operators().extract_patches
    image, index = torch.zeros(1, 2, 2), torch.tensor([0, 1, 0, 2], dtype=torch.int32)
    with pytest.raises(RuntimeError, match="index holds 2 for an axis of 2 pixels"):
        op(image, index, None, (1, 1), (2, 2))
    with pytest.raises(RuntimeError, match="index must be a contiguous int32 tensor of 6 values"):
        op(image, index, None, (1, 2), (2, 2))
    with pytest.raises(RuntimeError, match="weight must be a contiguous float64 tensor of 4 values"):
        op(image, index, torch.ones(4), (1, 1), (2, 2))
    with pytest.raises(RuntimeError, match="images must be float32 or float64 where patches are weighted"):
        op(image.int(), index.clamp(max=1), torch.ones(4, dtype=torch.float64), (1, 1), (2, 2))
    with pytest.raises(RuntimeError, match="patches holds 2 patches, the grid has 1"):
        operators().stitch_patches(torch.zeros(1, 2, 2, 2), index.clamp(max=1), None, (1, 1), (2, 2))
