"""Say what images show, by a model file of `tomolearn train alexnet` or `alexnet-regressor`."""

import time

from tomolearn.cli._data import add_image_arguments, describe_stack, open_image_stack
from tomolearn.cli._models import add_model_arguments, load_model
from tomolearn.cli._parameters import add_machine_arguments, use_threads
from tomolearn.cli._run_log import add_log_argument, check_log, write_run
from tomolearn.cli._scan_arguments import keep_inputs
from tomolearn.cli._tables import check_table, write_table

__all__ = ["add_arguments", "run"]


def add_arguments(parser):
    """Add the arguments of ``classify``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.classify import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args("model.tomo -i images.h5 -o classes.csv".split()).output
    'classes.csv'
    """
    add_model_arguments(parser)
    add_image_arguments(parser.add_argument_group("images"))
    group = parser.add_argument_group("the result")
    kinds = "classes.csv, with the probability of each class, or classes.npy, the classes alone (default: printed)"
    group.add_argument("-o", "--output", metavar="PATH", help=kinds)
    group.add_argument("--overwrite", action="store_true", help="replace an existing file")
    add_log_argument(group)
    add_machine_arguments(parser)


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
        If the model classifies no images, or does not take these.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn import AlexNetRegressor
    >>> from tomolearn.cli.main import main
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> X = np.zeros((4, 32, 32), np.float32)
    >>> small = {"channels": (2, 2, 2, 2, 2), "widths": (4, 4, 4), "max_epochs": 1, "random_state": 0}
    >>> AlexNetRegressor(**small).fit(X + np.arange(4)[:, None, None], [0, 1, 2, 3]).save(folder / "model.tomo")
    >>> np.save(folder / "images.npy", X)
    >>> main(["classify", str(folder / "model.tomo"), "-i", str(folder / "images.npy")])
    image,value
    0,...
    0
    """
    import numpy as np

    from tomolearn.classification import AlexNetClassifier, AlexNetRegressor

    use_threads(arguments)
    if arguments.output is not None:
        check_table(arguments.output, arguments.overwrite)
        keep_inputs(arguments)
    check_log(arguments, arguments.output)
    estimator = load_model(arguments, ("predict",), "which says nothing of whole images.")
    if not isinstance(estimator, AlexNetClassifier | AlexNetRegressor):
        name = type(estimator).__name__
        raise ValueError(f"{arguments.model} holds a {name}, which says nothing of whole images; see `tomolearn info`.")
    arguments.words, began = {"X": "--images"}, time.time()
    with open_image_stack(arguments.images, arguments.images_dataset) as source:
        data = describe_stack("images", source)
        if isinstance(estimator, AlexNetClassifier):
            likely = estimator.predict_proba(source)
            found = estimator.classes_[likely.argmax(1)]
            names = ["image", "class", *(f"p({label})" for label in estimator.classes_.tolist())]
            values = zip(found.tolist(), likely, strict=True)
            rows = [[k, label, *(f"{p:.4f}" for p in each)] for k, (label, each) in enumerate(values)]
        else:
            found = estimator.predict(source)
            table = np.asarray(found).reshape(len(found), -1)
            names = ["image", *(["value"] if table.shape[1] == 1 else [f"value {k}" for k in range(table.shape[1])])]
            rows = [[k, *(f"{value:.6g}" for value in each)] for k, each in enumerate(table)]
    if arguments.output is not None:
        write_table(arguments.output, names, rows, found)
        if not arguments.quiet:
            print(f"wrote {arguments.output}: {len(rows)} images")
    else:
        print("\n".join(",".join(map(str, row)) for row in [names, *rows]))
    write_run(arguments, estimator, began, {"data": [data], "n_images": len(rows)})
    return 0
