"""Map images by t-SNE so that those that are alike lie together, or place images on a map that was made before."""

import time

from tomolearn.cli._data import add_image_arguments, describe_stack, open_image_stack, read_labels
from tomolearn.cli._models import load_model
from tomolearn.cli._parameters import (
    add_machine_arguments,
    add_parameter_arguments,
    checked,
    make_estimator,
    use_threads,
)
from tomolearn.cli._run_log import add_log_argument, check_log, write_run
from tomolearn.cli._scan_arguments import check_preview, keep_inputs
from tomolearn.cli._tables import check_table, write_table

__all__ = ["add_arguments", "run"]


def add_arguments(parser):
    """Add the arguments of ``embed``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.embed import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args("-i images.h5 -o map.csv --set perplexity=20".split()).settings
    [('perplexity', 20)]
    """
    group = parser.add_argument_group("what is mapped")
    add_image_arguments(group)
    kinds = "colours of the picture: .npy, FILE:DATASET, or the last column of a .csv or .txt"
    group.add_argument("-l", "--labels", metavar="FILE", help=kinds)
    group.add_argument("--model", metavar="MODEL", help="place the images on this map instead of making one")
    out = parser.add_argument_group("the map")
    kinds = "map.csv, with how much each image is an outlier, or map.npy, the places alone"
    out.add_argument("-o", "--output", required=True, metavar="PATH", help=kinds)
    out.add_argument("--save", metavar="MODEL", help="write the map as a model file, for --model")
    out.add_argument("--preview", metavar="PNG", help="picture of the map with some of the images")
    out.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_log_argument(out)
    add_parameter_arguments(parser, epochs=False)
    add_machine_arguments(parser)


def run(arguments):
    """Map and write.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the command line held.

    Returns
    -------
    int
        0.

    Raises
    ------
    ValueError
        If arguments do not fit each other or the images.
    FileExistsError
        If a file exists and is not to be replaced.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.cli.main import main
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "images.npy", np.random.default_rng(0).random((40, 8, 8)))
    >>> options = ["--set", "perplexity=5", "--set", "max_iter=50", "--quiet"]
    >>> main(["embed", "-i", str(folder / "images.npy"), "-o", str(folder / "map.npy"), *options])
    0
    >>> np.load(folder / "map.npy").shape
    (40, 2)
    """
    import os

    use_threads(arguments)
    check_table(arguments.output, arguments.overwrite)
    keep_inputs(arguments)
    if arguments.preview is not None:
        check_preview(arguments.preview)
    if arguments.save is not None:
        keep_inputs(arguments, "save")
        if os.path.exists(arguments.save) and not arguments.overwrite:
            raise FileExistsError(f"--save: {arguments.save} exists; choose another name, or --overwrite.")
    check_log(arguments, arguments.output, arguments.save, arguments.preview)
    reducer, began = _reducer(arguments), time.time()
    arguments.words = {"X": "--images"}
    with open_image_stack(arguments.images, arguments.images_dataset) as images:
        data = describe_stack("images", images)
        labels = None if arguments.labels is None else read_labels(arguments.labels, len(images))
        places = reducer.transform(images) if arguments.model is not None else reducer.fit_transform(images)
        scores, outliers = reducer.score_samples(images), reducer.predict(images) == -1
        if arguments.preview is not None:
            _draw(arguments.preview, places, images, labels, scores, outliers)
    names = ["image", *"xyz"[: places.shape[1]], "score", "outlier"]
    rows = [
        [k, *(f"{value:.6g}" for value in place), f"{score:.6g}", int(outlier)]
        for k, (place, score, outlier) in enumerate(zip(places, scores, outliers, strict=True))
    ]
    if arguments.save is not None:
        reducer.save(arguments.save)
    write_table(arguments.output, names, rows, places)
    if not arguments.quiet:
        told = f"{len(rows)} images, {int(outliers.sum())} outliers"
        print(f"wrote {arguments.output}: {told}" + (f"; map in {arguments.save}" if arguments.save else ""))
    reached = {"n_outliers": int(outliers.sum()), "kl_divergence": reducer.kl_divergence_}
    write_run(arguments, reducer, began, {"data": [data], "n_images": len(rows)} | reached)
    return 0


def _reducer(arguments):
    from tomolearn.manifold import TSNEReducer

    if arguments.model is None:
        return checked(make_estimator(TSNEReducer, arguments))
    for option in ("save", "config"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option} is not for --model, whose map stays as it is; leave one of them out.")
    if arguments.settings:
        raise ValueError("--set is not for --model, whose map stays as it is; leave one of them out.")
    arguments.device = arguments.device or "auto"
    reducer = load_model(arguments, ("embedding_",), "which is no map; `tomolearn embed --save` writes one.")
    if not isinstance(reducer, TSNEReducer):
        raise ValueError(f"{arguments.model} holds a {type(reducer).__name__}, expected a TSNEReducer.")
    return reducer


def _draw(path, places, images, labels, scores, outliers):
    from tomolearn.display import EmbeddingDisplay

    values, name = (scores, "score") if labels is None else (labels, "label")
    display = EmbeddingDisplay(places, images=images, values=values, values_name=name, outliers=outliers)
    display.plot().figure_.savefig(path, dpi=150)
