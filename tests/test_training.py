"""The training loop: what it learns, stops at, saves, and goes on from."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from tomolearn.exceptions import DivergenceError, FileFormatError
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


def flat(tensors):
    return torch.cat([value.reshape(-1) for value in tensors.values()])


def weights(engine):
    return flat(engine.task.modules.state_dict())


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
    assert torch.equal(weights(engine), flat(by_hand.modules.state_dict()))


# -------------------------------------------------------------------------------------------- stopping, schedules


class Losses(Callback):
    """Makes the losses of validation be given numbers, and notes the weights of each epoch."""

    def __init__(self, engine_task, losses):
        self.weights, losses = [], iter(losses)
        engine_task.validation_step = lambda engine, batch: {"loss": torch.tensor(self.value)}
        self._losses, self.value = losses, next(losses)

    def on_epoch_end(self, engine):
        self.weights.append(flat(engine._ema or engine.task.modules.state_dict()))
        self.value = next(self._losses, 99.0)


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_early_stopping_keeps_the_best_weights(ema_decay):
    one = task()
    losses = Losses(one, [5.0, 3.0, 4.0, 2.0, 2.0, 6.0, 7.0, 1.0])
    engine = Engine(one, TrainingOptions(max_epochs=20, n_iter_no_change=3, ema_decay=ema_decay), [losses])
    history = engine.train(line(), line(8))
    assert history["val_loss"] == [5, 3, 4, 2, 2, 6, 7] and engine.best_epoch == 4
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


def test_a_running_mean_of_weights_goes_with_the_latest_statistics():
    """Of a batch norm: with those of the beginning, validation would see another network."""
    x = np.random.default_rng(0).normal(50, 5, (64, 1)).astype(np.float32)
    seen = []

    class Note(Callback):
        def on_step_end(self, engine):
            seen.append(network[0].running_mean.clone())

    network = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
    one = SupervisedTask(network, learning_rate=0.05)
    settings = TrainingOptions(max_epochs=40, batch_size=16, ema_decay=0.9, n_iter_no_change=40)
    history = Engine(one, settings, [Note()]).train(Samples(x, x - 50), Samples(x, x - 50))
    assert history["val_loss"][-1] < 2 and any(torch.equal(network[0].running_mean, mean) for mean in seen[3::4])
    assert network[0].running_mean.item() == pytest.approx(50, abs=2)


def test_validation_within_an_epoch_changes_nothing():
    class Validate(Callback):
        def on_step_end(self, engine):
            engine.validate(line(8))

    settings = TrainingOptions(max_epochs=2, batch_size=16, ema_decay=0.9)
    plain, watched = Engine(task(dropout=0.5), settings), Engine(task(dropout=0.5), settings, [Validate()])
    plain.train(line())
    watched.train(line())
    assert torch.equal(weights(plain), weights(watched))


def test_the_global_generator_stays_as_it_was():
    one, before = task(dropout=0.2), torch.random.get_rng_state()
    Engine(one, TrainingOptions(max_epochs=1)).train(line())
    assert torch.equal(torch.random.get_rng_state(), before)


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


def test_what_is_not_finite_after_a_step_is_an_error():
    one = task()
    one.validation_step = lambda engine, batch: {"loss": torch.tensor(float("nan"))}
    with pytest.raises(DivergenceError, match=r"val_loss is no longer finite after epoch 1\. Lower learning_rate"):
        Engine(one, TrainingOptions(max_epochs=3)).train(line(), line(8))
    # The slope of the root is infinite at zero: a finite loss and no finite step.
    kink = SupervisedTask(torch.nn.Linear(1, 1, bias=False), loss=lambda y, target: (0 * y).square().sum().sqrt())
    with pytest.raises(DivergenceError, match=r"a weight is no longer finite after step 1\. Lower learning_rate"):
        Engine(kink, TrainingOptions(max_epochs=1, batch_size=64)).train(line())


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


class At(Callback):
    """Sends a signal to this process after a step."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_step_end(self, engine):
        if engine.n_done == self.step:
            os.kill(os.getpid(), self.number)


