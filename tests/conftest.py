"""What every test shares: seeds, one thread unless asked, and the way to the measured data."""

import importlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scikit-learn's check of array API input asks for it

IN_CI = os.environ.get("CI", "").lower() == "true"

# Tracing makes a test half as long again. Slow tests, and these, go through lines that others reach with less.
UNTRACED = {
    "test_center",
    "test_contract_output",
    "test_contract_pipelines",
    "test_denoising",
    "test_estimators",
    "test_estimators_slow",
    "test_io_fuzz",
    "test_laws",
    "test_learned",
    "test_learned_shapes",
    "test_migration",
    "test_model_files",
    "test_networks",
    "test_noise2inverse",
    "test_patches",
    "test_reconstruction",
    "test_segmenter",
    "test_sinks",
    "test_training",
    "test_tsne",
}


def pytest_configure():
    """A shell that runs the suite in the background has it ignore Ctrl-C, which some tests press."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Fast tests first, so that a failure shows early; coverage traces what is cheap to trace.

    Before them what builds for minutes: at the end, one process would wait for it.
    """
    items.sort(key=lambda item: (item.path.stem != "test_sanitizers", item.get_closest_marker("slow") is not None))
    for item in items:
        if item.get_closest_marker("slow") or item.path.stem in UNTRACED:
            item.add_marker("no_cover")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured data; absent: a failure in CI, a skip elsewhere."""
    folder = Path(os.environ.get("TOMOLEARN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        message = f"there is no measured data at {folder}; set TOMOLEARN_SHARED_DATA to the folder that holds it"
        pytest.fail(message) if IN_CI else pytest.skip(message)
    return folder


def require(package: str):
    """Import a peer package of the test extra: missing, it is a failure in CI and a skip elsewhere."""
    return importlib.import_module(package) if IN_CI else pytest.importorskip(package)
