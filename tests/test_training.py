"""The training loop: what it learns, stops at, saves, and goes on from."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest
import torch

from tomolearn.exceptions import DivergenceError, FileFormatError
from tomolearn.io import open_library
from tomolearn.training import (
    Callback,
    Engine,
    Samples,
    Schedule,
    StopAfter,
    SupervisedTask,
    TrainingOptions,
)
from tomolearn.training.hardware import autocast_dtype, find_device


def line(n=64, seed=0):
    """Samples of y = 3 x + 1."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 1)).astype(np.float32)
    return Samples(x, 3 * x + 1)


def task(seed=0, width=8, dropout=0.0, **options):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(1, width), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(width, 1)
    )
    return SupervisedTask(network, **({"learning_rate": 0.05} | options))


def weights(engine):
    return torch.cat([value.reshape(-1) for value in engine.task.modules.state_dict().values()])


def test_it_learns_a_line():
    engine = Engine(task(), TrainingOptions(max_epochs=60, batch_size=16))
    history = engine.train(line(), line(seed=1))
    assert history["val_loss"][-1] < 1e-2 < history["val_loss"][0]
    assert history.n_epochs == 60 and set(history) == {"loss", "val_loss", "learning_rate", "seconds"}


def test_the_loop_does_what_a_bare_loop_does():
    """Same order of samples, same steps: the same weights to the bit."""
    samples, steps = line(), 0
    by_hand = task()
    optimizer = torch.optim.Adam(by_hand.modules.parameters(), 0.05)
    for epoch in range(3):
        for (x, y), _, _ in samples.shuffled(16, np.random.default_rng((5, epoch))):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(by_hand.modules["network"](x), y).backward()
            optimizer.step()
            steps += 1
    engine = Engine(task(), TrainingOptions(max_epochs=3, batch_size=16, seed=5))
    engine.train(samples)
    assert steps == engine.n_done == 12
    assert torch.equal(weights(engine), torch.cat([p.reshape(-1) for p in by_hand.modules.state_dict().values()]))


# -------------------------------------------------------------------------------------------------------- samples


def test_each_sample_once_in_another_order_each_epoch():
    samples = Samples(np.arange(100.0), np.arange(100.0))
    orders = []
    for epoch in range(2):
        batches = list(samples.shuffled(32, np.random.default_rng((0, epoch))))
        assert [len(x) for (x, _), _, _ in batches] == [32, 32, 32, 4] and samples.n_batches(32) == 4
        orders.append(torch.cat([x for (x, _), _, _ in batches]))
        assert torch.equal(orders[-1].sort().values, torch.arange(100.0))
    assert not torch.equal(*orders)


def test_skipped_batches_leave_the_rest_as_it_was():
    samples = Samples(np.arange(50.0))
    whole = [x for (x,), _, _ in samples.shuffled(8, np.random.default_rng(3))]
    rest = [x for (x,), _, _ in samples.shuffled(8, np.random.default_rng(3), skip=4)]
    assert len(rest) == 3 and all(torch.equal(a, b) for a, b in zip(whole[4:], rest, strict=True))


@pytest.fixture
def library(tmp_path):
    """10,000 pairs of 2 x 3 in the format of the libraries, numbered."""
    n = 10_000
    with h5py.File(tmp_path / "library.h5", "w") as file:
        numbers = np.arange(n, dtype=np.float32)
        file.create_dataset("Images", data=np.broadcast_to(numbers, (2, 3, n)), chunks=(2, 3, 64))
        file.create_dataset("Sinograms", data=np.broadcast_to(-numbers, (2, 3, n)), chunks=(2, 3, 64))
        file["NImages"] = n
    return tmp_path / "library.h5"


def test_files_are_shuffled_in_windows_and_every_pair_is_read_once(library):
    images, sinograms = open_library(library)
    samples = Samples(sinograms, images).subset(np.delete(np.arange(10_000), [5, 77]))
    batches = list(samples.shuffled(100, np.random.default_rng(0)))
    assert len(batches) == samples.n_batches(100)
    x = torch.cat([x[:, 0, 0] for (x, _), _, _ in batches])
    y = torch.cat([y[:, 0, 0] for (_, y), _, _ in batches])
    assert torch.equal(x, -y)
    assert torch.equal(y.sort().values, torch.tensor(np.delete(np.arange(10_000.0), [5, 77]), dtype=torch.float32))
    assert y[:4096].diff().eq(1).float().mean() < 0.01  # mixed, not in runs
    skipped = list(samples.shuffled(100, np.random.default_rng(0), skip=60))
    assert torch.equal(skipped[0][0][1], batches[60][0][1])
    held = samples.load_if_small()
    assert held is not samples and torch.equal(held.entries(np.array([5]))[1], samples.entries(np.array([5]))[1])


def test_what_is_not_finite_in_a_file_is_named(library):
    with h5py.File(library, "a") as file:
        file["Images"][0, 0, 123] = np.nan
    images, sinograms = open_library(library)
    with pytest.raises(ValueError, match=r"library\.h5.*samples \d+ to \d+, must be finite; got 1 NaN"):
        list(Samples(sinograms, images).in_order(100))
    with pytest.raises(ValueError, match="one entry per sample; got 3 and 4"):
        Samples(np.zeros(3), np.zeros(4))


