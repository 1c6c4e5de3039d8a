"""Muon where units no longer learn: the same steps as without them, and as quick."""

import time

import torch

from tomolearn.training.muon import Muon, _orthogonal


def dead(scale):
    """A gradient of which every second row is next to nothing."""
    gradient = torch.randn(1, 128, 512, generator=torch.Generator().manual_seed(0))
    gradient[:, ::2] *= scale
    return gradient


def test_rows_of_next_to_nothing_are_rows_of_zeros():
    for scale in (1e-12, 1e-20, 1e-42):
        torch.testing.assert_close(_orthogonal(dead(scale)), _orthogonal(dead(0.0)), rtol=0, atol=1e-6)


def test_steps_of_dead_units_take_no_longer():
    """Products of denormal numbers took seventy times as long."""

    def seconds(gradient):
        times = []
        for _ in range(5):
            start = time.process_time()
            _orthogonal(gradient)
            times.append(time.process_time() - start)
        return min(times)

    assert max(seconds(dead(scale)) for scale in (1e-19, 1e-37, 1e-42)) < 8 * seconds(dead(1.0))


def test_momentum_fades_to_zero():
    p = torch.nn.Parameter(torch.zeros(4, 4))
    optimizer = Muon([p], lr=0.1)
    p.grad = torch.full((4, 4), 1e-20)
    for _ in range(500):
        optimizer.step()
        p.grad = torch.zeros(4, 4)
    assert not optimizer.state[p]["mean"].any()
