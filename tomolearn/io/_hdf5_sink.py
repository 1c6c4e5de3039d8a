"""HDF5 volumes in the layout of Data Exchange."""

import h5py
import numpy as np

from tomolearn.io._raw import METADATA, RawBackend, as_json, axes_of

__all__ = ["HDF5Backend"]


class HDF5Backend(RawBackend):
    def begin(self, band):
        with h5py.File(self.path, "w") as file:
            file["implements"] = "exchange:process"
            file[METADATA] = as_json(self.facts)
            if self.facts.get("angles") is not None:
                file["process/tomolearn/angles"] = np.asarray(self.facts["angles"], np.float64)
                file["process/tomolearn/angles"].attrs["units"] = "rad"
            data = _contiguous(file.create_group("exchange"), "data", self.shape, self.dtype)
            data.attrs["axes"] = ":".join(axes_of(self.facts, self.shape))
            data.attrs["description"] = "reconstruction"
            for name, value in self.facts.items():
                if isinstance(value, str | int | float) and not isinstance(value, bool):
                    data.attrs[name] = value

    def offset(self):
        with h5py.File(self.path, "r") as file:
            return file["exchange/data"].id.get_offset()


def _contiguous(group, name, shape, dtype):
    """A dataset whose place in the file is fixed when it is made."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(shape), layout)
    return group[name]