# -------------------------------------------------------------------------------------------- stopping, schedules


class Losses(Callback):
    """Makes the losses of validation be given numbers, and notes the weights of each epoch."""

    def __init__(self, engine_task, losses):
        self.weights, losses = [], iter(losses)
        engine_task.validation_step = lambda engine, batch: {"loss": torch.tensor(self.value)}
        self._losses, self.value = losses, next(losses)

    def on_epoch_end(self, engine):
        self.weights.append(weights(engine).clone())
        self.value = next(self._losses, 99.0)


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_early_stopping_keeps_the_best_weights(ema_decay):
    one = task()
    losses = Losses(one, [5.0, 3.0, 4.0, 2.0, 2.0, 6.0, 7.0, 1.0])
    engine = Engine(one, TrainingOptions(max_epochs=20, n_iter_no_change=3, ema_decay=ema_decay), [losses])
    history = engine.train(line(), line(8))
    assert history["val_loss"] == [5, 3, 4, 2, 2, 6, 7] and engine.best_epoch == 4
    if ema_decay is None:
        assert torch.equal(weights(engine), losses.weights[3])


def test_without_early_stopping_the_last_weights_are_kept():
    one = task()
    losses = Losses(one, [1.0, 2.0, 3.0])
    engine = Engine(one, TrainingOptions(max_epochs=3), [losses])
    engine.train(line(), line(8))
    assert engine.best_epoch == 3 and torch.equal(weights(engine), losses.weights[-1])


def test_the_running_mean_of_weights():
    one, seen = task(), []

    class Note(Callback):
        def on_step_end(self, engine):
            seen.append(weights(engine).clone())

    start = torch.cat([p.detach().reshape(-1) for p in one.modules.parameters()])
    engine = Engine(one, TrainingOptions(max_epochs=2, batch_size=16, ema_decay=0.9), [Note()])
    engine.train(line())
    mean = start
    for step, value in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
    torch.testing.assert_close(weights(engine), mean)


def test_schedules():
    cosine = [Schedule("cosine").factor(step, 200) for step in range(200)]
    assert cosine[0] == 0.1 and max(cosine) == cosine[9] == 1 and 0 < cosine[-1] < 1e-3
    assert all(a >= b for a, b in zip(cosine[9:-1], cosine[10:], strict=True))
    assert Schedule("cosine").factor(0, 1) == 1
    plateau = Schedule("plateau")
    factors = []
    for loss in (3, 2, 2, 2, 1, 1, 1):
        plateau.end_epoch(loss)
        factors.append(plateau.factor(0, 9))
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    with pytest.raises(ValueError, match="schedule must be one of 'constant', 'cosine', 'plateau'; got 'linear'"):
        Schedule("linear")
    engine = Engine(task(), TrainingOptions(max_epochs=4, batch_size=64, schedule="cosine"))
    assert engine.train(line())["learning_rate"] == pytest.approx(
        [0.05 * Schedule("cosine").factor(k, 4) for k in range(4)]
    )


def test_gradients_are_clipped():
    one = task(optimizer="rmsprop")
    norms = []

    class Note(Callback):
        def on_step_end(self, engine):
            norms.append(torch.cat([p.grad.reshape(-1) for p in one.modules.parameters()]).norm())

    Engine(one, TrainingOptions(max_epochs=2, batch_size=16, gradient_clipping=0.01), [Note()]).train(line())
    assert max(norms) <= 0.01001 and max(norms) > 0.0099


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(DivergenceError, match=r"loss is no longer finite in step \d+ \(epoch 1\). Lower learning_rate"):
        Engine(task(learning_rate=1e30), TrainingOptions(max_epochs=3, batch_size=8)).train(line())


def test_stop_after_some_time():
    engine = Engine(task(), TrainingOptions(max_epochs=10**6), [StopAfter(0.3)])
    began = time.monotonic()
    engine.train(line())
    assert time.monotonic() - began < 5 and 0 < engine.epoch < 10**6


def test_a_task_of_two_optimizers():
    """Like a GAN: the task calls the steps, the loop knows nothing of them."""

    class Two(SupervisedTask):
        def __init__(self):
            super().__init__(torch.nn.Linear(1, 1))
            self.modules["other"] = torch.nn.Linear(1, 1)

        def optimizers(self):
            return {name: torch.optim.SGD(module.parameters(), 0.1) for name, module in self.modules.items()}

        def training_step(self, engine, batch):
            x, y = batch
            for name in ("other", "network", "other"):
                loss = torch.nn.functional.mse_loss(self.modules[name](x), y)
                engine.step(name, loss)
            return {"loss": loss, "twice": 2 * loss}

    one = Two()
    history = Engine(one, TrainingOptions(max_epochs=40, batch_size=16)).train(line())
    assert history["loss"][-1] < 1e-3 and history["twice"] == pytest.approx([2 * loss for loss in history["loss"]])
    assert one.modules["network"].weight.item() == pytest.approx(3, abs=0.1)


