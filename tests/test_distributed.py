"""Several processes train what one process trains: on one machine, and on two that share only a cable.

This file is also the program that the processes run: ``torchrun test_distributed.py folder part``.
"""

import functools
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from learned import pairs, small, weights

from tomolearn.training import Callback, Engine, Samples, StopAfter, Task, TrainingOptions

pytestmark = pytest.mark.slow

# ------------------------------------------------------------------------------------------- what each process runs


class Adversarial(Task):
    """A critic with a gradient penalty in one backward pass, and a generator: two optimisers, steps in turn."""

    def __init__(self):
        torch.manual_seed(0)
        self.modules = torch.nn.ModuleDict({"generator": self._network(2, 3), "critic": self._network(3, 1)}).double()

    @staticmethod
    def _network(n_in, n_out):
        return torch.nn.Sequential(torch.nn.Linear(n_in, 16), torch.nn.Tanh(), torch.nn.Linear(16, n_out))

    def optimizers(self):
        return {name: torch.optim.Adam(module.parameters(), 1e-2) for name, module in self.modules.items()}

    def training_step(self, engine, batch):
        x, real = (part.double() for part in batch)
        generator, critic = self.modules["generator"], self.modules["critic"]
        for _ in range(2):
            fake = generator(x).detach()
            between = (0.3 * real + 0.7 * fake).requires_grad_()
            slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0]
            penalty = (slope.norm(dim=1) - 1).square().mean()
            loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
            engine.step("critic", loss)
        distance = -critic(generator(x)).mean()
        engine.step("generator", distance)
        return {"loss": loss, "distance": distance}


class StopInOne(Callback):
    """Asks for the end in the last process alone."""

    def __init__(self, rank, step=None):
        self.rank, self.step = rank, step

    def on_step_end(self, engine):
        engine.stop = self.rank == 1 and engine.n_done == self.step

    def on_epoch_end(self, engine):
        engine.stop = self.rank == 1 and self.step is None


def line(n):
    x = np.random.default_rng(0).uniform(-1, 1, (n, 2)).astype(np.float32)
    return Samples(x, np.concatenate([x, x[:, :1] * x[:, 1:]], 1))


def flat(engine):
    return torch.cat([value.reshape(-1).double() for value in engine.task.modules.state_dict().values()])


def train_estimators(found):
    X, y = pairs(16)
    for name, options in (
        ("DenseReconstructor", {"learning_rate": 1e-4}),
        ("LearnedPrimalDualReconstructor", {"optimizer": "adam", "learning_rate": 1e-4, "ema_decay": 0.9}),
    ):
        estimator = small(name, max_epochs=3, **options)
        estimator.fit(X[:13], y[:13], X_val=X[13:], y_val=y[13:])  # batches of 4, 4, 4, 1; validation of 3
        found[name] = weights(estimator)
        found[f"losses of {name}"] = torch.tensor(estimator.history_["loss"] + estimator.history_["val_loss"])


def train_the_rest(found, folder, rank):
    engine = Engine(Adversarial(), TrainingOptions(max_epochs=3, batch_size=5))
    engine.train(line(21))
    found["adversarial"] = flat(engine)

    for name, step in (("a step", 3), ("an epoch", None)):
        engine = Engine(Adversarial(), TrainingOptions(max_epochs=4, batch_size=5), [StopInOne(rank, step)])
        engine.train(line(20))
        found[f"steps when one stops after {name}"] = torch.tensor(engine.n_done)
    engine = Engine(Adversarial(), TrainingOptions(max_epochs=10**6, batch_size=5), [StopAfter(0.3 + 0.2 * rank)])
    engine.train(line(20))
    found["steps after some time"] = torch.tensor(engine.n_done)

    X, y = pairs(9)
    drawn = small("CNNReconstructor", random_state=None).fit(X, y)
    found["drawn"] = weights(drawn)

    class Note(Callback):
        def on_train_begin(self, engine):
            found["bars"] = torch.tensor(len(engine.callbacks) - 1)
            found["begun with"] = torch.tensor(engine.n_done)

    path = folder / f"checkpoint{rank}.pt"  # only the first process has it: no disk is shared
    small("DenseReconstructor", verbose=1, max_epochs=2).fit(X, y, checkpoint=path, callbacks=[Note()])
    small("DenseReconstructor", verbose=1, max_epochs=4).fit(X, y, checkpoint=path, callbacks=[Note()])
    found["own checkpoint"] = torch.tensor(path.exists())


def main(folder, part):
    torch.set_num_threads(1)
    rank, found = int(os.environ.get("RANK", "0")), {}
    train_estimators(found)
    if part == "all":
        train_the_rest(found, folder, rank)
    torch.save(found, folder / f"{part}{rank}.pt")


# ---------------------------------------------------------------------------------------------------------- the tests


def start(*command, folder, part, environment=None):
    """A process of this file, started by the last words of ``command``."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    return subprocess.Popen(
        [*command, __file__, str(folder), part],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def finish(processes):
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
    return outputs


@functools.cache
def alone():
    """What one process finds."""
    found = {}
    train_estimators(found)
    engine = Engine(Adversarial(), TrainingOptions(max_epochs=3, batch_size=5))
    engine.train(line(21))
    return found | {"adversarial": flat(engine)}


def assert_same(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_two_processes_train_what_one_trains(tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    running = start(*torchrun, folder=tmp_path, part="all")
    alone()  # while the others import what they need
    finish([running])
    first, second = (torch.load(tmp_path / f"all{rank}.pt") for rank in range(2))
    assert_same(first, alone())
    for name in set(first) - {"bars", "own checkpoint"}:
        assert torch.equal(first[name], second[name]), name
    assert first["steps when one stops after a step"] == 3 and first["steps when one stops after an epoch"] == 4
    assert first["steps after some time"] > 1
    assert (first["bars"], second["bars"]) == (1, 0)
    assert (first["own checkpoint"], second["own checkpoint"]) == (True, False)
    assert first["begun with"] == 4  # two epochs of two steps


@pytest.fixture
def machines():
    """Two network namespaces that a cable joins, with the addresses of their ends: as good as two machines."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux, root, and the program ip")
    mark = uuid.uuid4().hex[:6]
    names, ends = [f"tl{mark}{k}" for k in "ab"], [f"tv{mark}{k}" for k in "ab"]

    def ip(*arguments, check=True):
        return subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20, check=check)

    try:
        if (made := ip("netns", "add", names[0], check=False)).returncode:
            pytest.skip(f"network namespaces are not allowed here: {made.stderr.strip()}")
        ip("netns", "add", names[1])
        if (made := ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1], check=False)).returncode:
            pytest.skip(f"virtual cables are not allowed here: {made.stderr.strip()}")
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, ends, strict=True))
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)
        ip("link", "delete", ends[0], check=False)


def test_two_machines_train_what_one_trains(tmp_path, machines):
    """With the variables that torchrun sets; two more processes to set them would cost as much as all the rest."""
    group = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29517"}
    running = []
    for rank, (name, end) in enumerate(machines):
        environment = group | {"RANK": str(rank), "GLOO_SOCKET_IFNAME": end}
        command = ("ip", "netns", "exec", name, sys.executable)
        running.append(start(*command, folder=tmp_path, part="estimators", environment=environment))
    alone()
    finish(running)
    first, second = (torch.load(tmp_path / f"estimators{rank}.pt") for rank in range(2))
    assert_same(first, {name: value for name, value in alone().items() if name in first})
    assert len(first) == 4 and all(torch.equal(first[name], second[name]) for name in first)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
