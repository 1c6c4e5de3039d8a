"""Apply a model file to a volume or scan of any size, from file to file. No truth is needed."""

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

from tomolearn.cli._data import SINOGRAM_AXES, describe_stack, open_image_stack, open_sinogram_library
from tomolearn.cli._models import (
    CLIPPED,
    add_model_arguments,
    add_storage_arguments,
    add_volume_arguments,
    check_storage,
    counted,
    load_model,
)
from tomolearn.cli._parameters import add_machine_arguments, use_threads
from tomolearn.cli._quality import add_truth_argument, known_range, open_truth, quality_of, told
from tomolearn.cli._run_log import add_log_argument, check_log, write_run
from tomolearn.cli._scan_arguments import (
    add_correction_arguments,
    add_scan_arguments,
    check_output,
    correction_steps,
    open_chosen,
)
from tomolearn.cli.reconstruct import center_of, describe_scan, find_axis

__all__ = ["add_arguments", "run"]

INPUTS = ("images", "sinograms", "library", "scan")
USE = "which makes no volume; `tomolearn classify` and `tomolearn embed --model` apply such models."


def add_arguments(parser):
    """Add the arguments of ``infer``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.infer import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args("model.tomo -ld prod.h5 -o out.h5".split()).images
    'prod.h5'
    """
    add_model_arguments(parser)
    group = parser.add_argument_group("what it is applied to: one of these")
    kinds = "slices to denoise or to label, one ordered volume"
    group.add_argument("-ld", "--low-dose", "-i", "--images", dest="images", metavar="FILE", help=kinds)
    several = "its dataset, where the file has several; or that of the library's images"
    group.add_argument("--ld-dataset", "--images-dataset", dest="images_dataset", metavar="NAME", help=several)
    kinds = "line integrals to reconstruct (n, angles, detectors)"
    group.add_argument("--sinograms", metavar="FILE", help=kinds)
    several = "their dataset, where the file, or the library, has several"
    group.add_argument("--sinograms-dataset", metavar="NAME", help=several)
    kinds = "HDF5 file of superres-tomo, with Sinograms; where it holds Images, they are the truth"
    group.add_argument("--library", metavar="FILE", help=kinds)
    volume = parser.add_argument_group("the volume")
    add_volume_arguments(volume)
    add_storage_arguments(volume)
    add_truth_argument(volume)
    add_log_argument(volume)
    add_scan_arguments(parser, required=False)
    axis = "rotation axis of --scan: a detector coordinate, or vo, phase, entropy, auto (default: that of the training)"
    parser.add_argument("--center", type=center_of, metavar="X|METHOD", help=axis)
    add_correction_arguments(parser)
    add_machine_arguments(parser, memory=True)


def run(arguments):
    """Predict and write.

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
        If the input is not what the model takes, or the truth has another shape than the volume.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn import Noise2SelfDenoiser
    >>> from tomolearn.cli.main import main
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> volume = np.random.default_rng(0).random((4, 16, 16), np.float32)
    >>> np.save(folder / "prod.npy", volume)
    >>> Noise2SelfDenoiser(channels=(4, 8), max_epochs=1).fit(volume).save(folder / "model.tomo")
    >>> paths = [str(folder / name) for name in ("model.tomo", "prod.npy", "out.npy")]
    >>> main(["infer", paths[0], "-ld", paths[1], "-o", paths[2], "--quiet"])
    0
    >>> np.load(paths[2]).shape
    (4, 16, 16)
    """
    from tomolearn.base import Reconstructor

    use_threads(arguments)
    given = _given(arguments)
    check_output(arguments)
    check_storage(arguments)
    check_log(arguments, arguments.output)
    estimator = load_model(arguments, ("predict_volume", "steps"), USE)
    if not hasattr(estimator, "steps"):
        _check_kind(estimator, isinstance(estimator, Reconstructor), given, arguments)
    elif given == "scan":
        raise ValueError(
            f"--scan is not for the Pipeline in {arguments.model}, which has steps of its own; name what its first "
            "step takes by --sinograms or --images."
        )
    say = (lambda *words: None) if arguments.quiet else (lambda *words: print(*words, flush=True))
    began = time.time()
    with contextlib.ExitStack() as files:
        source, images = _open_input(given, arguments, files)
        if given == "scan":
            say(describe_scan(source))
        work = _work(estimator, source, given, arguments)
        truth = _truth(work, images, arguments, files, say)
        path, counts = work.predict()
        seconds, n = time.time() - began, work.shape[0]
        say(f"wrote {path}: {n} slices by a {type(estimator).__name__} in {seconds:.1f} s, {n / seconds:.1f} slices/s")
        for line in counted(counts):
            say(line)
        quality = before = None
        if truth is not None:
            with open_image_stack(str(path)) as volume:
                quality = quality_of(volume, truth, arguments.range)
            if given == "images" and tuple(source.shape) == tuple(work.shape):
                before = quality_of(source, truth)
        data = describe_scan(source) if given == "scan" else describe_stack(given, source)
    if quality is not None:
        say(told(quality, n, truth.source.name, before))
    facts = {
        "data": [data],
        "shape": list(work.shape),
        "dtype": arguments.dtype,
        "range": arguments.range,
        "counts": counts,
    }
    write_run(
        arguments,
        estimator,
        began,
        facts | {"slices_per_second": n / seconds, "quality": quality, "quality_before": before},
    )
    return 0


