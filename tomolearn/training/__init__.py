"""Training: one loop for all models, on arrays or files, on one process or several.

The estimators call it in ``fit``. Who trains a model of their own brings a `Task` and calls an `Engine`.
"""

from tomolearn.training.callbacks import Callback, ProgressBar, StopAfter
from tomolearn.training.data import Samples
from tomolearn.training.engine import Engine, TrainingOptions
from tomolearn.training.estimator import TrainedEstimator
from tomolearn.training.history import History
from tomolearn.training.patches import PatchSamples
from tomolearn.training.schedules import Schedule
from tomolearn.training.tasks import SupervisedTask, Task

__all__ = [
    "Callback",
    "Engine",
    "History",
    "PatchSamples",
    "ProgressBar",
    "Samples",
    "Schedule",
    "StopAfter",
    "SupervisedTask",
    "Task",
    "TrainedEstimator",
    "TrainingOptions",
]