SCRIPT = """
    import signal, sys
    sys.path.insert(0, {tests!r})
    import torch
    from test_training import At, Engine, line, options, task
    torch.set_num_threads(1)
    Engine(task(dropout=0.2), options({checkpoint!r}), [At(13, signal.SIGKILL)]).train(line(), line(20, seed=1))
"""


def assert_continued(checkpoint, step):
    """From a checkpoint of this step or the one before, to the weights of a training that was not broken off."""
    began = []

    class Note(Callback):
        def on_train_begin(self, engine):
            began.append(engine.n_done)

    whole = Engine(task(dropout=0.2), options())
    whole.train(line(), line(20, seed=1))
    resumed = Engine(task(seed=9, dropout=0.2), options(checkpoint), [Note()])
    resumed.train(line(), line(20, seed=1))
    assert began[0] in (step - 1, step) and torch.equal(weights(resumed), weights(whole))


def test_a_killed_process_is_continued_to_the_same_weights(tmp_path):
    code = textwrap.dedent(SCRIPT).format(tests=os.path.dirname(__file__), checkpoint=str(tmp_path / "c.pt"))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert_continued(tmp_path / "c.pt", 13)


def test_ctrl_c_sets_the_best_weights_and_loses_nothing(tmp_path):
    broken = Engine(task(dropout=0.2), options(tmp_path / "c.pt"), [At(13, signal.SIGINT)])
    with pytest.raises(KeyboardInterrupt):
        broken.train(line(), line(20, seed=1))
    assert broken.n_done == 13 and torch.equal(weights(broken), flat(broken.kept()))
    assert_continued(tmp_path / "c.pt", 13)


def test_checkpoints_of_other_trainings_are_refused(tmp_path):
    path = tmp_path / "c.pt"
    Engine(task(), options(path, fingerprint={"parameters": "a"})).train(line(), line(8))
    with pytest.raises(ValueError, match=r"c\.pt is of another training: parameters was a and is b\. Delete the file"):
        Engine(task(), options(path, fingerprint={"parameters": "b"})).train(line(), line(8))
    kinds = [json.dumps({"loss": kind, "batch_size": 4}) for kind in ("mse", "mae")]
    Engine(task(), options(tmp_path / "d.pt", fingerprint={"parameters": kinds[0]})).train(line(), line(8))
    with pytest.raises(ValueError, match=r'parameters was \{"loss": "mse"\} and is \{"loss": "mae"\}\. Delete'):
        Engine(task(), options(tmp_path / "d.pt", fingerprint={"parameters": kinds[1]})).train(line(), line(8))
    with pytest.raises(ValueError, match=r"checkpoint must be a file in a folder that exists; got .*nowhere.*c\.pt"):
        Engine(task(), options(tmp_path / "nowhere" / "c.pt")).train(line())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileFormatError, match=r"c\.pt is broken or no checkpoint"):
        Engine(task(), options(path)).train(line(), line(8))
    torch.save({"format": "else"}, path)
    with pytest.raises(FileFormatError, match="has the format 'else', expected 'tomolearn checkpoint 1'"):
        Engine(task(), options(path)).train(line(), line(8))


# ------------------------------------------------------------------------------------------------------- hardware


def test_devices_and_precisions(monkeypatch):
    cpu = torch.device("cpu")
    assert find_device("cpu") == cpu and find_device("auto").type in ("cpu", "cuda")
    for wrong in ("gpu", "meta", 3.5, "mps"):
        with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got"):
            find_device(wrong)
    with pytest.raises(ValueError, match="device='cuda:99' is not there: torch .* sees"):
        find_device("cuda:99")
    assert autocast_dtype("float32", cpu, training=True) is None
    assert autocast_dtype("auto", cpu, training=False) is None
    for fast, dtype in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda fast=fast: fast)
        assert autocast_dtype("auto", cpu, training=True) == dtype
    assert autocast_dtype("bfloat16", cpu, training=False) == torch.bfloat16


def test_mixed_precision_computes_in_bfloat16():
    dtypes = set()
    one = task()
    one.modules["network"][0].register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    Engine(one, TrainingOptions(max_epochs=1, autocast=torch.bfloat16)).train(line(), line(8))
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in one.modules.parameters()} == {torch.float32}
