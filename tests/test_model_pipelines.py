"""save and load of pipelines, pickles of other versions, and broken files by the hundred."""

import copy
import os
import pickle
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import fuzz_files
import fuzz_models
import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

import tomolearn
from tomolearn import FBPReconstructor, MinusLog, SinogramBinner, SinogramPadder
from tomolearn.exceptions import FileFormatError, InconsistentVersionWarning
from tomolearn.persistence import describe_model, read_model, write_model

MAKE = runpy.run_path(Path(__file__).parent / "stored" / "make.py")
X = np.random.default_rng(0).uniform(0.5, 1, (3, 8, 12))


@pytest.fixture(scope="module")
def whole():
    """The pipeline of the stored files, from raw scan to labels, and its input."""
    with warnings.catch_warnings(action="ignore"):
        return MAKE["_pipeline"]()


def fitted(*steps):
    names = "abcdefgh"[: len(steps)]
    return Pipeline(list(zip(names, steps, strict=True))).fit(X)


# ------------------------------------------------------------------------------------------------------ round trips


def test_a_loaded_pipeline_is_the_saved_one(tmp_path, whole):
    pipeline, data = whole
    path = tmp_path / "model.tomo"
    tomolearn.save(pipeline, path)
    loaded = tomolearn.load(path)
    assert str(loaded) == str(pipeline) and isinstance(loaded["denoise"], FrozenEstimator)
    assert [name for name, _ in loaded["front"].steps] == ["log", "stripes", "fbp"]
    assert loaded["front"]["stripes"] == "passthrough"
    np.testing.assert_array_equal(loaded.predict_proba(data), pipeline.predict_proba(data))
    tomolearn.save(loaded, tmp_path / "again.tomo")
    assert (tmp_path / "again.tomo").read_bytes() == path.read_bytes()
    clone(loaded).set_params(segment__max_epochs=1).fit(data, pipeline.predict(data))
    tomolearn.save(pipeline, path, dtype="bfloat16")
    error = np.abs(tomolearn.load(path).predict_proba(data) - pipeline.predict_proba(data)).max()
    assert 0 < error < 0.05


@pytest.mark.parametrize("name", ["FBPReconstructor", "SIRTReconstructor", "CGLSReconstructor", "TVReconstructor"])
@pytest.mark.parametrize("center", [None, 5.2, [5.0, 5.5, 6.0]])
def test_reconstructors_without_training(tmp_path, name, center):
    estimator = getattr(tomolearn, name)(center=center).fit(X)
    estimator.save(tmp_path / "m")
    loaded = tomolearn.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    assert loaded.geometry_ == estimator.geometry_


PAGANIN = {"pixel_size": 1e-6, "distance": 0.1, "energy": 2e4, "delta_beta": 100.0}
CORRECTORS = {
    **{name: {} for name in ("MinusLog", "AirNormalizer", "BadPixelRepairer", "ZingerRemover", "SinogramPadder")},
    **{"SinogramBinner": {"angle_factor": 2}, "StripeRemover": {}, "FlatFieldCorrector": {}, "PaganinFilter": PAGANIN},
    "HalfAcquisitionStitcher": {"center": 9.3},
}


@pytest.mark.parametrize("name", CORRECTORS)
def test_corrections(tmp_path, name):
    estimator = getattr(tomolearn, name)(**CORRECTORS[name])
    rng = np.random.default_rng(1)
    frames = {"flats": rng.uniform(2, 3, (3, 4, 12)), "beam_intensity": rng.uniform(0.9, 1, 8)}
    estimator.fit(X, **(frames if name == "FlatFieldCorrector" else {}))
    estimator.save(tmp_path / "m")
    loaded = tomolearn.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.transform_counted(X)[0], estimator.transform_counted(X)[0])
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_steps_that_were_not_fitted_are_not_fitted_by_a_file(tmp_path):
    pipeline = Pipeline([("log", MinusLog(floor=0.1)), ("none", None), ("fbp", FBPReconstructor().fit(X))])
    tomolearn.save(pipeline, tmp_path / "m")
    loaded = tomolearn.load(tmp_path / "m")
    assert loaded["log"].floor == 0.1 and loaded["none"] is None and loaded["fbp"].center_ == 5.5
    with pytest.raises(NotFittedError, match="This MinusLog instance is not fitted yet"):
        loaded.predict(X)
    np.testing.assert_array_equal(loaded.fit(X).predict(X), pipeline.fit(X).predict(X))