class Work(NamedTuple):
    """A prediction that is ready to run: the shape of the volume, and what writes it and gives its path and counts."""

    shape: tuple[int, ...]
    predict: Callable


def _given(arguments):
    """Which input is named."""
    given = [name for name in INPUTS if getattr(arguments, name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"the input must be one of -ld (or --images), --sinograms, --library and --scan; got {len(given)} of them."
        )
    return given[0]


def _check_kind(estimator, reconstructs, given, arguments):
    """Refuses images for what takes sinograms and the other way round, and options that labels do not have."""
    from tomolearn.base import Segmenter

    name = type(estimator).__name__
    if reconstructs == (given == "images"):
        option = "--sinograms FILE, --library FILE, or a raw scan by --scan FILE" if reconstructs else "-ld FILE"
        wanted = "sinograms" if reconstructs else "images"
        raise ValueError(f"{arguments.model} holds a {name}, which takes {wanted}; name them by {option}.")
    for option in ("dtype", "range", "truth"):
        if getattr(arguments, option) is not None and isinstance(estimator, Segmenter):
            raise ValueError(f"--{option} is not for the labels that a {name} gives; leave it out.")


def _open_input(given, arguments, files):
    """What is predicted, and the images that a library holds beside it (else None)."""
    if given == "scan":
        return files.enter_context(open_chosen(arguments)), None
    path = getattr(arguments, given)
    if given == "library":
        sinograms, images = open_sinogram_library(path, arguments, need_images=False)
        return files.enter_context(sinograms), None if images is None else files.enter_context(images)
    axes = SINOGRAM_AXES if given == "sinograms" else None
    option = "--sinograms-dataset" if given == "sinograms" else "--ld-dataset"
    return files.enter_context(open_image_stack(path, getattr(arguments, f"{given}_dataset"), option, axes)), None


def _truth(work, images, arguments, files, say):
    """The `Truth` that is named, or the library's images; None: there is none."""
    if arguments.truth is not None:
        return known_range(files.enter_context(open_truth(arguments.truth)), work.shape)
    if images is not None and tuple(images.shape) != tuple(work.shape):
        say(f"{images.name} has shape {images.shape}, the volume {tuple(work.shape)}: they are not compared")
        return None
    return None if images is None else known_range(images, work.shape)


# ------------------------------------------------------------------------------------------------------------ the work


def _work(estimator, source, given, arguments):
    """What will be done to ``source``; everything that can be refused has been."""
    options = {"memory": arguments.memory, "resume": arguments.resume, "overwrite": arguments.overwrite}
    if hasattr(estimator, "steps"):
        return _through_pipeline(estimator, source, arguments)
    if given == "images":
        return Work(source.shape, lambda: _of_images(estimator, source, arguments, options))
    if given == "scan":
        return _from_scan(estimator, source, arguments, options)
    _check_order(estimator, source, given, arguments)
    estimator = estimator._for_scan(source)
    return _by_reconstructor([], estimator, source, arguments, options | {"verbose": 0 if arguments.quiet else 1})


def _of_images(estimator, source, arguments, options):
    if arguments.dtype is None:
        return estimator.predict_volume(source, arguments.output, **options), {}
    from tomolearn.streaming.images import VolumeOutput, predict_to_files

    counts = {CLIPPED: 0}

    def clipped(part):
        """A part of what is predicted as it is, once what lies beyond the range by half a step is counted."""
        low, high = arguments.range
        half = (high - low) / (255 if arguments.dtype == "uint8" else 65535) / 2
        counts[CLIPPED] += int(((part < low - half) | (part > high + half)).sum())
        return part

    convert = None if arguments.range is None else clipped
    output = VolumeOutput(arguments.output, arguments.dtype, convert=convert, value_range=arguments.range)
    return predict_to_files(estimator, source, [output], **options)[0], counts


def _by_reconstructor(steps, estimator, source, arguments, options):
    """Corrections and model, block by block."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import Pipeline

    from tomolearn.streaming import reconstruct_volume

    pipeline = Pipeline([*steps, ("reconstruct", FrozenEstimator(estimator))])
    stored = {"dtype": arguments.dtype, "value_range": arguments.range}

    def reconstruct():
        report = reconstruct_volume(pipeline, source, arguments.output, **stored, **options)
        return report.path, report.counts

    return Work((len(source), *estimator.image_shape_), reconstruct)


def _check_order(estimator, source, given, arguments):
    """Says what to do where samples stand last, as libraries have them."""
    wanted = tuple(estimator.sinogram_shape_)
    if given == "sinograms" and tuple(source.shape[1:]) != wanted == tuple(source.shape[:2]):
        raise ValueError(
            f"--sinograms {arguments.sinograms} has shape {source.shape}, samples last, as libraries of superres-tomo "
            "have them; name the file by --library."
        )


def _from_scan(estimator, scan, arguments, options):
    steps = correction_steps(arguments, scan)
    if hasattr(estimator, "geometry_"):
        estimator = _of_scan(estimator, arguments, steps, scan)
    elif arguments.center is not None:
        raise ValueError(f"--center is not for a {type(estimator).__name__}, which has learned the axis with the scan.")
    return _by_reconstructor(steps, estimator, scan, arguments, options | {"verbose": 0 if arguments.quiet else 1})


def _of_scan(estimator, arguments, steps, scan):
    """The model with the angles of this scan, and its axis."""
    if arguments.center is None and scan.shape[2] != estimator.sinogram_shape_[1]:
        raise ValueError(
            f"--center is needed: {scan.name} has {scan.shape[2]} detectors and the scan of the training had "
            f"{estimator.sinogram_shape_[1]}. Give a number, or auto."
        )
    center = estimator.center_ if arguments.center is None else find_axis(arguments, steps, scan)
    if isinstance(center, str):
        from tomolearn.preprocessing import find_center
        from tomolearn.streaming import sample_sinograms

        sinograms, angles, _ = sample_sinograms(steps, scan)
        center = float(find_center(sinograms, angles, method=center, angle_unit="rad"))
    estimator.set_params(center=center)
    if scan.angles is not None:
        estimator.set_params(angles=scan.angles, angle_unit="rad")
    return estimator._for_sinograms(tuple(scan.shape[1:]))


def _through_pipeline(pipeline, source, arguments):
    """A pipeline of fitted steps, whose input and output are held in memory."""
    import numpy as np

    from tomolearn.io import create_sink

    X = source[:]
    found = np.asarray(pipeline.predict(X) if hasattr(pipeline, "predict") else pipeline.transform(X))
    if found.ndim != 3:
        raise ValueError(
            f"{arguments.model} holds a Pipeline that gives {found.ndim} axes, expected images (n, rows, columns)."
        )

    def write():
        facts = {"model": arguments.model, "source": source.name}
        options = {"resume": arguments.resume, "overwrite": arguments.overwrite, "value_range": arguments.range}
        with create_sink(
            arguments.output, found.shape, arguments.dtype or found.dtype, metadata=facts, **options
        ) as sink:
            for k, image in enumerate(found):
                sink.write_block(k, image[None])
        return sink.path, {CLIPPED: sum(found.get(CLIPPED, 0) for found in sink.done.values())}

    return Work(found.shape, write)
