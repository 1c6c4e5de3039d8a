"""save and load of trained estimators: what goes in comes out, and no file does more than be refused."""

import copy
import pickle
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from learned import NAMES, pairs, same_training, small, weights
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import tomolearn
from tomolearn.exceptions import FileFormatError
from tomolearn.geometry import ParallelBeam
from tomolearn.persistence import read_model, write_model


def fitted(name, **parameters):
    if name in NAMES[3:]:
        parameters = {"angles": np.linspace(0, 3, 7), "angle_unit": "rad", "center": 5.3} | parameters
    return small(name, **parameters).fit(*pairs())


def public(estimator):
    return {key: value for key, value in vars(estimator).items() if key.endswith("_") and key != "network_"}


# ------------------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_estimator_is_the_saved_one(tmp_path, name):
    X, _ = pairs()
    estimator, path = fitted(name), tmp_path / "model.tomo"
    estimator.save(path)
    loaded = tomolearn.load(path)
    assert type(loaded) is type(estimator) and not loaded.network_.training
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    np.testing.assert_equal(loaded.get_params(), estimator.get_params())
    assert public(loaded).keys() == public(estimator).keys()
    for key, value in public(estimator).items():
        assert type(value) is type(getattr(loaded, key)), key
        np.testing.assert_equal(getattr(loaded, key), value, err_msg=key)
    assert same_training(loaded, estimator)
    assert path.stat().st_size < 20 * 2**10 + 8 * weights(estimator).numel()
    loaded.save(tmp_path / "again.tomo")
    assert (tmp_path / "again.tomo").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_changes_little(tmp_path, name):
    X, _ = pairs()
    estimator = fitted(name)
    images = estimator.predict(X)
    for dtype, most in (("float16", 1e-2), ("bfloat16", 5e-2)):
        estimator.save(tmp_path / "half.tomo", dtype=dtype)
        loaded = tomolearn.load(tmp_path / "half.tomo")
        error = np.linalg.norm(loaded.predict(X) - images) / np.linalg.norm(images)
        assert 0 < error < most
        assert {value.dtype for value in loaded.network_.state_dict().values()} == {torch.float32}


@pytest.mark.slow
def test_another_process_loads_it_by_the_package_alone(tmp_path):
    X, _ = pairs()
    estimator = fitted("LearnedPrimalDualReconstructor")
    estimator.save(tmp_path / "model.tomo")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, tomolearn, numpy as np\n"
        "estimator = tomolearn.load(sys.argv[1] + '/model.tomo')\n"
        "import torch; torch.set_num_threads(1)\n"
        "np.save(sys.argv[1] + '/images.npy', estimator.predict(np.load(sys.argv[1] + '/X.npy')))\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), estimator.predict(X))


