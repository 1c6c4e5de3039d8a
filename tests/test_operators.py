"""Operators as objects: transposes, norms, units, subsets."""

import numpy as np
import pytest
import torch
from reference import system_matrix

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import GradientOperator, RadonOperator

BEAM = ParallelBeam(default_angles(7) + 0.1, 11, (8, 9), center=4.6, detector_spacing=0.9)


@pytest.mark.parametrize("operator", [RadonOperator(BEAM), GradientOperator((8, 9))], ids=["radon", "gradient"])
class TestEveryOperator:
    def test_transpose(self, operator, rng):
        x, y = rng.standard_normal((3, *operator.domain_shape)), rng.standard_normal((3, *operator.range_shape))
        assert np.sum(operator(x) * y) == pytest.approx(np.sum(x * operator.T(y)), rel=1e-12)
        assert operator.T.T is operator
        assert operator.T.domain_shape == operator.range_shape

    def test_one_slice_is_a_stack_of_one(self, operator, rng):
        x = rng.standard_normal(operator.domain_shape).astype(np.float32)
        np.testing.assert_array_equal(operator(x), operator(x[None])[0])
        assert operator(x).dtype == np.float32 and isinstance(operator(torch.from_numpy(x)), torch.Tensor)

    def test_gradient_of_a_loss(self, operator, rng):
        x = torch.from_numpy(rng.standard_normal((2, *operator.domain_shape))).requires_grad_()
        loss = operator(x).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, x)
        torch.testing.assert_close(gradient, operator.T(operator(x.detach())))

    def test_wrong_shape(self, operator):
        with pytest.raises(ValueError, match=r"must have shape \(8, 9\) or \(n, 8, 9\); got \(8, 8\)"):
            operator(np.ones((8, 8)))


def test_norm_is_the_largest_singular_value():
    matrix = system_matrix(np.array(BEAM.angles), 11, (8, 9), 4.6, 0.9)
    assert RadonOperator(BEAM).norm(100) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-4)
    assert GradientOperator((200, 200)).norm() == pytest.approx(8**0.5)


def test_pixel_size_scales_the_integrals(rng):
    x = rng.random((8, 9))
    small = RadonOperator(ParallelBeam(BEAM.angles, 11, (8, 9), 4.6, 0.9, pixel_size=0.25))
    np.testing.assert_allclose(small(x), 0.25 * RadonOperator(BEAM)(x))
    y = rng.random(small.range_shape)
    assert np.sum(small(x) * y) == pytest.approx(np.sum(x * small.T(y)))


def test_subsets_and_slices(rng):
    centers = np.array([[4.0], [5.0], [6.0]])
    A = RadonOperator(ParallelBeam(BEAM.angles, 11, (8, 9), centers))
    x = rng.random((3, 8, 9))
    np.testing.assert_array_equal(A.subset([4, 1])(x), A(x)[:, [4, 1]])
    np.testing.assert_array_equal(A.slices(1, 3)(x[1:]), A(x)[1:])
    assert A.subset([4, 1]).range_shape == (2, 11)
    with pytest.raises(GeometryError, match="center is given for 3 slices; got a stack of 2"):
        A(x[:2])


def test_geometry_must_be_one():
    with pytest.raises(TypeError, match="geometry must be a ParallelBeam; got tuple"):
        RadonOperator((1, 2))