def test_a_cache_is_not_kept(tmp_path):
    """Its folder is of a machine; and what is in a cache is unpickled."""
    pipeline = Pipeline(
        [("log", MinusLog()), ("fbp", FBPReconstructor())], memory=str(tmp_path / "cache"), verbose=True
    )
    tomolearn.save(pipeline.fit(X), tmp_path / "m")
    loaded = tomolearn.load(tmp_path / "m")
    assert loaded.memory is None and loaded.verbose is True
    assert b"cache" not in (tmp_path / "m").read_bytes()


def test_facts_of_a_pipeline(tmp_path, whole):
    tomolearn.save(whole[0], tmp_path / "m")
    found = describe_model(tmp_path / "m")
    assert found["class"] == "Pipeline" and [step["class"] for step in found["steps"]] == [
        "Pipeline",
        "FrozenEstimator",
        "UNetSegmenter",
    ]
    fbp = found["steps"][0]["steps"][2]
    assert fbp["geometry"]["geometry_"]["n_angles"] == 7 and fbp["parameters"]["filter"] == "hann"
    denoiser = found["steps"][1]["steps"][0]
    assert denoiser["class"] == "Noise2SelfDenoiser" and len(denoiser["training"]["history_"]["loss"]) == 3
    assert {"x_mean_", "x_scale_"} <= set(denoiser["normalization"])
    assert found["facts"]["data_range"]["Noise2SelfDenoiser"].startswith("mean and standard deviation of the noisy")
    assert found["n_weights"] == sum(
        step.n_parameters_ for step in (whole[0]["denoise"].estimator, whole[0]["segment"])
    )


# ------------------------------------------------------------------------------------------------- what is refused


def test_what_a_file_cannot_name_is_not_saved(tmp_path):
    class Own(MinusLog):
        pass

    nested = fitted(MinusLog())
    for _ in range(3):
        nested = Pipeline([("p", nested)])
    frozen = FrozenEstimator(FrozenEstimator(MinusLog().fit(X)))
    union = FeatureUnion([("log", MinusLog())]).fit(X)
    for model, error, message in (
        (
            Pipeline([("scale", StandardScaler()), ("log", MinusLog().fit(X))]),
            TypeError,
            r"step 'scale' must be.*Standard",
        ),
        (Pipeline([("union", union)]), TypeError, "step 'union' must be an estimator of tomolearn.*FeatureUnion"),
        (Own().fit(X), TypeError, "estimator must be an estimator of tomolearn.*Own, which a model file cannot name"),
        (nested, ValueError, "pipelines must not be nested more than 3 deep"),
        (frozen, ValueError, "a frozen estimator in a frozen estimator"),
        (Pipeline([(f"s{k}", MinusLog().fit(X)) for k in range(65)]), ValueError, "pipeline of 1 to 64 steps; got 65"),
        (Pipeline([("a__b", MinusLog().fit(X))]), ValueError, "got 'a__b'"),
        (Pipeline([("a", MinusLog().fit(X))] * 2), ValueError, "steps of different names.*got 'a'"),
        (Pipeline([("log", MinusLog())]), NotFittedError, "is not fitted yet"),
        (MinusLog(), NotFittedError, "is not fitted yet"),
    ):
        with pytest.raises(error, match=message):
            tomolearn.save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_parameters_that_are_not_the_networks_are_not_saved(tmp_path, whole):
    model = copy.copy(whole[0]["segment"]).set_params(base_channels=64)
    with pytest.raises(ValueError, match="base_channels must be what the network was trained with.*set them back"):
        model.save(tmp_path / "m")


def step(k, **changes):
    """A change of the step ``k`` of a pipeline."""

    def change(state, tensors):
        state["steps_"][k][1].update(changes)

    return change


