"""The angles of a scan from an array, a range, or a file."""

import os
import re

import numpy as np

from tomolearn.exceptions import FileFormatError, GeometryError
from tomolearn.geometry import as_radians
from tomolearn.io._hdf5 import dataset, describe_datasets, open_file, values
from tomolearn.io._nexus import find_angles, find_image_key
from tomolearn.io._open import recognise, split_name
from tomolearn.io._parts import in_radians, stored_angles
from tomolearn.io._stored import reading

MOST = 1 << 22  # angles; a text file of as many bytes times 32
_NUMBER = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
_RANGE = re.compile(f"{_NUMBER}:{_NUMBER}")


def given_angles(angles, n_angles, angle_unit):
    """Angles in radians of an array, ``START:STOP``, or ``FILE`` or ``FILE:DATASET``; as many as projections."""
    if not isinstance(angles, str | os.PathLike):
        found, name = as_radians(angles, angle_unit), "angles"
    elif match := _RANGE.fullmatch(os.fspath(angles)):
        found, name = np.linspace(float(match[1]), float(match[2]), n_angles), "angles"
        found = found if angle_unit == "rad" else np.deg2rad(found)
    else:
        path, inside = split_name(angles)
        found, name = _from_file(path, inside, n_angles, angle_unit), os.fspath(angles)
    if len(found) != n_angles:
        error = GeometryError if name == "angles" else FileFormatError
        raise error(f"{name} has {len(found)} angles, expected {n_angles}, one for each projection.")
    return found


def _from_file(path, inside, n_angles, angle_unit):
    if not os.path.exists(path):
        raise FileNotFoundError(f"angles must be an array, START:STOP in degrees, or a file; there is no file {path}.")
    if os.path.splitext(path)[1].lower() in (".txt", ".csv", ".dat", ".tsv"):
        found = _from_text(path)
    elif recognise(path) == "numpy":
        with reading(path, "a .npy file of angles"):
            found = np.load(path, mmap_mode="r", allow_pickle=False)  # a map, whose length is checked against the file
            if found.size > MOST or found.dtype.kind not in "fiu":
                raise FileFormatError(f"{path} holds {found.shape} of {found.dtype}, expected a list of angles.")
    else:
        return _from_hdf5(path, inside, n_angles, angle_unit)
    if angle_unit not in ("deg", "rad"):
        raise GeometryError(f"{path} does not say the unit of its angles; pass angle_unit='deg' or angle_unit='rad'.")
    return in_radians(found, angle_unit, path)


def _from_text(path):
    """One number a line; a first line that is none is a heading."""
    if os.path.getsize(path) > MOST * 32:
        raise FileFormatError(f"{path} has {os.path.getsize(path)} bytes, expected a list of at most {MOST} angles.")
    with reading(path, "a text file of angles"), open(path, encoding="utf-8") as file:
        lines = [line.partition("#")[0].strip().strip(",;") for line in file]
    words = [line for line in lines if line]
    if len(words) > 1 and not re.fullmatch(_NUMBER, words[0]):
        words = words[1:]
    if len(words) == 1:
        words = [word for word in re.split(r"[\s,;]+", words[0]) if word]
    wrong = [word for word in words if not re.fullmatch(_NUMBER, word)]
    if wrong or not words:
        found = f"{wrong[0]!r}" if wrong else "nothing"
        raise FileFormatError(f"{path}: found {found}, expected one angle a line.")
    return np.array([float(word) for word in words])


def _from_hdf5(path, inside, n_angles, angle_unit):
    with open_file(path) as file, reading(path, "an HDF5 file with angles"):
        thing = dataset(file, inside) if inside else find_angles(file)
        if thing is None:
            raise FileFormatError(f"{path} has no rotation_angle and no theta; {describe_datasets(file)}.")
        by_format = thing.name.rpartition("/")[2] == "rotation_angle" or thing.name == "/exchange/theta"
        found = stored_angles(thing, angle_unit, "deg" if by_format else None)
        keys = find_image_key(file) if len(found) != n_angles else None
        if keys is not None and keys.shape == found.shape:  # one for each frame, flats and darks too
            found = found[values(keys) == 0]
        return found
