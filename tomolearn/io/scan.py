"""`Scan`: projections with their angles, flats and darks; `open_scan` reads one from a file of any known kind."""

import os

import numpy as np

from tomolearn._validation import check_choice
from tomolearn.exceptions import FileFormatError, GeometryError
from tomolearn.geometry import as_radians
from tomolearn.io._angles import given_angles
from tomolearn.io._exchange import is_exchange, read_exchange
from tomolearn.io._hdf5 import Hdf5Store, dataset, describe_datasets, member, open_file
from tomolearn.io._nexus import find_nxdata, find_nxtomo, read_nxdata, read_nxtomo
from tomolearn.io._open import KINDS, open_store, present, recognise, split_name
from tomolearn.io._parts import ORDERS, Part, ScanParts
from tomolearn.io._stored import CACHE, StoredSource, reading
from tomolearn.io.source import SCAN_AXES, ArraySource, Source

__all__ = ["Scan", "open_scan"]

LAYOUTS = {"exchange": read_exchange, "nxtomo": read_nxtomo, "nxdata": read_nxdata}


class Scan(Source):
    """Projections as sinograms (rows, angles, detectors), with what belongs to them.

    Parameters
    ----------
    projections : Source or array-like of shape (n_rows, n_angles, n_detectors)
        One sinogram for each detector row.
    angles : array-like of shape (n_angles,), optional
        In radians; None where they are not known.
    flats, darks : Source or array-like of shape (n_rows, n_frames, n_detectors), optional
        Images with the beam and no sample, and without the beam.
    beam_intensity : array-like of shape (n_angles,), optional
        Of the beam at each projection, relative to its mean over the flats.
    metadata : dict, optional
        Plain values in SI units; by default those of ``projections``.

    Attributes
    ----------
    shape, dtype, axes, name, chunk, metadata
        As of every `Source`; axes are ``("rows", "angles", "detectors")``.
    angles : ndarray of shape (n_angles,), float64, or None
        In radians.
    flats, darks : Source or None
        Shape (n_rows, n_frames, n_detectors).
    beam_intensity : ndarray of shape (n_angles,), float64, or None
        Relative to the flats.

    Raises
    ------
    ValueError
        If the shapes of the parts do not fit each other.
    GeometryError
        If ``angles`` are not one finite number for each projection.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import Scan
    >>> scan = Scan(np.zeros((4, 6, 8)), angles=np.linspace(0, np.pi, 6, endpoint=False), flats=np.ones((4, 2, 8)))
    >>> every_other = scan.select(rows=slice(1, 3), angles=slice(None, None, 2))
    >>> every_other.shape, every_other.flats.shape, every_other.angles.round(2).tolist()
    ((2, 3, 8), (2, 2, 8), [0.0, 1.05, 2.09])
    """

    def __init__(self, projections, *, angles=None, flats=None, darks=None, beam_intensity=None, metadata=None):
        self.projections = _source(projections, "projections")
        source = self.projections
        metadata = source.metadata if metadata is None else metadata
        super().__init__(source.shape, source.dtype, SCAN_AXES, source.name, chunk=source.chunk, metadata=metadata)
        self.flats, self.darks = (
            None if part is None else self._fitting(_source(part, name), name)
            for part, name in ((flats, "flats"), (darks, "darks"))
        )
        n_angles = self.shape[1]
        self.angles = None if angles is None else as_radians(angles, "rad")
        if self.angles is not None and len(self.angles) != n_angles:
            raise GeometryError(f"angles must be {n_angles}, one for each projection; got {len(self.angles)}.")
        self.beam_intensity = None if beam_intensity is None else np.asarray(beam_intensity, np.float64)
        if self.beam_intensity is not None and self.beam_intensity.shape != (n_angles,):
            raise ValueError(
                f"beam_intensity must be {n_angles} numbers, one for each projection; got an array of shape "
                f"{self.beam_intensity.shape}."
            )

    def _fitting(self, part, name):
        rows, detectors = self.shape[0], self.shape[2]
        if (part.shape[0], part.shape[2]) == (rows, detectors):
            return part
        message = (
            f"{name} {part.name} {part.shape} must have {rows} rows on axis 0 and {detectors} detectors on axis 2, as "
            f"the projections {self.name} {self.shape}."
        )
        raise FileFormatError(message) if isinstance(part, StoredSource) else ValueError(message)

    @property
    def n_angles(self) -> int:
        """Number of projections."""
        return self.shape[1]

    def select(self, *, rows=None, angles=None) -> "Scan":
        """Part of the scan; nothing is read.

        Parameters
        ----------
        rows, angles : slice, optional
            With positive steps; None keeps all. ``angles=slice(None, None, 4)`` keeps every fourth projection.

        Returns
        -------
        Scan
            Flats and darks are cut to the same rows.

        Raises
        ------
        TypeError
            If anything but slices is given.
        ValueError
            If a step is negative or nothing is left.
        """
        ranges = {}
        for name, part, n in (("rows", rows, self.shape[0]), ("angles", angles, self.shape[1])):
            if part is not None and not isinstance(part, slice):
                raise TypeError(f"{name} must be a slice or None; got {part!r}.")
            ranges[name] = range(n) if part is None else range(*part.indices(n))
            if ranges[name].step < 0 or len(ranges[name]) == 0:
                raise ValueError(f"{name} must be a slice that keeps something of {n}, in order; got {part!r}.")
        kept = slice(None) if angles is None else angles
        cut = [None if part is None else _Rows.of(part, ranges["rows"]) for part in (self.flats, self.darks)]
        return Scan(
            _Rows.of(self.projections if angles is None else self.projections._pick(kept), ranges["rows"]),
            angles=None if self.angles is None else self.angles[kept],
            flats=cut[0],
            darks=cut[1],
            beam_intensity=None if self.beam_intensity is None else self.beam_intensity[kept],
            metadata=self.metadata,
        )

    def _read(self, start, stop):
        return self.projections.read_block(start, stop)

    def _pick(self, index):
        return self.projections._pick(index)

    def close(self) -> None:
        """Let go of files and of what was kept in memory; the next read opens them again."""
        for part in (self.projections, self.flats, self.darks):
            if part is not None:
                part.close()


