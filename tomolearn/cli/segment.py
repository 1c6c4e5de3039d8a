"""Label the pixels of a volume, or of one huge image, by a model file of `tomolearn train unet`."""

import time

from tomolearn.cli._data import add_image_arguments, describe_stack, open_image_stack
from tomolearn.cli._models import add_model_arguments, add_volume_arguments, load_model
from tomolearn.cli._parameters import add_machine_arguments, use_threads
from tomolearn.cli._run_log import add_log_argument, check_log, write_run
from tomolearn.cli._scan_arguments import check_output, keep_inputs

__all__ = ["add_arguments", "run"]


def add_arguments(parser):
    """Add the arguments of ``segment``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.segment import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args("unet.tomo -i slices.tif -o labels.tif".split()).output
    'labels.tif'
    """
    add_model_arguments(parser)
    add_image_arguments(parser.add_argument_group("what is labelled"))
    group = parser.add_argument_group("the labels")
    add_volume_arguments(group)
    group.add_argument("--probabilities", metavar="PATH", help="a second file: the probability of each label")
    group.add_argument("--overlays", metavar="FOLDER", help="pictures of images and labels side by side")
    add_log_argument(group)
    add_machine_arguments(parser, memory=True)


def run(arguments):
    """Label and write.

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
        If the model is no segmenter, or does not take the images.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn import UNetSegmenter
    >>> from tomolearn.cli.main import main
    >>> from tomolearn.simulation import scattered_shapes
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> images, masks = scattered_shapes(2, 32, random_state=0)
    >>> segmenter = UNetSegmenter(base_channels=2, max_epochs=1, random_state=0).fit(images, masks)
    >>> segmenter.save(folder / "unet.tomo")
    >>> np.save(folder / "images.npy", images)
    >>> paths = [str(folder / name) for name in ("unet.tomo", "images.npy", "labels.npy")]
    >>> main(["segment", paths[0], "-i", paths[1], "-o", paths[2], "--quiet"])
    0
    >>> np.load(paths[2]).dtype
    dtype('uint8')
    """
    from tomolearn.base import Segmenter

    use_threads(arguments)
    check_output(arguments)
    if arguments.probabilities is not None:
        keep_inputs(arguments, "probabilities")
    check_log(arguments, arguments.output, arguments.probabilities)
    estimator = load_model(arguments, ("predict_proba",), "which labels no pixels; `tomolearn infer` applies it.")
    if not isinstance(estimator, Segmenter):
        name = type(estimator).__name__
        raise ValueError(f"{arguments.model} holds a {name}, which labels no pixels; `tomolearn classify` applies it.")
    began = time.time()
    with open_image_stack(arguments.images, arguments.images_dataset) as source:
        path = estimator.predict_volume(
            source,
            arguments.output,
            probabilities=arguments.probabilities,
            overlays=arguments.overlays,
            memory=arguments.memory,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        )
        data, shape = describe_stack("images", source), source.shape
    if not arguments.quiet:
        labels = ", ".join(f"{k}: {name}" for k, name in zip(estimator.classes_, estimator.class_names_, strict=True))
        print(f"wrote {path}: {shape[0]} slices in {time.time() - began:.1f} s; labels {labels}")
    names = {str(k): name for k, name in zip(estimator.classes_, estimator.class_names_, strict=True)}
    write_run(arguments, estimator, began, {"data": [data], "shape": list(shape), "labels": names})
    return 0
