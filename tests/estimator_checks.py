"""The estimator contract on images: twins of scikit-learn's checks for stacks.

scikit-learn's own checks feed flat tables to every estimator. These feed stacks, and what images bring with them:
layouts, byte orders, floating types, slices that must not know each other. An estimator's tests describe it by a `Case`
and run all of it by ``@parametrize_with_image_checks([case, ...])``.
"""

import contextlib
import copy
import inspect
import io
import json
import pickle
import re
from dataclasses import dataclass, field

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags, validation


@dataclass(frozen=True)
class Case:
    """An estimator, a small stack it can learn from in a moment, and what makes it take the same data flat."""

    estimator: object
    X: np.ndarray  # (n >= 4, rows, columns), float64, all slices different
    y: np.ndarray | None = None
    flat: dict = field(default_factory=dict)  # parameters that say the shape of flat X
    rtol: float = 1e-12  # rounding between layouts and stacks, relative to the largest value, in float64
    half_rtol: float = 1e-2  # for data in half precision; what is learned from it differs more
    slices_are_independent: bool = True

    def __str__(self):
        return str(self.estimator)

    def fitted(self, X=None, **parameters):
        return clone(self.estimator).set_params(**parameters).fit(self.X if X is None else X, self.y)

    def output(self, estimator, X):
        """What the estimator is there for: its prediction, of labels their probabilities, or what X is made into."""
        return getattr(estimator, self.methods()[0])(X)

    def methods(self):
        """Those that give numbers; ``predict`` of a classifier gives labels."""
        names = ("predict_proba" if hasattr(self.estimator, "predict_proba") else "predict", "transform")
        return [name for name in names if hasattr(self.estimator, name)]

    def assert_close(self, actual, expected, message="", rtol=None):
        actual, expected = np.asarray(actual), np.asarray(expected)
        tolerance = (self.rtol if rtol is None else rtol) * max(np.abs(expected).max(), 1e-30)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=message)


def parametrize_with_image_checks(cases):
    """Mark a test of the arguments ``case`` and ``check``: every check of this module on every case it applies to."""
    pairs = [(case, check) for case in cases for check in IMAGE_CHECKS if _applies(check, case)]
    ids = [f"{type(case.estimator).__name__}-{check.__name__}" for case, check in pairs]
    return pytest.mark.parametrize(("case", "check"), pairs, ids=ids)


def where(applies_to):
    """Say by a function of a case which cases a check is for; without that it is for all."""

    def mark(check):
        check.applies_to = applies_to
        return check

    return mark


def _applies(check, case):
    return not hasattr(check, "applies_to") or check.applies_to(case)


def _learns_from_targets(case):
    return get_tags(case.estimator).target_tags.required


def _gives_images(case):
    tags = get_tags(case.estimator)
    of_labels = tags.estimator_type is not None or tags.classifier_tags is not None
    return "float32" in tags.transformer_tags.preserves_dtype and not of_labels


# ------------------------------------------------------------------------------------------------------ parameters


def check_parameters_are_keyword_only_and_plain(case):
    parameters = list(inspect.signature(type(case.estimator).__init__).parameters.values())[1:]
    assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in case.estimator.get_params().items()}
    assert json.loads(json.dumps(values)) == json.loads(json.dumps({p.name: values[p.name] for p in parameters}))


def check_fit_leaves_parameters_and_data(case):
    X, y, estimator = case.X.copy(), copy.deepcopy(case.y), clone(case.estimator)
    before = copy.deepcopy(estimator.get_params())
    attributes = set(vars(estimator))
    assert estimator.fit(X, y) is estimator
    assert all(name.endswith("_") or name.startswith("_") for name in set(vars(estimator)) - attributes)
    for method in case.methods():
        getattr(estimator, method)(X)
    np.testing.assert_array_equal(X, case.X)
    if y is not None:
        np.testing.assert_array_equal(y, case.y)
    for name, value in estimator.get_params().items():
        np.testing.assert_equal(value, before[name], err_msg=name)


def check_predict_leaves_the_estimator(case):
    estimator = case.fitted()
    before = pickle.dumps(estimator)
    for method in case.methods():
        getattr(estimator, method)(case.X)
    assert pickle.dumps(estimator) == before


def _numpy_state():
    return pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global generator is what must not be touched


def check_fit_is_repeatable_and_leaves_global_generators(case):
    numpy_state, torch_state = _numpy_state(), torch.get_rng_state()
    first, second = case.fitted(), case.fitted()
    second.fit(case.X, case.y)
    np.testing.assert_array_equal(case.output(first, case.X), case.output(second, case.X))
    assert _numpy_state() == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def check_quiet_at_verbose_0(case):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        case.output(case.fitted(**({"verbose": 0} if "verbose" in case.estimator.get_params() else {})), case.X)
    assert printed.getvalue() == ""


