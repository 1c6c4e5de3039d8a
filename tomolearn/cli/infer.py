"""Apply a model file to a volume or scan of any size, from file to file. No truth is needed."""

import time

from tomolearn.cli._data import SINOGRAM_AXES, open_image_stack
from tomolearn.cli._models import add_model_arguments, add_volume_arguments, load_model
from tomolearn.cli._parameters import add_machine_arguments, use_threads
from tomolearn.cli._scan_arguments import (
    add_correction_arguments,
    add_scan_arguments,
    check_output,
    correction_steps,
    open_chosen,
)
from tomolearn.cli.reconstruct import center_of, describe_scan, find_axis

__all__ = ["add_arguments", "run"]

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
    several = "its dataset, where the file has several"
    group.add_argument("--ld-dataset", "--images-dataset", dest="images_dataset", metavar="NAME", help=several)
    kinds = "line integrals to reconstruct (n, angles, detectors)"
    group.add_argument("--sinograms", metavar="FILE", help=kinds)
    group.add_argument("--sinograms-dataset", metavar="NAME", help=several)
    add_volume_arguments(parser.add_argument_group("the volume"))
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
        If the input is not what the model takes.

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
    given = [name for name in ("images", "sinograms", "scan") if getattr(arguments, name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"the input must be one of -ld (or --images), --sinograms and --scan; got {len(given)} of them."
        )
    check_output(arguments)
    estimator = load_model(arguments, ("predict_volume", "steps"), USE)
    if hasattr(estimator, "steps"):
        return _through_pipeline(estimator, given[0], arguments)
    name, wanted = type(estimator).__name__, "images" if not isinstance(estimator, Reconstructor) else "sinograms"
    if (wanted == "images") != (given[0] == "images"):
        option = "-ld FILE" if wanted == "images" else "--sinograms FILE, or a raw scan by --scan FILE"
        raise ValueError(f"{arguments.model} holds a {name}, which takes {wanted}; name them by {option}.")
    began = time.perf_counter()
    if given[0] == "scan":
        path, shape = _from_scan(estimator, arguments)
    else:
        dataset = getattr(arguments, f"{wanted}_dataset")
        option = "--ld-dataset" if wanted == "images" else "--sinograms-dataset"
        axes = None if wanted == "images" else SINOGRAM_AXES
        with open_image_stack(getattr(arguments, wanted), dataset, option, axes) as source:
            path = estimator.predict_volume(
                source,
                arguments.output,
                memory=arguments.memory,
                resume=arguments.resume,
                overwrite=arguments.overwrite,
            )
            shape = source.shape
    if not arguments.quiet:
        seconds = time.perf_counter() - began
        print(f"wrote {path}: {shape[0]} slices by a {name} in {seconds:.1f} s, {shape[0] / seconds:.1f} slices/s")
    return 0


def _from_scan(estimator, arguments):
    """Corrections and model, block by block."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import Pipeline

    from tomolearn.streaming import reconstruct_volume

    scan = open_chosen(arguments)
    if not arguments.quiet:
        print(describe_scan(scan), flush=True)
    steps = correction_steps(arguments, scan)
    if hasattr(estimator, "geometry_"):
        estimator = _of_scan(estimator, arguments, steps, scan)
    elif arguments.center is not None:
        raise ValueError(f"--center is not for a {type(estimator).__name__}, which has learned the axis with the scan.")
    report = reconstruct_volume(
        Pipeline([*steps, ("reconstruct", FrozenEstimator(estimator))]),
        scan,
        arguments.output,
        memory=arguments.memory,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        verbose=0 if arguments.quiet else 1,
    )
    return report.path, report.shape


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


def _through_pipeline(pipeline, given, arguments):
    """A pipeline of fitted steps, whose input and output are held in memory."""
    import numpy as np

    from tomolearn.io import create_sink

    if given == "scan":
        raise ValueError(
            f"--scan is not for the Pipeline in {arguments.model}, which has steps of its own; name what its first "
            "step takes by --sinograms or --images."
        )
    option, axes = ("--sinograms-dataset", SINOGRAM_AXES) if given == "sinograms" else ("--images-dataset", None)
    with open_image_stack(getattr(arguments, given), getattr(arguments, f"{given}_dataset"), option, axes) as source:
        X = source[:]
    found = np.asarray(pipeline.predict(X) if hasattr(pipeline, "predict") else pipeline.transform(X))
    if found.ndim != 3:
        raise ValueError(
            f"{arguments.model} holds a Pipeline that gives {found.ndim} axes, expected images (n, rows, columns)."
        )
    facts = {"model": arguments.model, "source": source.name}
    options = {"resume": arguments.resume, "overwrite": arguments.overwrite}
    with create_sink(arguments.output, found.shape, found.dtype, metadata=facts, **options) as sink:
        for k, image in enumerate(found):
            sink.write_block(k, image[None])
    if not arguments.quiet:
        print(f"wrote {arguments.output}: {len(found)} slices by a Pipeline")
    return 0
