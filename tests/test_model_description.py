"""What a model file says of itself: facts beside the model, and a description that builds nothing."""

import json

import numpy as np
import pytest
import sklearn
import torch
from fuzz_models import put_together, taken_apart

import tomolearn
from tomolearn.exceptions import FileFormatError
from tomolearn.geometry import ParallelBeam
from tomolearn.persistence import describe_model, read_model, write_model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tomo"


def test_facts_are_told_and_need_not_be_there(path):
    write_model(path, "UNet", {}, {}, {}, facts={"data_range": "0 to 1"})
    facts = read_model(path).facts
    assert facts.pop("versions") == {
        "tomolearn": tomolearn.__version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
    assert facts == {"data_range": "0 to 1"} == describe_model(path)["facts"]
    header, document, data = taken_apart(path.read_bytes())
    del document["facts"]  # as earlier files are
    path.write_bytes(put_together(header, document, data, False))
    assert read_model(path).facts == {}
    assert describe_model(path)["versions"] == {"tomolearn": tomolearn.__version__}


def test_a_description_is_plain(path):
    state = {"x_mean_": 0.5, "geometry_": ParallelBeam([0.0, 1.0, 2.0], 5), "history_": {"loss": [3.0] * 40}}
    state |= {"a_": np.arange(100.0), "b_": np.float32(2.0), "c_": {0: (1, 2)}, "center_": np.arange(3.0)}
    write_model(path, "UNet", {"channels": (8, 16), "angles": [0.1] * 17}, state, {"w": torch.ones(7, 5)})
    found = describe_model(path)
    assert json.loads(json.dumps(found)) == found
    assert (found["class"], found["n_weights"], found["n_bytes"]) == ("UNet", 35, path.stat().st_size)
    assert found["parameters"] == {"channels": [8, 16], "angles": "17 values"}
    assert found["normalization"] == {"x_mean_": 0.5} and found["training"] == {"history_": {"loss": [3.0] * 40}}
    assert found["learned"] == {"a_": "float64 array of shape (100,)", "b_": 2.0, "c_": {"0": [1, 2]}}
    assert found["geometry"]["center_"] == [0.0, 1.0, 2.0]
    beam = found["geometry"]["geometry_"]
    assert (beam["n_angles"], beam["angles_from_to"], beam["center"]) == (3, [0.0, 2.0], 2.0)


def test_a_description_reads_no_network_and_builds_nothing(path):
    """Of a class that nobody knows, and of weights that are wrong."""
    write_model(path, "Unheard", {"x": 1}, {}, {"w": torch.ones(50_000)})
    content = bytearray(path.read_bytes())
    content[-4:] = b"\xff\xff\xff\xff"  # NaN
    path.write_bytes(content)
    assert describe_model(path)["class"] == "Unheard"
    with pytest.raises(FileFormatError, match="expected finite real numbers"):
        read_model(path)


def test_what_is_no_model_is_not_described(path):
    write_model(path, "UNet", {}, {"a_": np.zeros(3)}, {"w": torch.ones(3)})
    whole = path.read_bytes()
    header, document, data = taken_apart(whole)
    complex_array = header["array/0"] | {"dtype": "C64", "shape": [3]}
    for content, message in (
        (b"", "has 0 bytes"),
        (whole[:-1], "broken"),
        (put_together(header, document | {"state": []}, data, False), "its state are a list"),
        (put_together(header, document | {"state": {"steps_": 3}}, data, False), "its steps are 3"),
        (put_together(header | {"array/0": complex_array}, document, data, False), "is of 'C64', expected numbers"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message) as caught:
            describe_model(path)
        assert str(path) in str(caught.value)
