"""Estimators that say of a whole image what it shows: a class, or values."""

from tomolearn.classification.alexnet import AlexNetClassifier, AlexNetRegressor

__all__ = ["AlexNetClassifier", "AlexNetRegressor"]
