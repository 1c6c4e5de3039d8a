"""The model file: what a fitted estimator knows, as one safetensors file of tensors and JSON.

Opening a file runs no code of it: there is no pickle in it, and the class is a name that the caller looks up in its
registry.
"""

from tomolearn.persistence.description import describe_model
from tomolearn.persistence.model_file import ModelFile, read_model, write_model

__all__ = ["ModelFile", "describe_model", "read_model", "write_model"]