# ---------------------------------------------------------------------------------------------------------- shapes


def check_unfitted_raises(case):
    for method in case.methods():
        with pytest.raises(NotFittedError, match=f"This {type(case.estimator).__name__} instance is not fitted yet"):
            getattr(clone(case.estimator), method)(case.X)


def check_features_are_counted(case):
    estimator = case.fitted()
    assert estimator.n_features_in_ == np.prod(case.X.shape[1:])
    assert not hasattr(estimator, "feature_names_in_")
    assert get_tags(estimator).input_tags.three_d_array and get_tags(estimator).input_tags.two_d_array
    if hasattr(estimator, "get_feature_names_out"):
        size = estimator.transform(case.X)[0].size
        assert len(set(estimator.get_feature_names_out())) == size


def check_flat_equals_stack(case):
    n = len(case.X)
    flat = case.X.reshape(n, -1)
    of_stack, of_flat = case.fitted(**case.flat), case.fitted(flat, **case.flat)
    for method in case.methods():
        expected = getattr(of_stack, method)(case.X)
        for estimator in (of_stack, of_flat):
            result = getattr(estimator, method)(flat)
            assert result.shape == (n, expected[0].size)
            case.assert_close(result.reshape(expected.shape), expected, method)
            case.assert_close(getattr(estimator, method)(case.X), expected, method)


def check_another_shape_of_flat_raises(case):
    estimator = case.fitted(case.X.reshape(len(case.X), -1), **case.flat)
    size = estimator.n_features_in_
    message = f"X has {size - 1} features, but {type(estimator).__name__} is expecting {size} features as input"
    with pytest.raises(ValueError, match=message):
        case.output(estimator, case.X.reshape(len(case.X), -1)[:, 1:])


def check_bad_shapes_raise(case):
    fitted = case.fitted()
    for call in (case.fitted, *(getattr(fitted, method) for method in case.methods())):
        with pytest.raises(ValueError, match=r"Expected 2D array, got 1D array instead[\s\S]*Reshape your data"):
            call(case.X[0, 0])
        with pytest.raises(ValueError, match=r"X must be \(n_slices, "):
            call(case.X[None, None])
        with pytest.raises(ValueError, match="Found array with 0 sample"):
            call(case.X[:0])
        with pytest.raises(ValueError, match=r"X must be \(n_slices, .* none of them zero"):
            call(case.X[:, :0])


# ---------------------------------------------------------------------------------------------------------- values


@where(lambda case: not get_tags(case.estimator).input_tags.allow_nan)
def check_not_finite_raises(case):
    fitted = case.fitted()
    for value in (np.nan, np.inf, -np.inf):
        X = case.X.copy()
        X[2, 0, 1] = value
        for call in (case.fitted, *(getattr(fitted, method) for method in case.methods())):
            for data in (X, X.astype(np.float32), X[:, ::-1]):
                with pytest.raises(ValueError, match=r"^X.* must be finite; got 1 NaN or infinite values.*[Rr]epair"):
                    call(data)


def check_other_kinds_raise(case):
    fitted = case.fitted()
    for call in (case.fitted, *(getattr(fitted, method) for method in case.methods())):
        with pytest.raises(ValueError, match="Complex data not supported"):
            call(case.X.astype(complex))
        with pytest.raises(ValueError, match="not compatible with arrays of bytes/strings"):
            call(case.X.astype(str))
        objects = case.X.astype(object)
        objects[1, 0, 0] = {"a": 1}
        with pytest.raises(TypeError, match=r"argument must be .* string.* number"):
            call(objects)
        with pytest.raises(TypeError, match="[Ss]parse .* dense"):
            call(sparse.coo_array(case.X))


def check_floating_types_are_kept(case):
    estimator = case.fitted()
    expected = {method: getattr(estimator, method)(case.X) for method in case.methods()}
    for dtype, rtol in (
        (np.float64, case.rtol),
        (np.float32, 1e-4),
        (np.float16, case.half_rtol),
        (np.longdouble, case.rtol),
    ):
        X = case.X.astype(dtype)
        for method in case.methods():
            result = getattr(case.fitted(X), method)(X)
            assert result.dtype == dtype, method
            case.assert_close(result, expected[method], f"{method} of {dtype}", rtol)


