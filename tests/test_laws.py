"""Every operator obeys every law, at every SIMD level."""

import re
from pathlib import Path

import checks
import numpy as np
import pytest
import torch
from checks import OPERATORS

from tomolearn._extension import SIMD_LEVELS, simd_level

LEVELS = [level for level in SIMD_LEVELS if level in {simd_level(level) for level in SIMD_LEVELS}]


@pytest.fixture(params=LEVELS)
def level(request):
    simd_level(request.param)
    yield request.param
    simd_level("avx512")


@pytest.fixture(params=sorted(OPERATORS))
def draw(request):
    return OPERATORS[request.param]


def test_registry_is_complete():
    schemas = (Path(__file__).parents[1] / "csrc" / "ops.cpp").read_text()
    names = set(re.findall(r'm\.def\(\s*"(\w+)\(', schemas))
    assert names == set(OPERATORS) | checks.NOT_LINEAR


def test_levels_are_what_the_machine_has():
    assert LEVELS[0] == "baseline"
    with pytest.raises(ValueError, match="limit must be one of baseline, avx2, avx512; got 'sse9'"):
        simd_level("sse9")


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_dot(draw, level, dtype, bound):
    rng = np.random.default_rng(1)
    for trial in range(100):
        checks.check_dot(draw(rng), rng, (1, 2, 7, 17)[trial % 4], dtype, bound)


@pytest.mark.parametrize("n_slices", [1, 3, 9, 33])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_slow_reference(draw, level, n_slices, dtype, tolerance):
    rng = np.random.default_rng(2)
    for _ in range(8):
        checks.check_slow_reference(draw(rng), rng, n_slices, dtype, tolerance)


def test_linear(draw, rng):
    for _ in range(10):
        checks.check_linear(draw(rng), rng)


def test_layouts(draw, rng):
    for _ in range(5):
        checks.check_layouts(draw(rng), rng)


@pytest.mark.parametrize("n_slices", [1, 5, 20])
def test_threads(draw, level, n_slices):
    rng = np.random.default_rng(3)
    for _ in range(6):
        checks.check_threads(draw(rng), rng, n_slices)


def test_gradients(draw):
    rng = np.random.default_rng(4)
    for _ in range(3):
        checks.check_gradients(draw(rng, small=True), rng)


def test_vmap(draw, rng):
    checks.check_vmap(draw(rng, small=True), rng)