def _source(thing, name):
    source = thing if isinstance(thing, Source) else ArraySource(thing, _axes_of(thing), name=name)
    if source.ndim != 3:
        raise ValueError(f"{name} must have three axes (rows, angles or frames, detectors); got shape {source.shape}.")
    return source


def _axes_of(thing):
    return SCAN_AXES if np.ndim(thing) == 3 else None


class _Rows(Source):
    """Some rows of another source."""

    def __init__(self, source, rows):
        shape = (len(rows), *source.shape[1:])
        super().__init__(shape, source.dtype, source.axes, source.name, chunk=source.chunk, metadata=source.metadata)
        self._source, self._rows = source, rows

    @classmethod
    def of(cls, source, rows):
        if isinstance(source, cls):
            source, rows = source._source, source._rows[rows.start : rows.stop : rows.step]
        return source if rows == range(len(source)) else cls(source, rows)

    def _read(self, start, stop):
        rows = self._rows[start:stop]
        return self._source[rows.start : rows.stop : rows.step]

    def _pick(self, index):
        return _Rows(self._source._pick(index), self._rows)

    def close(self):
        self._source.close()


# ------------------------------------------------------------------------------------------------------ files


def open_scan(
    path, *, data=None, flats=None, darks=None, angles=None, angle_unit=None, order=None, kind=None, cache=CACHE
) -> Scan:
    """A scan in a file, whatever its kind; nothing but headers and angles is read.

    Data Exchange and NXtomo files bring all parts with them; of other files the parts are named one by one.

    Parameters
    ----------
    path : str, path or list of them
        An HDF5 file (Data Exchange, NXtomo, processed NeXus, any other with ``data``), a TIFF file of many pages, a
        folder of TIFF files, a pattern with ``*``, a list of TIFF files, an MRC, ``.npy``, ``.npz`` or Zarr file.
    data : str, optional
        The dataset of projections, where it is not where the format puts it or the format knows none.
    flats, darks : str, optional
        A dataset of the same file, another ``FILE`` or folder, or ``FILE:DATASET``; in the order of the projections.
    angles : array-like or str, optional
        An array; ``"START:STOP"`` in degrees: equally spaced from START to STOP, both included; ``FILE`` or
        ``FILE:DATASET``, of which a NeXus or Data Exchange file needs no DATASET, a text file holds one angle a line.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of stored angles that do not say it. A ``units`` attribute is taken as it is; without one, Data Exchange
        and NeXus angles are in degrees. For an array, None means radians, unless they look like degrees.
    order : {"projections", "sinograms", None}, default=None
        Whether the file holds (angles, rows, detectors) or (rows, angles, detectors). None: as the file says, else
        projections for Data Exchange, NXtomo, TIFF and MRC; it must be given for the rest.
    kind : {"exchange", "nxtomo", "nxdata", "hdf5", "tiff", "mrc", "numpy", "zarr", None}, default=None
        None: by what the file holds, then by its suffix.
    cache : int, default=67108864
        Bytes that each part keeps of what was read last, where a stored chunk spans many rows.

    Returns
    -------
    Scan
        Presented as (rows, angles, detectors).

    Raises
    ------
    FileNotFoundError
        If a file, a dataset, or the target of a link is missing.
    FileFormatError
        If a file is broken, truncated, or of another kind or shape.
    GeometryError
        If angles have no unit, contradict the unit that the file states, or are too few or too many, or if the file
        does not say its ``order``.
    ValueError
        If ``order`` or ``kind`` is unknown.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from tomolearn.io import open_scan
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "projections.npy")
    >>> np.save(path, np.zeros((6, 4, 8), np.float32))
    >>> scan = open_scan(path, order="projections", angles="0:150")
    >>> scan.shape, np.rad2deg(scan.angles).round().tolist()
    ((4, 6, 8), [0.0, 30.0, 60.0, 90.0, 120.0, 150.0])
    >>> scan.close(), folder.cleanup()
    (None, None)
    """
    if order is not None:
        check_choice(order, "order", ORDERS)
    if kind is not None:
        check_choice(kind, "kind", (*LAYOUTS, *KINDS))
    layout = kind if kind in LAYOUTS else None
    kind = "hdf5" if layout else kind or recognise(path)
    named = {"flats": flats, "darks": darks}
    if kind == "hdf5":
        file_path = os.fspath(path)
        with open_file(file_path) as file, reading(file_path, "an HDF5 file with a scan"):
            parts = _hdf5_parts(file, file_path, layout, data, angle_unit, order, want_angles=angles is None)
            for name, text in named.items():
                if text is not None:
                    setattr(parts, name, _named_part(text, parts.data, file, file_path))
    else:
        store, reverse = open_store(path, data, kind)
        stored_order = _order_of(order, kind)
        parts = ScanParts(Part(store, _reversed(stored_order, reverse)), metadata=store.metadata)
        for name, text in named.items():
            if text is not None:
                setattr(parts, name, _named_part(text, parts.data, None, path, order=stored_order))
    return _assemble(parts, angles, angle_unit, cache)


