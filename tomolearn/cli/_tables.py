"""Small files that are written whole or not at all; tables with one row for each image, as .csv or .npy."""

import csv
import io
import os
import secrets

__all__ = ["check_table", "write_table", "write_whole"]

KINDS = (".csv", ".npy")


def check_table(path, overwrite):
    """Refuses, before anything is computed, a table that could not be written in the end."""
    if os.path.splitext(path)[1].lower() not in KINDS:
        raise ValueError(f"--output must end in one of {', '.join(KINDS)}; got {path}.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--output: the folder of {path} does not exist; make it first.")
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"the output {path} exists; choose another name, or --overwrite.")


def write_table(path, names, rows, array):
    """``rows`` under ``names`` as CSV, or ``array`` as .npy."""
    import numpy as np

    if path.lower().endswith(".npy"):
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        write_whole(path, content.getvalue())
    else:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([names, *rows])
        write_whole(path, text.getvalue().encode())


def write_whole(path, content):
    """Bytes to a file beside ``path``, which takes its place when it is whole."""
    draft = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