def steps(change):
    return lambda state, tensors: state.update(steps_=change(state["steps_"]))


MESSAGES = [
    (step(0, **{"class": "StandardScaler"}), "step 'a' holds a 'StandardScaler', expected one of Air"),
    (step(0, **{"class": ["MinusLog"]}), "expected a class, its parameters and its state"),
    (step(0, **{"class": "Pipeline"}), "step 'a' holds a pipeline of"),
    (step(0, more=1), "expected a class, its parameters and its state"),
    (step(0, parameters={"floor": "x"}), "step 'a' holds a MinusLog that cannot be built: floor must be"),
    (step(0, parameters={"memory": "x"}), "step 'a' holds 'memory', which a MinusLog of this version does not have"),
    (step(1, state=3), "holds the state 3 of a SinogramBinner"),
    (step(1, state={"x_": 3}), "step 'b' must hold sinogram_shape_, two positive integers; got None"),
    (step(1, parameters={"detector_factor": 10**9}), "cannot be built: detector_factor must be at most 12"),
    (step(1, parameters={"detector_factor": 3}), r"must hold corrected_shape_=\(8, 4\); got \(8, 6\)"),
    (step(2, parameters={"filter": "/etc/passwd"}), "step 'c' holds a FBPReconstructor that cannot be built: filter"),
    (step(2, parameters={"center": 3}, state=None), None),
    (steps(lambda s: s[::-1]), "the step 'b' takes entries of|transforms nothing|gets those of"),
    (steps(lambda s: s[:1] + s[:1]), "steps of different names"),
    (steps(lambda s: [("memory", s[0][1])]), "other than steps, memory.*got 'memory'"),
    (steps(lambda s: [(1, s[0][1])]), "steps of different names.*got 1"),
    (steps(lambda s: [[*pair] for pair in s]), "pairs of name and step"),
    (steps(lambda s: []), "pipeline of 1 to 64 steps; got 0"),
    (steps(lambda s: [(f"s{k}", "passthrough") for k in range(65)]), "1 to 64 steps; got 65"),
    (steps(lambda s: "passthrough"), "pipeline of 1 to 64 steps; got 'passthrough'"),
    (steps(lambda s: [("a", "/dev/zero")]), "expected a class, its parameters and its state"),
    (steps(lambda s: [s[0], ("x", "passthrough"), *s[1:]]), None),
    (
        lambda state, tensors: tensors.update({"0/w": np.ones(2)}),
        "tensors of a network, which a MinusLog does not have",
    ),
    (
        lambda state, tensors: tensors.update({"9/w": np.ones(2)}),
        "the tensor '9/w', which belongs to none of its steps",
    ),
    (lambda state, tensors: tensors.update({"w": np.ones(2)}), "the tensor 'w', which belongs to none of its steps"),
    (lambda state, tensors: state.update(memory="/tmp"), "expected steps and"),
]


@pytest.mark.parametrize(("change", "message"), MESSAGES)
def test_pipelines_that_no_file_should_hold(tmp_path, change, message):
    """Or, without a message, that it may hold."""
    path = tmp_path / "m.tomo"
    tomolearn.save(fitted(MinusLog(), SinogramBinner(), FBPReconstructor()), path)
    model, tensors = read_model(path), {}
    change(model.state, tensors)
    tensors = {name: torch.from_numpy(value) for name, value in tensors.items()}
    write_model(path, model.class_name, model.parameters, model.state, tensors)
    if message is None:
        assert isinstance(tomolearn.load(path), Pipeline)
    else:
        with pytest.raises(FileFormatError, match=message) as caught:
            tomolearn.load(path)
        assert "m.tomo" in str(caught.value)


