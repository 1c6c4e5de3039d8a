"""Texts of variable length in HDF5 files, read from the bytes of the file.

HDF5 follows the reference to its global heap without checking it: a broken one crashes the process, or never comes
back (tests/fuzz_files.py). The layouts are those of the HDF5 File Format Specification, sections III.E "Global Heap"
and IV.A "Data Object Headers", https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
"""

import os
import struct

import h5py

from tomolearn.exceptions import FileFormatError

REFERENCE = struct.Struct("<IQI")  # length of the text, address of the collection, index in it
COLLECTION = struct.Struct("<4sB3xQ")  # signature, version, bytes of the collection with this header
OBJECT = struct.Struct("<HH4xQ")  # index, count of references, bytes
LARGEST, LONGEST = 1 << 24, 1 << 20  # bytes of a collection or of a header, of a text
ATTRIBUTE, CONTINUATION, SHARED = 0x0C, 0x10, 0x02
MOST_TEXTS, MOST_PARTS = 64, 64


def is_heap_text(dtype):
    """Whether a type is that of strings of variable length."""
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is None


def heap_text(thing):
    """The only text of a dataset of variable-length strings, as bytes; None where it is stored in another way."""
    offset = thing.id.get_offset()
    if offset is None or not _usual_sizes(thing.file):
        return None
    with _Bytes(thing) as file:
        return file.text(file.part(offset, REFERENCE.size))


def heap_attribute(thing, key, count):
    """The texts of an attribute of variable-length strings; None where it is not stored in the object header."""
    if count > MOST_TEXTS or not _usual_sizes(thing.file):
        return None
    with _Bytes(thing) as file:
        start = h5py.h5o.get_info(thing.id).addr + file.base
        data = next((data for name, data in file.attributes(start) if name == key.encode()), None)
        if data is None:
            return None
        if len(data) < count * REFERENCE.size:
            raise FileFormatError(f"{file.name}: attribute {key} has {len(data)} bytes, too few for {count} texts.")
        return [file.text(data[at : at + REFERENCE.size]) for at in range(0, count * REFERENCE.size, REFERENCE.size)]


def _usual_sizes(file):
    return file.id.get_create_plist().get_sizes() == (8, 8)


class _Bytes:
    """The bytes of the file of an HDF5 object; nothing is read that is not there."""

    def __init__(self, thing):
        self.name = f"{thing.file.filename}:{thing.name.lstrip('/')}"
        self.base = thing.file.userblock_size  # addresses count from its end
        self._file = open(thing.file.filename, "rb")
        self._size = os.fstat(self._file.fileno()).st_size

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def part(self, offset, size):
        if size > LARGEST or offset + size > self._size:
            raise FileFormatError(
                f"{self.name} refers to bytes {offset}:{offset + size}, expected less than {LARGEST} bytes within the "
                f"{self._size} of the file."
            )
        self._file.seek(offset)
        return self._file.read(size)

    def text(self, reference):
        length, address, index = REFERENCE.unpack(reference)
        if length > LONGEST:
            raise FileFormatError(f"{self.name} declares a text of {length} bytes, expected at most {LONGEST}.")
        if length == 0:
            return b""
        start = address + self.base
        signature, version, size = COLLECTION.unpack(self.part(start, COLLECTION.size))
        if signature != b"GCOL" or version != 1:
            raise FileFormatError(f"{self.name}: found {signature!r} at byte {start}, expected a global heap.")
        return self._object(self.part(start, size), index)[:length]

    def _object(self, collection, wanted):
        at = COLLECTION.size
        while at + OBJECT.size <= len(collection):
            index, _, size = OBJECT.unpack_from(collection, at)
            if index == 0:  # the rest is free
                break
            at += OBJECT.size
            if index == wanted and size <= len(collection) - at:
                return collection[at : at + size]
            at += (size + 7) // 8 * 8
        raise FileFormatError(f"{self.name} refers to text {wanted} of a global heap, which does not hold it.")

    # -------------------------------------------------------------------------------------------- object headers

    def attributes(self, start):
        """(name, bytes of the value) of the attributes in the object header at ``start``."""
        for kind, flags, body in self._messages(start):
            if kind == ATTRIBUTE and not flags & SHARED and len(body) > 9:
                version = body[0]
                sizes = struct.unpack_from("<3H", body, 2)
                unit = 8 if version == 1 else 1  # the first version pads each part
                at = [9 if version == 3 else 8]
                for size in sizes:
                    at.append(at[-1] + -(-size // unit) * unit)
                yield body[at[0] : at[0] + sizes[0]].rstrip(b"\0"), body[at[3] :]

    def _messages(self, start):
        """(type, flags, body) of the messages of an object header of either version."""
        head = self.part(start, 16)
        if head[:4] == b"OHDR":
            flags, at = head[5], 6 + (16 if head[5] & 0x20 else 0) + (4 if head[5] & 0x10 else 0)
            width = 1 << (flags & 3)
            length = int.from_bytes(self.part(start + at, width), "little")
            layout, parts = struct.Struct("<BHBH" if flags & 0x04 else "<BHB"), [(start + at + width, length)]
            signature = 4  # of a continuation, which also ends with a checksum
        else:
            layout, parts = struct.Struct("<HHB3x"), [(start + 16, struct.unpack_from("<I", head, 8)[0])]
            signature = 0
        for offset, length in parts:
            block, at = self.part(offset, length), 0
            while at + layout.size <= len(block):
                kind, size, flags = layout.unpack_from(block, at)[:3]
                body = block[at + layout.size : at + layout.size + size]
                if kind == CONTINUATION and len(body) >= 16 and len(parts) < MOST_PARTS:
                    where, many = struct.unpack_from("<QQ", body)
                    parts.append((where + self.base + signature, max(0, many - 2 * signature)))
                yield kind, flags, body
                at += layout.size + size
