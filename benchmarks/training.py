"""Overhead of the training loop over a bare loop of the same network: medians of interleaved runs, a table.

    python benchmarks/training.py [--threads 1] [--repeats 41] [--quick]

Both train the same network on the same batches with the same optimiser and end with the same weights. The bare loop
takes its batches by indices from a shuffled order and adds up the losses, nothing else; the engine also seeds each
step, sets the learning rate, watches for divergence and for Ctrl-C, and calls a callback. Times are those of the
processor, which other work on the machine disturbs less than the clock on the wall.
"""

import argparse
import time

import numpy as np
import torch
from _timing import machine, print_table

from tomolearn.networks import DenseNetwork, UNet
from tomolearn.training import Callback, Engine, Samples, SupervisedTask, TrainingOptions

MOST = 0.03  # overhead
SEED = 0


def unet(n):
    x = np.random.default_rng(0).random((n, 64, 64), np.float32)
    network = UNet(1, 1, channels=(16, 16, 32)).to(memory_format=torch.channels_last)
    return network, x, x[:, ::-1].copy(), lambda x: network(x[:, None])[:, 0], 16


def dense(n):
    x = np.random.default_rng(0).random((n, 24, 32), np.float32)
    network = DenseNetwork((24, 32), (32, 32), n_filters=8)
    return network, x, np.random.default_rng(1).random((n, 32, 32), np.float32), network, 32


CASES = {
    "U-Net of (16, 16, 32) channels, 64 x 64 pixels, batches of 16": (unet, 48),
    "`DenseNetwork`, 24 x 32 values to 32 x 32 pixels, batches of 32": (dense, 192),
}


def bare(network, x, y, forward, batch_size):
    """One epoch of a loop as one writes it by hand."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    x, y, total = torch.from_numpy(x), torch.from_numpy(y), 0.0
    network.train()
    order = torch.from_numpy(np.random.default_rng((SEED, 0)).permutation(len(x)))
    for batch in order.split(batch_size):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(forward(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(x)


def engine(network, x, y, forward, batch_size):
    """The same by the package."""
    task = SupervisedTask(network, learning_rate=1e-4, forward=forward)
    options = TrainingOptions(max_epochs=1, batch_size=batch_size, seed=SEED)
    return Engine(task, options, [Callback()]).train(Samples(x, y))["loss"][0]


def compare(make, n, repeats):
    """Seconds of an epoch of both loops, each from the same weights, in turn."""
    torch.manual_seed(0)
    network, *rest = make(n)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    seconds, ends = {bare: [], engine: []}, {}
    for k in range(repeats + 1):
        for loop in (bare, engine) if k % 2 else (engine, bare):
            network.load_state_dict(start)
            began = time.process_time()
            loop(network, *rest)
            if k:  # the first is a warm-up
                seconds[loop].append(time.process_time() - began)
            ends[loop] = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    if not torch.equal(ends[bare], ends[engine]):
        raise RuntimeError("the loops end with different weights: they are not the same training")
    return float(np.median(seconds[bare])), float(np.median(seconds[engine]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=41)
    parser.add_argument("--quick", action="store_true", help="a quarter of the repetitions")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    rows, worst = [], 0.0
    for name, (make, n) in CASES.items():
        by_hand, ours = compare(make, n, options.repeats // 4 if options.quick else options.repeats)
        steps = -(-n // make(1)[-1])
        overhead = ours / by_hand - 1
        rows.append((name, f"{1e3 * by_hand / steps:.2f}", f"{1e3 * ours / steps:.2f}", f"{100 * overhead:+.1f} %"))
        worst = max(worst, overhead)
    print_table("Training step", ("network", "bare loop, CPU ms", "engine, CPU ms", "overhead"), rows)
    print(f"\nLargest overhead: {100 * worst:.1f} % (must be at most {100 * MOST:.0f} %)")


if __name__ == "__main__":
    main()
