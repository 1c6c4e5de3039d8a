"""The Fourier method against exact sums, known images and interpolation; its plans, its limits and its errors."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference_fourier import adjoint_matrix, exact_waves

from tomolearn import (
    CGLSReconstructor,
    FBPReconstructor,
    Noise2InverseReconstructor,
    SIRTReconstructor,
    TVReconstructor,
)
from tomolearn.exceptions import ExtensionError, GeometryError
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import FourierRadonOperator, RadonOperator
from tomolearn.ops.filters import angle_weights, padded_length, ramp_filter
from tomolearn.ops.fourier import fast_length, fourier_plan, lengthened_response, transform_length
from tomolearn.simulation import ellipse_sinogram, shepp_logan_ellipses
from tomolearn.solvers import cgls, fbp, fista_tv, sirt, tv


def disc_projections(angles, n_detectors, radius, center=None, spacing=1.0, at=(0.0, 0.0)):
    """Exact means over the bins of the projections of a disc of value 1, (1, angles, detectors)."""
    center = (n_detectors - 1) / 2 if center is None else center
    fine = (np.arange(16 * n_detectors) + 0.5) / 16 - 0.5
    t = (fine - center) * spacing - (at[0] * np.cos(angles) + at[1] * np.sin(angles))[:, None]
    chords = 2 * np.sqrt(np.maximum(radius**2 - t**2, 0))
    return chords.reshape(1, len(angles), n_detectors, 16).mean(3)


def inside(shape, radius, at=(0.0, 0.0)):
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    return np.hypot(x - (columns - 1) / 2 - at[0], (rows - 1) / 2 - y - at[1]) < radius


def blobs(shape, rng, n=6):
    """Smooth images, which interpolation does no harm, (2, rows, columns); zero near the border."""
    y, x = np.mgrid[: shape[0], : shape[1]] - (np.array(shape)[:, None, None] - 1) / 2
    reach = min(shape) / 4
    out = np.zeros((2, *shape))
    for image in out:
        for row, column, width in zip(*rng.uniform(-reach, reach, (2, n)), rng.uniform(4, 7, n), strict=True):
            image += rng.uniform(0.3, 1) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    return out


# -------------------------------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize(("width", "bound"), [(4, 2e-4), (5, 5e-5), (8, 1e-6)])
def test_filtered_back_projection_is_the_exact_sum(width, bound):
    n = 64
    angles = default_angles(n)
    geometry = ParallelBeam(angles, n)
    y = shepp_logan_projections(angles, n)
    n_fft = transform_length(angles, n, (n, n))
    plan = fourier_plan(angles, n, (n, n), response=ramp_filter(n_fft), gain=angle_weights(angles), kernel_width=width)
    center = torch.full((1, n), (n - 1) / 2, dtype=torch.float64)
    exact = (adjoint_matrix(plan, center[0].numpy(), exact_waves) @ y.ravel()).reshape(n, n)
    ours = plan.adjoint(torch.from_numpy(y)[None], center)[0].numpy()
    field = inside((n, n), 0.47 * n)
    assert np.sqrt(np.mean((ours - exact)[field] ** 2)) <= bound
    A = FourierRadonOperator(geometry, kernel_width=width)
    np.testing.assert_allclose(fbp(A, y, method="fourier"), ours, atol=1e-12)
    if width == 4:
        np.testing.assert_allclose(fbp(RadonOperator(geometry), y, method="fourier"), ours, atol=1e-12)


def shepp_logan_projections(angles, n):
    """Exact projections of the Shepp-Logan head in [0, 1], (angles, n)."""
    return np.asarray(ellipse_sinogram(shepp_logan_ellipses(n), angles, n, bin_average=True), dtype=np.float64)


@pytest.mark.parametrize("n", [65, 101])
@pytest.mark.parametrize("per_pixel", [0.25, 0.5, 1, 2])
@pytest.mark.parametrize(("shift", "spacing"), [(0, 1.0), (7.3, 1.0), (-4.5, 0.5), (2.2, 1.7)])
def test_a_disc_of_value_one(n, per_pixel, shift, spacing):
    n_detectors = int(n / spacing) + 14
    angles, center = default_angles(max(4, int(per_pixel * n))), (n_detectors - 1) / 2 + shift
    y = disc_projections(angles, n_detectors, 0.35 * n, center, spacing)
    geometry = ParallelBeam(angles, n_detectors, image_shape=(n, n), center=center, detector_spacing=spacing)
    image = fbp(RadonOperator(geometry), y, method="fourier")[0]
    assert image[inside((n, n), 0.7 * 0.35 * n)].mean() == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("filter", ["ram-lak", "shepp-logan", "cosine", "hamming", "hann", "parzen", "butterworth"])
@pytest.mark.parametrize("padding", ["zero", "edge"])
def test_smooth_images_are_those_of_interpolation(filter, padding, rng):
    x = blobs((70, 81), rng)
    A = RadonOperator(ParallelBeam(default_angles(140), 96, image_shape=(70, 81), center=46.0))
    y = A(x)
    options = {"filter": filter, "padding": padding, "cutoff": 0.8}
    direct, fourier = (fbp(A, y, method=method, **options) for method in ("direct", "fourier"))
    field = inside((70, 81), 34)  # beyond the detector, interpolation takes the filtered projections for zero
    assert np.abs(fourier - direct)[:, field].max() < 0.01 * np.abs(x).max()
    assert fourier.dtype == direct.dtype == np.float64


def test_no_filter_and_a_filter_of_ones_own(rng):
    x = blobs((64, 64), rng)
    A = RadonOperator(ParallelBeam(default_angles(100), 77))
    y = A(x := np.pad(x, ((0, 0), (6, 7), (6, 7))))
    own = ramp_filter(padded_length(77), "hann")
    np.testing.assert_allclose(
        fbp(A, y, filter=own, method="fourier"), fbp(A, y, filter="hann", method="fourier"), atol=2e-3
    )
    plain = [fbp(A, y, filter="none", method=method) for method in ("direct", "fourier")]
    field = inside((77, 77), 36)
    assert np.abs(plain[0] - plain[1])[:, field].max() < 0.01 * plain[0].max()


def test_pixel_size_scales():
    angles = default_angles(30)
    y = disc_projections(angles, 40, 12)
    geometry = ParallelBeam(angles, 40)
    small = RadonOperator(replace(geometry, pixel_size=0.25, angle_unit="rad"))
    np.testing.assert_allclose(
        fbp(small, y, method="fourier"), 4 * fbp(RadonOperator(geometry), y, method="fourier"), rtol=1e-12
    )


def test_a_truncated_object_keeps_its_level_with_edge_padding():
    angles = default_angles(150)
    y = disc_projections(angles, 96, 80)  # the disc is wider than the detector
    A = RadonOperator(ParallelBeam(angles, 96))
    images = {padding: fbp(A, y, padding=padding, method="fourier")[0] for padding in ("zero", "edge")}
    middle, rim = inside((96, 96), 15), inside((96, 96), 44) & ~inside((96, 96), 40)
    cupping = {padding: image[rim].mean() - image[middle].mean() for padding, image in images.items()}
    assert abs(cupping["edge"]) < 0.5 * abs(cupping["zero"])


# -------------------------------------------------------------------------------------------- scans of every kind


def test_order_turns_and_repeats_of_angles_do_not_matter(rng):
    angles = rng.permutation(np.concatenate([default_angles(80), [0.3, 0.3, 1.1]]))
    y = disc_projections(angles, 70, 15, at=(8, -6))
    image = fbp(RadonOperator(ParallelBeam(angles, 70)), y, method="fourier")
    order = rng.permutation(len(angles))
    same = fbp(RadonOperator(ParallelBeam(angles[order], 70)), y[:, order], method="fourier")
    np.testing.assert_allclose(same, image, atol=1e-12)
    turned = angles + np.pi * rng.integers(-3, 4, len(angles))
    again = fbp(
        RadonOperator(ParallelBeam(turned, 70, angle_unit="rad")), y_of_turned(y, turned - angles), method="fourier"
    )
    np.testing.assert_allclose(again, image, atol=1e-9)
    field = inside((70, 70), 0.7 * 15, at=(8, -6))
    assert image[0][field].mean() == pytest.approx(1, abs=0.01)


def y_of_turned(y, turns):
    """Projections after half turns: an odd number of them mirrors the detector."""
    odd = np.round(turns / np.pi).astype(int) % 2 == 1
    y = y.copy()
    y[:, odd] = y[:, odd, ::-1]
    return y


def test_a_region_is_part_of_the_whole(rng):
    angles = default_angles(90)
    y = rng.standard_normal((3, 90, 80))
    whole = fbp(RadonOperator(ParallelBeam(angles, 80)), y, filter="hann", method="fourier")
    part = fbp(RadonOperator(ParallelBeam(angles, 80, image_shape=(20, 44))), y, filter="hann", method="fourier")
    difference = part - whole[:, 30:50, 18:62]
    assert np.sqrt(np.mean(difference**2)) < 0.01 * whole.std()  # white noise, the hardest for gridding


def test_each_slice_may_have_an_axis_of_its_own(rng):
    angles = default_angles(40)
    centers = 24 + rng.uniform(-3, 3, (11, 1)) + rng.uniform(-1, 1, (11, 40))
    y = torch.from_numpy(rng.standard_normal((11, 40, 50)))
    geometry = ParallelBeam(angles, 50, center=centers)
    stack = fbp(RadonOperator(geometry), y, method="fourier")
    for index, center in enumerate(centers):
        alone = RadonOperator(replace(geometry, center=center, angle_unit="rad"))
        torch.testing.assert_close(stack[index], fbp(alone, y[index], method="fourier"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_slice_is_the_same_in_any_stack(dtype, rng):
    """In packs, in packs that are not full, and by itself."""
    angles = default_angles(37)
    y = torch.from_numpy(rng.standard_normal((21, 37, 53))).to(dtype)
    A = RadonOperator(ParallelBeam(angles, 53, image_shape=(47, 61)))
    alone = torch.stack([fbp(A, one, method="fourier") for one in y])
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    for n in (2, 3, 4, 7, 8, 9, 21):
        torch.testing.assert_close(fbp(A, y[:n], method="fourier"), alone[:n], rtol=0, atol=tolerance)


def test_images_wider_than_the_detector_show_no_ghosts():
    angles = default_angles(120)
    y = disc_projections(angles, 40, 12)
    image = fbp(RadonOperator(ParallelBeam(angles, 40, image_shape=(160, 160))), y, method="fourier")[0]
    assert image[inside((160, 160), 8)].mean() == pytest.approx(1, abs=0.01)
    assert np.abs(image[~inside((160, 160), 30)]).max() < 0.1


def test_gradients_flow(rng):
    A = RadonOperator(ParallelBeam(default_angles(9), 20))
    y = torch.from_numpy(rng.standard_normal((2, 9, 20))).requires_grad_()
    weight = torch.from_numpy(rng.standard_normal((2, 20, 20)))
    (fbp(A, y, method="fourier") * weight).sum().backward()
    step = torch.from_numpy(rng.standard_normal((2, 9, 20)))
    with torch.no_grad():
        change = (fbp(A, step, method="fourier") * weight).sum()
    torch.testing.assert_close((y.grad * step).sum(), change)


# --------------------------------------------------------------------------------------------------- the operator


def test_the_operator_projects_smooth_images_as_interpolation_does(rng):
    x = torch.from_numpy(blobs((64, 72), rng))
    geometry = ParallelBeam(rng.uniform(0, 7, 50), 90, image_shape=(64, 72), center=41.5, pixel_size=2.0)
    A, F = RadonOperator(geometry), FourierRadonOperator(geometry)
    y = A(x)
    assert (F(x) - y).abs().max() < 2e-3 * y.abs().max()
    part = F.subset([3, 1, 40])
    assert isinstance(part, FourierRadonOperator) and part.kernel_width == 4
    torch.testing.assert_close(part(x), F(x)[:, [3, 1, 40]], rtol=0, atol=1e-10)


def test_the_operator_takes_slices_with_axes_of_their_own(rng):
    centers = rng.uniform(10, 14, (5, 1))
    F = FourierRadonOperator(ParallelBeam(default_angles(8), 24, center=centers), kernel_width=5)
    x = torch.from_numpy(rng.standard_normal((5, 24, 24)))
    torch.testing.assert_close(F.slices(1, 3)(x[1:3]), F(x)[1:3], rtol=0, atol=1e-12)
    assert repr(F).startswith("FourierRadonOperator(ParallelBeam(") and repr(F).endswith("kernel_width=5)")


@pytest.mark.parametrize("n_detectors", [48, 90])
@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (cgls, {"max_iter": 15}),
        (sirt, {"max_iter": 100}),
        (sirt, {"max_iter": 10, "n_subsets": 6}),
        (tv, {"max_iter": 100}),
        (fista_tv, {"max_iter": 30}),
    ],
    ids=["cgls", "sirt", "sirt with subsets", "tv", "fista_tv"],
)
def test_solvers_give_the_same_image(solver, options, n_detectors, rng):
    """A wide detector has rays that miss the image: their sums are not zero here, but must not count."""
    x = blobs((48, 48), rng)
    geometry = ParallelBeam(default_angles(60), n_detectors, image_shape=(48, 48))
    A = RadonOperator(geometry)
    images = [solver(operator, A(x), **options) for operator in (A, FourierRadonOperator(geometry))]
    assert np.sqrt(np.mean((images[0] - images[1]) ** 2)) < 0.005 * np.ptp(images[0])


# ------------------------------------------------------------------------------------------------ plans and choices


def test_plans_are_kept_and_pickle():
    angles = default_angles(12)
    plan = fourier_plan(angles, 20, (20, 20), padding="edge")
    assert fourier_plan(list(angles), 20, [20, 20], padding="edge") is plan
    assert fourier_plan(angles, 20, (20, 20)) is not plan
    copy = pickle.loads(pickle.dumps(plan))
    y, center = torch.ones(1, 12, 20), torch.full((1, 12), 9.5, dtype=torch.float64)
    assert torch.equal(copy.adjoint(y, center), plan.adjoint(y, center))


def test_lengths():
    for n in range(1, 3000, 7):
        length = fast_length(n)
        assert length >= max(n, 64) and length % 32 == 0
        for prime in (2, 3, 5):
            while length % prime == 0:
                length //= prime
        assert length == 1
    assert all(transform_length(default_angles(9), n, (n, n)) >= padded_length(n) for n in (16, 100, 1000, 2048))


def test_a_longer_response_is_the_same_filter(rng):
    response = rng.uniform(0, 1, 33)
    row = np.zeros(200)
    row[:32] = rng.standard_normal(32)
    long = np.fft.irfft(np.fft.rfft(row, 200) * lengthened_response(response, 200), 200)[:32]
    kernel = np.fft.irfft(response, 64)
    sums = [sum(kernel[(i - j) % 64] * row[j] for j in range(32)) for i in range(32)]
    np.testing.assert_allclose(long, sums, atol=1e-12)


def test_auto_takes_the_faster_one():
    def images(n, n_angles):
        angles = default_angles(n_angles)
        A, y = RadonOperator(ParallelBeam(angles, n)), disc_projections(angles, n, n / 4)
        return [fbp(A, y, method=method) for method in ("auto", "direct", "fourier")]

    auto, direct, fourier = images(160, 160)
    assert np.array_equal(auto, fourier) and not np.array_equal(auto, direct)
    auto, direct, fourier = images(32, 8)
    assert np.array_equal(auto, direct) and not np.array_equal(auto, fourier)


def test_the_estimators_take_the_method(rng):
    X = disc_projections(default_angles(24), 32, 9)
    for method in ("direct", "fourier"):
        A = RadonOperator(ParallelBeam(default_angles(24), 32))
        images = FBPReconstructor(method=method).fit(X).predict(X)
        np.testing.assert_array_equal(images, fbp(A, X, method=method))
    options = {"channels": (8, 16), "max_epochs": 1, "random_state": 0, "check_projections": False}
    X = X + rng.normal(scale=0.1, size=X.shape)
    direct, fourier = (
        Noise2InverseReconstructor(method=method, **options).fit(X).predict(X) for method in ("direct", "fourier")
    )
    assert direct.shape == fourier.shape and not np.array_equal(direct, fourier)


@pytest.mark.parametrize("estimator", [SIRTReconstructor, CGLSReconstructor, TVReconstructor])
def test_the_estimators_iterate_with_either_pair(estimator, rng):
    geometry = ParallelBeam(default_angles(40), 36)
    X = RadonOperator(geometry)(blobs((36, 36), rng))
    options = {"max_iter": 12, "center": [17.5, 17.2]}
    direct, fourier = (estimator(projector=p, **options).fit(X).predict(X) for p in ("direct", "fourier"))
    assert np.sqrt(np.mean((direct - fourier) ** 2)) < 0.01 * np.ptp(direct)
    assert not np.array_equal(direct, fourier)
    stopped = estimator(projector="fourier", max_iter=60, tol=0.05).fit(X)
    assert stopped.n_iter_ < 60
    with pytest.raises(ValueError, match="projector must be one of 'direct', 'fourier'; got 'gridrec'"):
        estimator(projector="gridrec").fit(X)


# ---------------------------------------------------------------------------------------------------------- errors


def test_what_is_refused(monkeypatch):
    A = RadonOperator(ParallelBeam(default_angles(8), 16))
    y = np.ones((8, 16))
    with pytest.raises(ValueError, match="method must be one of 'auto', 'direct', 'fourier'; got 'gridrec'"):
        fbp(A, y, method="gridrec")
    for estimator in (FBPReconstructor, Noise2InverseReconstructor):
        with pytest.raises(ValueError, match="method must be one of 'auto', 'direct', 'fourier'; got 'gridrec'"):
            estimator(method="gridrec").fit(y[None])
    moving = RadonOperator(replace(A.geometry, center=[[7.0], [8.0]], angle_unit="rad"))
    with pytest.raises(GeometryError, match="center is given for 2 slices; got a stack of 1"):
        fbp(moving, y, method="fourier")
    with pytest.raises(ValueError, match="kernel_width must be 4, 5 or 8; got 6"):
        FourierRadonOperator(A.geometry, kernel_width=6)
    with pytest.raises(ValueError, match="padding must be one of 'zero', 'edge'"):
        fourier_plan(default_angles(8), 16, (16, 16), padding="mirror")
    for name, estimator in (("method", FBPReconstructor), ("projector", CGLSReconstructor)):
        refused = estimator(**{name: "fourier"})
        monkeypatch.setattr(refused, "_devices", lambda: [torch.device("cuda")])
        with pytest.raises(ValueError, match=f"{name}='fourier' needs device='cpu'.*Take {name}='direct'"):
            refused.fit(y[None])
    plan = fourier_plan(default_angles(8), 16, (16, 16))
    there = SimpleNamespace(device=torch.device("cuda"))
    with pytest.raises(ExtensionError, match="runs on the processor only, and the data are on cuda"):
        plan.adjoint(there, A.center)


def test_the_operator_guards_its_tables():
    plan = fourier_plan(default_angles(8), 16, (16, 16))
    center, y = torch.full((1, 8), 7.5, dtype=torch.float64), torch.ones(1, 8, 16)

    def call(match, y=y, center=center, **changes):
        with pytest.raises(RuntimeError, match=match):
            replace(plan, **changes).adjoint(y, center)

    def sizes(i, value):
        return {"sizes": (*plan.sizes[:i], value, *plan.sizes[i + 1 :])}

    def rays(row, value):
        changed = plan.rays.clone()
        changed[row, 2] = value
        return {"rays": changed}

    call("projections must be", y=torch.ones(1, 8, 15))
    call("projections must have 3 dimensions", y=torch.ones(8, 16))
    call("projections must be float32 or float64", y=y.int())
    call("center has shape", center=center.repeat(3, 1))
    call("sizes must hold 9 numbers", sizes=plan.sizes[:-1])
    call("multiples of 16 as lengths", **sizes(1, 50))
    call("not be longer than their transforms", **sizes(0, 200))
    call("must be 4, 5 or 8 cells wide", **sizes(6, 6))
    call("tables is not a table of this plan", tables=plan.tables[:-1])
    call("index is not a table of this plan", index=plan.index.long())
    call("index is out of range at ray 0", index=plan.index + 100)
    call("ray 2 leaves the grid", **rays(1, 30.0))
    call("ray 2 leaves the grid", **rays(1, float("nan")))
    call("ray 2 leaves the grid", **rays(2, -30.0))