def check_integers_give_float32(case):
    X = np.round((case.X - case.X.min()) / np.ptp(case.X) * 100)
    expected = case.output(case.fitted(X), X)
    for dtype in (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        result = case.output(case.fitted(X.astype(dtype)), X.astype(dtype))
        assert result.dtype == np.float32
        case.assert_close(result, expected, str(dtype), 1e-4)
    mask = X > 50
    of_mask, of_numbers = case.fitted(mask), case.fitted(mask * 1.0)
    case.assert_close(case.output(of_mask, mask), case.output(of_numbers, mask * 1.0), "bool", 1e-4)


def _layouts(X):
    yield "Fortran order", np.asfortranarray(X)
    yield "axes swapped, as projections come", np.ascontiguousarray(X.swapaxes(0, 1)).swapaxes(0, 1)
    yield "negative strides", X[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
    yield "every second of a larger array", np.repeat(np.repeat(X, 2, axis=0), 2, axis=2)[::2, :, ::2]
    read_only = X.copy()
    read_only.setflags(write=False)
    yield "read-only", read_only
    yield "big-endian", X.astype(X.dtype.newbyteorder(">"))
    yield "list", X.tolist()
    yield "objects", X.astype(object)
    yield "tensor", torch.from_numpy(X)


def check_layouts_do_not_matter(case):
    estimator = case.fitted()
    expected = {method: getattr(estimator, method)(case.X) for method in case.methods()}
    for name, X in _layouts(case.X):
        for fitted in (estimator, case.fitted(X)):
            for method in case.methods():
                result = getattr(fitted, method)(X)
                assert isinstance(result, np.ndarray) and result.dtype == np.float64, name
                case.assert_close(result, expected[method], name)


def check_memory_maps_are_read(case, tmp_path):
    joblib.dump(case.X, tmp_path / "X")
    joblib.dump(case.y, tmp_path / "y")
    X, y = (joblib.load(tmp_path / name, mmap_mode="r") for name in "Xy")
    assert isinstance(X, np.memmap) and isinstance(y, np.memmap | None)
    case.assert_close(case.output(clone(case.estimator).fit(X, y), X), case.output(case.fitted(), case.X))


# --------------------------------------------------------------------------------------------------- targets


@where(_learns_from_targets)
def check_targets_must_come_and_fit(case):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        clone(case.estimator).fit(case.X)
    for y in (case.y[:-1], np.concatenate([case.y, case.y])):
        with pytest.raises(ValueError, match=rf"y must .*got .*{len(y)}|\[{len(case.X)}, {len(y)}\]"):
            clone(case.estimator).fit(case.X, y)
    for value in (np.nan, np.inf):
        y = case.y.astype(np.float64)
        y.flat[3] = value
        with pytest.raises(ValueError, match="y .*(NaN|infinity)"):
            clone(case.estimator).fit(case.X, y)
    with pytest.raises(ValueError, match="[Cc]omplex"):
        clone(case.estimator).fit(case.X, case.y + 1j)


@where(_learns_from_targets)
def check_layouts_of_targets_do_not_matter(case):
    expected = case.output(case.fitted(), case.X)
    strided = np.asfortranarray(case.y.astype(case.y.dtype.newbyteorder(">")))[::-1].copy("F")[::-1]
    strided.setflags(write=False)
    for name, y in (("strided", strided), ("list", case.y.tolist()), ("tensor", torch.from_numpy(case.y))):
        case.assert_close(case.output(clone(case.estimator).fit(case.X, y), case.X), expected, name)


@where(lambda case: hasattr(case.estimator, "predict_proba"))
def check_probabilities_are_of_classes(case):
    estimator = case.fitted()
    np.testing.assert_array_equal(estimator.classes_, np.unique(case.y))
    probabilities = estimator.predict_proba(case.X)
    assert probabilities.shape == (*case.y.shape, len(estimator.classes_)) and probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    chosen = estimator.predict(case.X)[..., None] == estimator.classes_
    np.testing.assert_allclose(probabilities[chosen].reshape(case.y.shape), probabilities.max(-1), rtol=1e-6)
    with pytest.raises(ValueError, match=r"class"):
        clone(case.estimator).fit(case.X, np.zeros_like(case.y))


# ---------------------------------------------------------------------------------------------------------- slices


def check_one_slice(case):
    y = None if case.y is None else case.y[:1]
    try:
        estimator = clone(case.estimator).fit(case.X[:1], y)
    except ValueError as error:
        assert re.search("(1|one) (class|sample)|n_samples=1", str(error)), error
        return
    for method in case.methods():
        result = getattr(estimator, method)(case.X[:1])
        assert len(result) == 1 and np.isfinite(result).all(), method


def check_fit_knows_what_it_fitted_and_forgets_what_was_before(case):
    estimator = clone(case.estimator)
    assert not hasattr(estimator, "n_features_in_")
    with pytest.raises(NotFittedError):
        validation.check_is_fitted(estimator)
    half = case.X[:, ::2]
    y = case.y[:, ::2] if case.y is not None and case.y.shape == case.X.shape else case.y
    fresh = clone(case.estimator).fit(half, y)
    validation.check_is_fitted(estimator.fit(case.X, case.y))
    assert getattr(estimator, "n_iter_", 1) >= 1 and getattr(estimator, "n_epochs_", 1) >= 1
    for method in case.methods():
        try:
            result = getattr(estimator, method)(half)
        except ValueError as error:
            assert "as in fit" in str(error), error
        else:
            assert len(result) == len(half) and np.isfinite(result).all()
    again = estimator.fit(half, y)
    assert again.n_features_in_ == fresh.n_features_in_ == half[0].size
    for method in case.methods():
        np.testing.assert_array_equal(getattr(again, method)(half), getattr(fresh, method)(half))


@where(lambda case: case.slices_are_independent)
def check_slices_do_not_know_each_other(case):
    estimator = case.fitted()
    order = np.random.default_rng(0).permutation(len(case.X))
    for method in case.methods():
        function = getattr(estimator, method)
        expected = function(case.X)
        case.assert_close(np.concatenate([function(case.X[i : i + 1]) for i in range(len(case.X))]), expected, method)
        case.assert_close(function(case.X[order]), expected[order], method)


# ---------------------------------------------------------------------------------------------------------- copies


def _same(a, b):
    """Are two fitted attributes equal, arrays, networks and estimators' own objects included?"""
    if isinstance(a, torch.nn.Module):
        a, b = ({name: value.numpy() for name, value in network.state_dict().items()} for network in (a, b))
    return type(a) is type(b) and (
        np.array_equal(a, b) if isinstance(a, np.ndarray) else pickle.dumps(a) == pickle.dumps(b)
    )


def check_copies_predict_the_same(case):
    estimator = case.fitted()
    expected = case.output(estimator, case.X)
    for copied in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert vars(copied).keys() == vars(estimator).keys()
        assert all(_same(value, vars(estimator)[name]) for name, value in vars(copied).items())
        np.testing.assert_array_equal(case.output(copied, case.X), expected)


def check_clone_forgets(case):
    cloned = clone(case.fitted())
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        case.output(cloned, case.X)
    np.testing.assert_equal(cloned.get_params(), case.estimator.get_params())
    np.testing.assert_array_equal(case.output(cloned.fit(case.X, case.y), case.X), case.output(case.fitted(), case.X))


def check_pipeline_is_the_estimator(case):
    pipeline = make_pipeline(clone(case.estimator)).fit(case.X, case.y)
    for method in case.methods():
        np.testing.assert_array_equal(getattr(pipeline, method)(case.X), getattr(case.fitted(), method)(case.X))


@where(lambda case: hasattr(case.estimator, "transform"))
def check_fit_transform_and_predict_are_transform(case):
    expected = case.fitted().transform(case.X)
    np.testing.assert_array_equal(clone(case.estimator).fit_transform(case.X, case.y), expected)
    if expected.shape == (predicted := case.output(case.fitted(), case.X)).shape:
        np.testing.assert_array_equal(predicted, expected)


@where(lambda case: _gives_images(case) and hasattr(case.estimator, "score"))
def check_score_counts_every_pixel(case):
    estimator = case.fitted()
    images = estimator.predict(case.X)
    truth = images + np.random.default_rng(1).normal(0, images.std(), images.shape)
    truth[:, 0] = 0  # a background that is the same in all the slices counts too
    sse, sst = ((truth - images) ** 2).sum(), ((truth - truth.mean(axis=0)) ** 2).sum()
    for y in (truth, truth.reshape(len(truth), -1), truth.tolist()):
        assert estimator.score(case.X, y) == pytest.approx(1 - sse / sst, rel=1e-9)
    assert estimator.score(case.X, images) == 1
    truth[:, 0] = np.random.default_rng(2).normal(size=truth[:, 0].shape)
    r2 = r2_score(*(a.reshape(len(a), -1) for a in (truth, images)), multioutput="variance_weighted")
    assert estimator.score(case.X, truth) == pytest.approx(r2, rel=1e-9)
    with pytest.raises(ValueError, match=f"y must have shape {re.escape(str(images.shape))}"):
        estimator.score(case.X, truth[:, :-1])
    with pytest.raises(ValueError, match="y must have shape"):
        estimator.score(case.X, np.arange(len(images)))
    with pytest.raises(ValueError, match="y must be finite"):
        estimator.score(case.X, np.where(truth == truth[1, 2, 3], np.nan, truth))
    with pytest.raises(ValueError, match="at least 2 different images.*got 1 of one kind"):
        estimator.score(case.X[:1], truth[:1])


IMAGE_CHECKS = [function for name, function in list(globals().items()) if name.startswith("check_")]