def _hdf5_parts(file, path, layout, data, angle_unit, order, want_angles):
    if layout is None:
        if is_exchange(file):
            layout = "exchange"
        elif find_nxtomo(file) is not None:
            layout = "nxtomo"
        elif data is None and next(find_nxdata(file), None) is not None:
            layout = "nxdata"
    if layout is not None:
        return LAYOUTS[layout](file, path, data=data, angle_unit=angle_unit, order=order, want_angles=want_angles)
    if data is None:
        raise FileFormatError(
            f"{path} is neither Data Exchange (exchange/data) nor NXtomo (image_key); {describe_datasets(file)}. "
            "Name the projections by data=."
        )
    return ScanParts(Part(Hdf5Store(path, dataset(file, data)), _order_of(order, "hdf5")))


def _order_of(order, kind):
    """Stored axes of (rows, angles, detectors)."""
    if order is None and kind not in ("tiff", "mrc"):
        raise GeometryError(
            "order must be 'projections' (angles, rows, detectors) or 'sinograms' (rows, angles, detectors): a file "
            f"of kind {kind} does not say it; got None."
        )
    return ORDERS[order or "projections"]


def _reversed(order, reverse):
    return tuple(2 - axis for axis in order) if reverse else tuple(order)


def _named_part(text, like, file, path, order=None):
    """Flats or darks by name: inside the file of the projections, or another file."""
    order = like.order if order is None else order
    if file is not None and member(file, os.fspath(text)) is not None:
        store, reverse = Hdf5Store(path, dataset(file, os.fspath(text))), False
    else:
        other, inside = split_name(text)
        if not os.path.exists(other) and file is not None and "*" not in other:
            raise FileNotFoundError(f"{text!r} is neither a dataset of {path} nor a file; {describe_datasets(file)}.")
        store, reverse = open_store(other, inside)
    order = _reversed(order, reverse)
    # A stack of frames is often stored as projections are, whatever the order of the scan itself.
    wanted = like.store.shape[like.order[0]], like.store.shape[like.order[2]]
    swapped = (order[1], order[0], order[2])
    if (store.shape[order[0]], store.shape[order[2]]) != wanted == (store.shape[swapped[0]], store.shape[swapped[2]]):
        order = swapped
    return Part(store, order)


def _assemble(parts, angles, angle_unit, cache):
    def source(part, axes=("rows", "frames", "detectors")):
        if part is None:
            return None
        return present(part.store, False, part.order, axes, picked=part.picked, cache=cache)

    projections = source(parts.data, SCAN_AXES)
    n_angles = projections.shape[1]
    if angles is not None:
        parts.angles = given_angles(angles, n_angles, angle_unit)
    elif parts.angles is not None and len(parts.angles) != n_angles:
        raise FileFormatError(
            f"{projections.name} has {n_angles} projections and {len(parts.angles)} angles, expected one for each."
        )
    return Scan(
        projections,
        angles=parts.angles,
        flats=source(parts.flats),
        darks=source(parts.darks),
        beam_intensity=parts.beam_intensity,
        metadata=parts.metadata,
    )