# ---------------------------------------------------------------------------------------------------- checkpoints


def options(checkpoint=None, **more):
    return TrainingOptions(
        **{"max_epochs": 4, "batch_size": 8, "seed": 1, "schedule": "cosine", "ema_decay": 0.9, "n_iter_no_change": 3}
        | more,
        checkpoint=checkpoint,
        checkpoint_seconds=0,
    )


class Break(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, engine):
        if engine.n_done == self.step:
            raise RuntimeError("broken off")


@pytest.mark.parametrize("step", [2, 5, 8, 13, 31])
def test_a_training_that_was_broken_off_ends_with_the_same_weights(tmp_path, step):
    samples, held = line(), line(20, seed=1)
    whole = Engine(task(dropout=0.2), options())
    whole.train(samples, held)
    with pytest.raises(RuntimeError, match="broken off"):
        Engine(task(dropout=0.2), options(tmp_path / "c.pt"), [Break(step)]).train(samples, held)
    resumed = Engine(task(seed=9, dropout=0.2), options(tmp_path / "c.pt"))
    resumed.train(samples, held)
    assert torch.equal(weights(resumed), weights(whole))
    assert [resumed.history[name] for name in ("loss", "val_loss")] == [
        whole.history[name] for name in ("loss", "val_loss")
    ]
    assert (resumed.n_done, resumed.best_epoch) == (whole.n_done, whole.best_epoch)
    again = Engine(task(seed=9), options(tmp_path / "c.pt"))
    again.train(samples, held)
    assert again.n_done == whole.n_done and torch.equal(weights(again), weights(whole))


SCRIPT = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    import torch
    from test_training import Callback, Engine, line, options, task, weights
    torch.set_num_threads(1)
    class At(Callback):
        def on_step_end(self, engine):
            if engine.n_done == {step}:
                os.kill(os.getpid(), getattr(signal, {signal!r}))
    engine = Engine(task(dropout=0.2), options({checkpoint!r}), [At()])
    try:
        engine.train(line(), line(20, seed=1))
    except KeyboardInterrupt:
        print("interrupted", engine.n_done)
    torch.save(weights(engine), {out!r})
"""


def run_script(tmp_path, step, signal_name="SIGKILL"):
    code = textwrap.dedent(SCRIPT).format(
        tests=os.path.dirname(__file__),
        step=step,
        signal=signal_name,
        checkpoint=str(tmp_path / "c.pt"),
        out=str(tmp_path / "weights.pt"),
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_a_killed_process_is_continued_to_the_same_weights(tmp_path):
    whole = Engine(task(dropout=0.2), options())
    whole.train(line(), line(20, seed=1))
    assert run_script(tmp_path, 13).returncode == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists() and (tmp_path / "c.pt").exists()
    assert run_script(tmp_path, -1).returncode == 0
    assert torch.equal(torch.load(tmp_path / "weights.pt"), weights(whole))


def test_ctrl_c_sets_the_best_weights_and_loses_nothing(tmp_path):
    whole = Engine(task(dropout=0.2), options())
    whole.train(line(), line(20, seed=1))
    run = run_script(tmp_path, 13, "SIGINT")
    assert run.stdout.split() == ["interrupted", "13"], run.stderr
    run_script(tmp_path, -1)
    assert torch.equal(torch.load(tmp_path / "weights.pt"), weights(whole))


def test_checkpoints_of_other_trainings_are_refused(tmp_path):
    path = tmp_path / "c.pt"
    Engine(task(), options(path, fingerprint={"parameters": "a"})).train(line(), line(8))
    with pytest.raises(ValueError, match=r"c\.pt is of another training: parameters was a and is b\. Delete the file"):
        Engine(task(), options(path, fingerprint={"parameters": "b"})).train(line(), line(8))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileFormatError, match=r"c\.pt is broken or no checkpoint"):
        Engine(task(), options(path)).train(line(), line(8))
    torch.save({"format": "else"}, path)
    with pytest.raises(FileFormatError, match="has the format 'else', expected 'tomolearn checkpoint 1'"):
        Engine(task(), options(path)).train(line(), line(8))


# ------------------------------------------------------------------------------------------------------- hardware


def test_devices_and_precisions():
    cpu = torch.device("cpu")
    assert find_device("cpu") == cpu and find_device("auto").type in ("cpu", "cuda")
    for wrong in ("gpu", "meta", 3.5, "mps"):
        with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got"):
            find_device(wrong)
    with pytest.raises(ValueError, match="device='cuda:99' is not there: torch .* sees"):
        find_device("cuda:99")
    assert autocast_dtype("float32", cpu, training=True) is None
    assert autocast_dtype("auto", cpu, training=False) is None
    assert autocast_dtype("auto", cpu, training=True) in (None, torch.bfloat16)
    assert autocast_dtype("bfloat16", cpu, training=False) == torch.bfloat16


def test_mixed_precision_computes_in_bfloat16():
    dtypes = set()
    one = task()
    one.modules["network"][0].register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    Engine(one, TrainingOptions(max_epochs=1, autocast=torch.bfloat16)).train(line(), line(8))
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in one.modules.parameters()} == {torch.float32}
