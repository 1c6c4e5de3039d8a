"""Maps of data sets, and what does not belong to them."""

from tomolearn.manifold.detector import TrainingSetDetector
from tomolearn.manifold.tsne import TSNEReducer

__all__ = ["TSNEReducer", "TrainingSetDetector"]
