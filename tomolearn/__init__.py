"""tomolearn: scikit-learn for X-ray tomography."""

__version__ = "0.1.0"