def test_pipelines_within_each_other_end_somewhere(tmp_path):
    pipeline = fitted(SinogramPadder())
    for _ in range(2):
        pipeline = Pipeline([("p", pipeline)])
    tomolearn.save(pipeline, tmp_path / "m")
    model = read_model(tmp_path / "m")
    np.testing.assert_array_equal(tomolearn.load(tmp_path / "m").transform(X), pipeline.transform(X))
    entry = {"class": "Pipeline", "parameters": model.parameters, "state": model.state}
    write_model(tmp_path / "m", "Pipeline", model.parameters, {"steps_": [("p", entry)]}, {})
    with pytest.raises(FileFormatError, match="pipelines must not be nested more than 3 deep"):
        tomolearn.load(tmp_path / "m")


# --------------------------------------------------------------------------------------------------------- pickles


@pytest.mark.parametrize("kind", ["network", "plain"])
def test_a_pickle_of_another_version_warns(tmp_path, monkeypatch, whole, kind):
    model = whole[0]["segment"] if kind == "network" else FBPReconstructor().fit(X)
    name = type(model).__name__
    with warnings.catch_warnings(action="error"):
        assert "_tomolearn_version" not in vars(pickle.loads(pickle.dumps(model)))
        copy.deepcopy(model), clone(model)
    data, dumped = pickle.dumps(model), joblib.dump(model, tmp_path / "model.joblib")[0]
    monkeypatch.setattr("tomolearn.base.model_files.__version__", "9.8.7")
    message = rf"a {name} pickled by tomolearn {tomolearn.__version__} is read by tomolearn 9.8.7: .* save it to a file"
    for load, source in ((pickle.loads, data), (joblib.load, dumped)):
        with pytest.warns(InconsistentVersionWarning, match=message):
            load(source)


def test_a_pickle_without_a_version_warns():
    model = MinusLog().fit(X)
    with pytest.warns(InconsistentVersionWarning, match="pickled by tomolearn of a version that it does not name"):
        MinusLog().__setstate__(dict(vars(model)))


# ---------------------------------------------------------------------------------------------------- broken files


def test_150_broken_files_do_nothing(tmp_path):
    """Each is refused by a clear error or loads a model that predicts; see `fuzz_models` for what they are."""
    total, most = 0, 0
    for kind, cases, grown, faults in fuzz_models.run(152, 0, list(fuzz_models.TWINS)):
        assert not faults, f"{kind}: {faults}; again: python tests/fuzz_models.py --kind {kind} --cases 1 --seed N"
        total, most = total + cases, max(most, grown)
    assert total == 152 and most <= fuzz_files.MOST_GROWTH


def test_the_trap_would_be_seen(tmp_path):
    """What the pickles among the broken files do where they are unpickled; and they are among them."""
    data = pickle.dumps(fuzz_models.Trap(tmp_path / "canary"))
    assert not (tmp_path / "canary").exists()
    pickle.loads(data)
    assert (tmp_path / "canary").exists()
    path = tmp_path / "m.tomo"
    MinusLog().fit(X).save(path)
    right, seen = path.read_bytes(), set()
    for seed in range(60):
        done, broken = fuzz_models.mutate(right, tmp_path / "canary", np.random.default_rng(seed))
        assert broken == fuzz_models.mutate(right, tmp_path / "canary", np.random.default_rng(seed))[1]
        seen.add(done.split()[0].partition("[")[0])
    assert seen >= {"pickle", "document", "class", "flip", "cut"}


def test_no_pickle_is_read_by_a_new_process(tmp_path):
    """With the modules that unpickle out of reach of the file: no audit event of them while it is loaded."""
    path = tmp_path / "m.tomo"
    path.write_bytes(pickle.dumps(fuzz_models.Trap(tmp_path / "canary")))
    tomolearn.save(fitted(MinusLog(), FBPReconstructor()), tmp_path / "right.tomo")
    code = (
        "import sys, tomolearn\n"
        "tomolearn.load(sys.argv[2])\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(event))\n"
        "tomolearn.load(sys.argv[2])\n"
        "try:\n    tomolearn.load(sys.argv[1])\n"
        "except tomolearn.exceptions.FileFormatError:\n    pass\n"
        "bad = {e for e in seen if e.startswith(('pickle', 'exec', 'compile', 'subprocess', 'os.system', 'socket'))}\n"
        "assert 'open' in seen and not bad, bad\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "right.tomo")]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "canary").exists()
