"""Slow truths, written from the definitions: loops or dense matrices in float64, nothing shared with the product."""

import re

import numpy as np


def system_matrix(angles, n_detectors, image_shape, center=None, spacing=1.0, footprint="line"):
    """Dense matrix (angles * detectors, rows * columns) of the projector.

    ``line``: Joseph. Walk the rows (or columns) that the ray crosses, interpolate linearly between the two pixels
    around the crossing, times the length of a step. ``pixel``: each pixel is spread linearly over the two detectors
    around its projection.
    """
    rows, columns = image_shape
    center = (n_detectors - 1) / 2 if center is None else center
    centers = np.broadcast_to(center, (len(angles),))
    matrix = np.zeros((len(angles), n_detectors, rows, columns))
    for a, (theta, middle) in enumerate(zip(angles, centers, strict=True)):
        if footprint == "line":
            _joseph(matrix[a], np.cos(theta), np.sin(theta), middle, spacing)
        else:
            _splat(matrix[a], np.cos(theta), np.sin(theta), middle, spacing)
    return matrix.reshape(len(angles) * n_detectors, rows * columns)


def _joseph(matrix, cos, sin, center, spacing):
    n_detectors, rows, columns = matrix.shape
    for d in range(n_detectors):
        s = (d - center) * spacing
        if abs(cos) >= abs(sin):
            for r in range(rows):
                y = (rows - 1) / 2 - r
                c = (s - y * sin) / cos + (columns - 1) / 2
                for column in (int(np.floor(c)), int(np.floor(c)) + 1):
                    if 0 <= column < columns:
                        matrix[d, r, column] += max(0.0, 1 - abs(column - c)) / abs(cos)
        else:
            for column in range(columns):
                x = column - (columns - 1) / 2
                r = (rows - 1) / 2 - (s - x * cos) / sin
                for row in (int(np.floor(r)), int(np.floor(r)) + 1):
                    if 0 <= row < rows:
                        matrix[d, row, column] += max(0.0, 1 - abs(row - r)) / abs(sin)


def _splat(matrix, cos, sin, center, spacing):
    n_detectors, rows, columns = matrix.shape
    for r in range(rows):
        for c in range(columns):
            t = ((c - (columns - 1) / 2) * cos + ((rows - 1) / 2 - r) * sin) / spacing + center
            for d in (int(np.floor(t)), int(np.floor(t)) + 1):
                if 0 <= d < n_detectors:
                    matrix[d, r, c] += max(0.0, 1 - abs(d - t))


def tomophantom_models(folder, half):
    """{number: table} of the models of TomoPhantom's 2-D library that hold ellipses only, in pixels of an image of edge
    2 * half. Its first coordinate runs down the rows and its angle is clockwise.
    """
    text = (folder / "tomophantom_lib" / "Phantom2DLibrary.dat").read_text()
    models = {}
    for number, body in re.findall(r"^Model : (\d+);\n(.*?)(?=^Model|\Z)", text, re.MULTILINE | re.DOTALL):
        objects = re.findall(r"^Object : (\w+) ([^;]*);", body, re.MULTILINE)
        if "Endvar" in body or any(kind != "ellipse" for kind, _ in objects):
            continue
        c, x, y, a, b, angle = np.array([row.split() for _, row in objects], dtype=float).T
        models[number] = np.column_stack([c, a * half, b * half, y * half, -x * half, -np.deg2rad(angle)])
    return models
