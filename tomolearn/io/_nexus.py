"""NXtomo, and processed NeXus data with a rotation angle.

The NeXus application definition NXtomo, https://manual.nexusformat.org/classes/applications/NXtomo.html; Konnecke et
al., "The NeXus data format", Journal of Applied Crystallography 48 (2015) 301-305,
https://doi.org/10.1107/S1600576714027575.
"""

import h5py
import numpy as np

from tomolearn.exceptions import FileFormatError
from tomolearn.io._hdf5 import Hdf5Store, attribute, dataset, describe_datasets, member, text_of, texts_of, values, walk
from tomolearn.io._parts import ORDERS, Part, ScanParts, described, stored_angles, text

PROJECTION, FLAT, DARK = 0, 1, 2  # image_key; 3 is an invalid frame
LENGTHS = {
    "pixel_size": ("sample/x_pixel_size", "instrument/detector/x_pixel_size"),
    "distance": ("instrument/detector/distance",),
}
ENERGIES = {"energy": ("beam/incident_energy", "instrument/beam/incident_energy", "instrument/beam/energy")}
TEXTS = {"title": ("title",), "sample": ("sample/name",), "start_time": ("start_time",)}


def find_nxtomo(file):
    """The group that says ``definition = NXtomo``, anywhere below the root; or that of an ``image_key``; or None."""
    keyed = None
    for path, thing in walk(file):
        name = path.rpartition("/")[2]
        if name == "definition" and isinstance(thing, h5py.Dataset):
            group_path = path.rpartition("/")[0]
            group = member(file, group_path)
            if text(group, ("definition",)) == "NXtomo":
                return group
        if keyed is None and name == "image_key" and isinstance(thing, h5py.Dataset):
            keyed = member(file, path.split("/")[0])
    return keyed if isinstance(keyed, h5py.Group) else None


def find_nxdata(file):
    """(group, signal, axes) of each NXdata whose axes hold a rotation angle."""
    for _, thing in walk(file):
        if isinstance(thing, h5py.Group) and text_of(attribute(thing, "NX_class")) == "NXdata":
            axes, signal = texts_of(attribute(thing, "axes")), text_of(attribute(thing, "signal"))
            if signal and "rotation_angle" in axes and len(axes) == 3:
                yield thing, signal, axes


def _below(group, name):
    """The nearest dataset called ``name`` below a group, or None."""
    found = (thing for path, thing in walk(group, 6) if path.rpartition("/")[2] == name)
    return next((thing for thing in found if isinstance(thing, h5py.Dataset)), None)


def read_nxtomo(file, path, *, data=None, angle_unit=None, order=None, want_angles=True):
    """The parts of an NXtomo entry: frames are told apart by ``image_key``; angles without units are in degrees."""
    entry = find_nxtomo(file)
    if entry is None:
        raise FileFormatError(f"{path} has no NXtomo entry and no image_key; {describe_datasets(file)}.")
    keys = _below(entry, "image_key")
    thing = dataset(file, data) if data else _frames(entry, keys, path)
    metadata = described(entry, LENGTHS, ENERGIES, TEXTS)
    store, order = Hdf5Store(path, thing, metadata), ORDERS[order or "projections"]
    n_frames = store.shape[order[1]]
    key = np.zeros(n_frames) if keys is None else _per_frame(keys, n_frames, store.name)
    control_keys = _below(entry, "image_key_control")
    if control_keys is not None and control_keys.shape == (n_frames,):
        key = np.where(values(control_keys) < 0, 3, key)  # alignment views taken again: not part of the scan
    projections, flats, darks = (np.flatnonzero(key == kind) for kind in (PROJECTION, FLAT, DARK))
    if len(projections) == 0:
        raise FileFormatError(f"{store.name} has {n_frames} frames and no projection: expected image_key 0 for some.")
    parts = ScanParts(Part(store, order, projections), metadata=metadata)
    parts.flats = Part(store, order, flats) if len(flats) else None
    parts.darks = Part(store, order, darks) if len(darks) else None
    if want_angles and (rotation := _rotation(entry)) is not None:
        angles = stored_angles(rotation, angle_unit, "deg")
        parts.angles = angles if len(angles) == len(projections) else _frame_angles(angles, projections, n_frames, path)
    parts.beam_intensity = _beam_intensity(entry, projections, flats, n_frames)
    return parts


def _frames(entry, keys, path):
    """The dataset of frames: beside the image key, or linked in NXdata."""
    places = [] if keys is None else [(keys.parent, "data")]
    places += [(entry, "instrument/detector/data"), (entry, "data/data"), (entry, "data")]
    for group, name in places:
        thing = member(group, name)
        if isinstance(thing, h5py.Dataset):
            return thing
    raise FileFormatError(f"{path}:{entry.name.lstrip('/')} has no frames, expected instrument/detector/data.")


def _per_frame(thing, n_frames, name):
    found = values(thing)
    if len(found) != n_frames:
        raise FileFormatError(f"{name} has {n_frames} frames, but {thing.name.lstrip('/')} has {len(found)} values.")
    return found


def _rotation(entry):
    thing = member(entry, "sample/rotation_angle")
    return thing if isinstance(thing, h5py.Dataset) else _below(entry, "rotation_angle")


def _frame_angles(angles, projections, n_frames, path):
    if len(angles) != n_frames:
        raise FileFormatError(
            f"{path} has {len(angles)} values of rotation_angle, expected one for each of {n_frames} frames "
            f"or of {len(projections)} projections."
        )
    return angles[projections]


def _beam_intensity(entry, projections, flats, n_frames):
    """Of each projection, relative to the mean over the flats; None where it was not measured."""
    thing = member(entry, "control/data")
    if not isinstance(thing, h5py.Dataset) or thing.shape != (n_frames,) or len(flats) == 0:
        return None
    measured = values(thing)
    reference = measured[flats].mean()
    relative = measured[projections] / reference if reference > 0 else np.zeros(1)
    return relative if np.isfinite(relative).all() and (relative > 0).all() else None


def read_nxdata(file, path, *, data=None, angle_unit=None, order=None, want_angles=True):
    """Projections in an NXdata group whose axes hold a rotation angle: what processing leaves."""
    found = list(find_nxdata(file))
    if not found:
        raise FileFormatError(f"{path} has no NXdata with a rotation_angle; {describe_datasets(file)}.")
    group, signal, axes = found[0]
    thing = dataset(file, data) if data else dataset(group, signal)
    stored = "sinograms" if axes[1] == "rotation_angle" else "projections"
    parts = ScanParts(Part(Hdf5Store(path, thing), ORDERS[order or stored]))
    if want_angles:
        parts.angles = stored_angles(dataset(group, "rotation_angle"), angle_unit, "deg")
    return parts


def find_image_key(file):
    """The nearest dataset called ``image_key``, or None."""
    return _below(file, "image_key")


def find_angles(file):
    """The dataset of angles of a file that is only asked for these: Data Exchange, NeXus, or the nearest by name."""
    thing = member(file, "exchange/theta")
    if thing is None:
        entry = find_nxtomo(file)
        thing = _rotation(entry) if entry is not None else None
    if thing is None:
        thing = _below(file, "rotation_angle")
    if thing is None:
        thing = _below(file, "theta")
    return thing if isinstance(thing, h5py.Dataset) else None