def test_every_estimator_is_known_to_load(tmp_path):
    """Rooms are imported when they are used: a new process must find the estimators of those it has not used."""
    code = (
        "import tomolearn\n"
        "try:\n    tomolearn.load('missing.tomo')\n"
        "except FileNotFoundError:\n    pass\n"
        "known = set(tomolearn.base.registry())\n"
        "import importlib, pkgutil\n"
        "for module in pkgutil.iter_modules(tomolearn.__path__):\n"
        "    module.name[0] == '_' or importlib.import_module('tomolearn.' + module.name)\n"
        "assert known and known == set(tomolearn.base.registry()), set(tomolearn.base.registry()) - known\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_what_a_gpu_has_learned_is_loaded_without_one(tmp_path):
    X, _ = pairs()
    estimator = fitted("DenseReconstructor")
    images = estimator.predict(X)
    estimator.set_params(device="cuda:7").save(tmp_path / "model.tomo")
    loaded = tomolearn.load(tmp_path / "model.tomo")
    with pytest.raises(ValueError, match=r"device='cuda:7' is not there.*Use device='auto'"):
        loaded.predict(X)
    np.testing.assert_array_equal(loaded.set_params(device="cpu").predict(X), images)


def test_a_loaded_estimator_learns_on(tmp_path):
    X, y = pairs()
    estimator = fitted("DenseReconstructor", warm_start=True, early_stopping=False)
    estimator.save(tmp_path / "model.tomo")
    assert same_training(tomolearn.load(tmp_path / "model.tomo").fit(X, y), estimator.fit(X, y))


@pytest.mark.parametrize("name", NAMES)
def test_pickles_hold_arrays_and_no_modules(name):
    X, _ = pairs()
    estimator = fitted(name)
    data = pickle.dumps(estimator)
    assert b"torch" not in data
    for twin in (pickle.loads(data), copy.deepcopy(estimator)):
        np.testing.assert_array_equal(twin.predict(X), estimator.predict(X))
        assert twin.network_ is not estimator.network_
    assert copy.copy(estimator).network_ is estimator.network_
    before = torch.get_rng_state()
    pickle.loads(data)
    assert torch.equal(torch.get_rng_state(), before)
    assert not hasattr(clone(estimator), "network_")


def test_only_what_is_fitted_is_saved(tmp_path):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        small("DenseReconstructor").save(tmp_path / "model.tomo")
    with pytest.raises(ValueError, match="dtype must be one of 'float16', 'bfloat16'; got 'int8'"):
        fitted("DenseReconstructor").save(tmp_path / "model.tomo", dtype="int8")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------- hostile files


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The content of right files, by class."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name in NAMES:
        fitted(name).save(folder / name)
        found[name] = read_model(folder / name)
    return found


def config(**changes):
    """A change of ``network_config_``."""

    def change(parts):
        name, values = parts["state"]["network_config_"]
        parts["state"]["network_config_"] = (name, values | changes)

    return change


def state(**changes):
    return lambda parts: parts["state"].update(changes)


def without(key):
    return lambda parts: parts["state"].pop(key)


def tensors(**changes):
    return lambda parts: parts["tensors"].update({key.replace("__", "."): value for key, value in changes.items()})


def crowd(n):
    """Tensors enough for the counts that the file names."""
    return lambda parts: parts["tensors"].update({f"x{k}": torch.zeros(1) for k in range(n)})


def both(*changes):
    return lambda parts: [change(parts) for change in changes]


LPD, UNET, AUTOMAP, DENSE = NAMES[5], NAMES[3], NAMES[0], NAMES[2]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            LPD,
            lambda parts: parts.update(class_name="FBPReconstructor"),
            "which a FBPReconstructor of this version does",
        ),
        (LPD, lambda parts: parts.update(class_name="BaseEstimator"), "'BaseEstimator', expected one of Air"),
        (LPD, lambda parts: parts.update(class_name=DENSE), "which a DenseReconstructor of this version does not have"),
        (LPD, lambda parts: parts["parameters"].update(n_gpus=3), "holds 'n_gpus', which a LearnedPrimalDual"),
        (LPD, lambda parts: parts["parameters"].update(deep__nested=3), "holds 'deep__nested', which"),
        (LPD, lambda parts: parts["parameters"].update(max_epochs="many"), "that cannot be built: max_epochs must be"),
        (LPD, state(fit=1), "holds 'fit', which"),
        (LPD, state(predict=1), "holds 'predict', which"),
        (LPD, state(_operator=1), "holds '_operator', which"),
        (LPD, state(__class__="x"), "holds '__class__', which"),
        (LPD, state(__sklearn_is_fitted__=True), "holds '__sklearn_is_fitted__', which"),
        (LPD, state(**{"a b_": 1}), "holds 'a b_', which"),
        (LPD, without("network_config_"), "names no network, expected network_config_"),
        (LPD, state(network_config_=3), "names no network"),
        (LPD, state(network_config_=("UNet",)), "names no network"),
        (LPD, state(network_config_=("UNet", [1])), "names no network"),
        (
            LPD,
            state(network_config_=("os.system", {"command": "true"})),
            "cannot be built: name must be one of AlexNet, Automap",
        ),
        (LPD, state(network_config_=(3, {})), "cannot be built: name must be one of AlexNet, Automap"),
        (LPD, config(command="true"), r"cannot be built: config must hold arguments of PrimalDualNetwork"),
        (LPD, config(n_iterations=10**9), "tensors, too few for n_iterations=1000000000"),
        (LPD, config(n_layers=10**9), "tensors, too few for n_layers=1000000000"),
        (LPD, config(n_iterations=-1), "cannot be built: n_iterations must be"),
        (LPD, config(n_iterations="9" * 10**6), "cannot be built: n_iterations must be"),
        (LPD, config(n_filters=10**6), r"tensor '.*' has shape .*, expected .*1000000"),
        (LPD, config(n_filters=10**30), "cannot be built"),
        (LPD, config(kernel_size=2**31 - 1), "tensor|cannot be built"),
        (UNET, config(channels=(1,) * 10**5), "tensors, too few for channels"),
        (UNET, both(config(channels=(1,) * 40), crowd(400)), "tensors, too few for channels"),
        (UNET, config(channels=(10**6, 10**6)), r"tensor '.*' has shape"),
        (UNET, config(channels="ab"), "cannot be built: channels"),
        (AUTOMAP, config(sinogram_shape=(10**9, 10**9)), "cannot be built|has shape"),
        (AUTOMAP, config(rank=None, image_shape=(4096, 4096)), "has shape"),
        (NAMES[4], config(n_detectors=10**6), r"tensor '.*' has shape"),
        (DENSE, tensors(extra=torch.zeros(3)), "tensor 'extra' has shape .3,., expected None for DenseNetwork"),
        (DENSE, tensors(dense__0__weight=torch.zeros(3, 3)), r"tensor 'dense.0.weight' has shape \(3, 3\), expected"),
        (DENSE, lambda parts: parts["tensors"].clear(), "has shape None, expected"),
        (DENSE, without("x_mean_"), "must hold finite numbers x_mean_, .*wrong numbers: x_mean_"),
        (DENSE, state(y_scale_="1"), "wrong numbers: y_scale_"),
        (DENSE, state(y_scale_=float("nan")), "wrong numbers: y_scale_"),
        (DENSE, state(image_shape_=(12, -12)), r"must hold .* image_shape_, two positive integers each; got shapes"),
        (DENSE, state(sinogram_shape_=84), r"two positive integers each; got shapes \[84, "),
        (LPD, without("operator_norm_"), "wrong numbers: operator_norm_"),
        (DENSE, state(y_scale_=-1.0), "all but the means above zero.*wrong numbers: y_scale_"),
        (LPD, state(operator_norm_=0.0), "all but the means above zero.*wrong numbers: operator_norm_"),
        (DENSE, state(n_features_in_=3), r"must hold n_features_in_, the 84 values of sinograms of \(7, 12\); got 3"),
        (DENSE, without("n_features_in_"), "must hold n_features_in_, .*; got None"),
        (
            DENSE,
            state(image_shape_=(9, 16)),
            r"must be DenseNetwork\(.*image_shape=\(9, 16\)\); got DenseNetwork\(.*image_shape=\(12, 12\)\)",
        ),
        (DENSE, state(sinogram_shape_=(12, 7)), r"must be DenseNetwork\(sinogram_shape=\(12, 7\).*; got DenseNetwork"),
        (
            NAMES[4],
            state(sinogram_shape_=(6, 14), geometry_=ParallelBeam(np.arange(6.0), 14, (12, 12))),
            r"must be IRadonMAPNetwork\(n_detectors=14\); got IRadonMAPNetwork\(n_detectors=12\)",
        ),
        (LPD, without("geometry_"), r"must hold geometry_, a scan of sinograms of \(7, 12\) .*; got None"),
        (LPD, state(geometry_=ParallelBeam([0.0, 1.0], 12)), r"must hold geometry_, a scan of sinograms of \(7, 12\)"),
    ],
)
def test_what_no_estimator_can_hold_is_refused(tmp_path, right, name, change, message):
    """Quickly, and without the memory that the file asks for."""
    parts = {key: copy.deepcopy(value) for key, value in right[name]._asdict().items() if key != "version"}
    change(parts)
    path = tmp_path / "hostile.tomo"
    write_model(path, **parts)
    most, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(FileFormatError, match=message) as caught:
        tomolearn.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 64 * 2**10  # KiB
    assert time.perf_counter() - began < 5 and "hostile.tomo" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_of_another_estimator_is_refused(tmp_path, right, name):
    """Its tensors are those that it names; only the class of the estimator does not go with it."""
    own, path = right[name], tmp_path / "other.tomo"
    for other in set(NAMES) - {name}:
        kind = right[other].state["network_config_"][0]
        state = own.state | {"network_config_": right[other].state["network_config_"]}
        write_model(path, name, own.parameters, state, right[other].tensors)
        with pytest.raises(FileFormatError, match=rf"the network of a {name} must be .*; got {kind}\("):
            tomolearn.load(path)


def test_the_hostile_files_are_near_to_right_ones(tmp_path, right):
    for model in right.values():
        write_model(tmp_path / "m", model.class_name, model.parameters, model.state, model.tensors)
        assert tomolearn.load(tmp_path / "m").predict(pairs()[0]).shape == (8, 12, 12)


def test_numbers_that_came_from_elsewhere_are_only_numbers(tmp_path, right):
    """A tensor of another type becomes the network's type; one that is not finite was refused by the writer."""
    model = right[DENSE]
    doubled = {name: tensor.double() for name, tensor in model.tensors.items()}
    write_model(tmp_path / "m", model.class_name, model.parameters, model.state, doubled)
    loaded = tomolearn.load(tmp_path / "m")
    assert {value.dtype for value in loaded.network_.state_dict().values()} == {torch.float32}
