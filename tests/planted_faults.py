"""Readers with faults, for the fuzzer to find. They import little, so that a new process begins at once."""

import os
import time
from types import SimpleNamespace

import numpy as np

from tomolearn.exceptions import FileFormatError


def _write(path):
    path.write_bytes(bytes(4000))


def _planted(fault):
    def read(path):
        if path.name.startswith("broken"):
            fault(path)
        return []

    return SimpleNamespace(suffix=".bin", write=_write, open=read)


def crash(path):
    os.abort()


def hang(path):
    time.sleep(60)


def other(path):
    raise KeyError("lost")


def nameless(path):
    raise FileFormatError("the file is broken")


def hungry(path):
    np.ones(400 << 17)  # 400 MiB, touched


def greedy(path):
    np.ones(8 << 27)  # 8 GiB: more than there may be


def good(path):
    raise FileFormatError(f"{path} is broken")


PLANTED = {fault.__name__: _planted(fault) for fault in (crash, hang, other, nameless, hungry, greedy, good)}
