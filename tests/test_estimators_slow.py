"""The checks of scikit-learn on the estimators whose trainings take longest, beside test_estimators.py."""

from expected_failures import expected_failed_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_estimators import SLOW, quick


@parametrize_with_checks([quick(name) for name in SLOW], expected_failed_checks=expected_failed_checks)
def test_scikit_learn(estimator, check):
    check(estimator)
