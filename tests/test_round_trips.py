"""Solvers, filters and networks stay on the device of their data: nothing goes to the host and back in an iteration.

Torch's meta device stands for a GPU: it computes shapes, refuses to mix with data of the processor, and has no values
to copy out. A number that the host asks for, by ``bool`` or ``item``, is counted and answered by the test.
"""

import contextlib

import pytest
import torch
from learned import pairs, small
from torch.utils._python_dispatch import TorchDispatchMode

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.networks import IRadonMAPNetwork, PrimalDualNetwork
from tomolearn.operators import GradientOperator, RadonOperator
from tomolearn.ops import backproject, extract_patches, radon, sliding_median, stitch_patches
from tomolearn.ops.filters import filter_sinogram
from tomolearn.reconstruction._splits import split_images
from tomolearn.solvers import cgls, fbp, fista_tv, sirt, tv

BEAM = ParallelBeam(default_angles(6), 8)
A = RadonOperator(BEAM)


class Questions(TorchDispatchMode):
    """Counts what the host asks of a device that has no values, and gives the answers in turn."""

    def __init__(self, *answers):
        super().__init__()
        self.answers, self.asked = iter(answers), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.asked += 1
            return next(self.answers)
        return func(*args, **(kwargs or {}))


def on_device(*shape):
    return torch.empty(shape, device="meta")


def asked_by(function, *arguments, answers=(), **options):
    """How often the host asks; the result has to be on the device."""
    with Questions(*answers) as questions:
        result = function(*arguments, **options)
    assert result.is_meta
    return questions.asked


@pytest.fixture
def no_autocast(monkeypatch):
    """The meta device has none."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())


FINITE, BELOW, CLIPPED = True, False, True  # are the data finite; is the residual below; was a step clipped


@pytest.mark.parametrize("solver", [sirt, cgls, tv, fista_tv])
def test_iterations_ask_nothing(solver):
    """But before the first: are the data finite?"""
    y = on_device(3, 6, 8)
    many = RadonOperator(ParallelBeam(default_angles(6), 8, center=[[3.0], [3.5], [4.0]]))
    assert asked_by(solver, many, y, max_iter=3, x0=on_device(8, 8), answers=[FINITE]) == 1
    weights = [True, False, FINITE]  # all finite; any negative
    assert asked_by(solver, A, y, max_iter=3, weights=on_device(6, 8), answers=weights) == 3
    assert asked_by(solver, A, y, max_iter=3, x0="fbp", nonnegative=solver is not cgls, answers=[FINITE]) == 1


@pytest.mark.parametrize("solver", [sirt, cgls, tv, fista_tv])
def test_a_tolerance_asks_once_an_iteration(solver):
    assert asked_by(solver, A, on_device(3, 6, 8), max_iter=4, tol=0.1, answers=[FINITE, *[BELOW] * 4]) == 5


def test_options_of_one_solver():
    y = on_device(3, 6, 8)
    for solver in (sirt, cgls):
        assert asked_by(solver, A, y, max_iter=4, noise_level=0.1, answers=[FINITE, *[BELOW] * 4]) == 5
    assert asked_by(sirt, A, y, max_iter=3, n_subsets=2, noise_level=0.1, answers=[FINITE, *[BELOW] * 3]) == 4
    # Filtered back-projection must know whether all data count.
    masked = [True, False, FINITE, True]
    assert asked_by(sirt, A, y, max_iter=3, x0="fbp", weights=on_device(6, 8), answers=masked) == 4
    assert asked_by(sirt, A, y, max_iter=3, n_subsets=2, nonnegative=True, answers=[FINITE]) == 1
    for solver in (tv, fista_tv):
        assert asked_by(solver, A, y, max_iter=3, nonnegative=True, answers=[FINITE]) == 1
    # Whether a projection more is needed, conjugate gradients with a bound must ask.
    assert asked_by(cgls, A, y, max_iter=3, nonnegative=True, answers=[FINITE, *[CLIPPED] * 3]) == 4


def test_filtered_back_projection_asks_once():
    """Blocks of slices are filtered and back-projected without a further question."""
    for n in (3, 70):
        assert asked_by(fbp, A, on_device(n, 6, 8), filter="hann", padding="edge", answers=[FINITE]) == 1
    assert asked_by(filter_sinogram, on_device(3, 6, 8), answers=[FINITE]) == 1
    assert asked_by(split_images, BEAM, on_device(3, 6, 8), 2, answers=[FINITE] * 2) == 2


def test_operators_ask_nothing():
    images, projections = on_device(2, 8, 8), on_device(2, 6, 8)
    angles = default_angles(6)
    assert asked_by(A, images) == asked_by(A.T, projections) == asked_by(GradientOperator((8, 8)), images) == 0
    assert asked_by(radon, images, angles) == asked_by(backproject, projections, angles) == 0
    assert asked_by(extract_patches, images, (4, 4), overlap=2) == 0
    assert asked_by(stitch_patches, on_device(2, 9, 4, 4), (8, 8), overlap=2, blend="hann") == 0
    assert asked_by(sliding_median, images, 3, answers=[FINITE]) == 1


def test_networks_ask_nothing(no_autocast):
    x = on_device(2, 6, 8)
    with torch.device("meta"):
        iradonmap, primal_dual = IRadonMAPNetwork(8, channels=(2, 4)), PrimalDualNetwork(n_iterations=2, n_filters=2)
    assert asked_by(iradonmap, x, A) == 0
    assert asked_by(primal_dual, x, A, 3.0) == 0
    with torch.device("meta"):
        filtered = PrimalDualNetwork(n_iterations=2, n_filters=2, filtered=True)
    assert asked_by(filtered, x, A, 3.0) == 0


def test_what_leaves_the_device_is_found():
    y = on_device(3, 6, 8)
    with pytest.raises(NotImplementedError, match="out of meta tensor"):
        asked_by(lambda: y.cpu())
    with pytest.raises(RuntimeError, match="device"):
        asked_by(lambda: y + torch.ones(6, 8))


@pytest.mark.parametrize("name", ["FBPUNetReconstructor", "IRadonMAPReconstructor", "LearnedPrimalDualReconstructor"])
def test_learned_reconstructions_stay_on_the_device(name, no_autocast, monkeypatch):
    """From the sinograms that a slab brings to the images that it takes away."""
    X, y = pairs(4)
    fitted = small(name, max_epochs=1, batch_size=4, device="cpu").fit(X, y)
    fitted.network_.to("meta")
    for module in ("tomolearn.reconstruction._learned.find_device", "tomolearn.training.estimator.find_device"):
        monkeypatch.setattr(module, lambda device: torch.device("meta"))
    monkeypatch.setattr("tomolearn.reconstruction.fbp_unet.has_kernels", lambda kind: True)
    assert asked_by(fitted._reconstruct, fitted._operator(), on_device(5, 7, 12), lambda: None) == 0
