"""What segmenters share that learn from patches of labelled images."""

import copy
from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator

from tomolearn._validation import check_choice, check_integer, check_real, check_shape
from tomolearn.base import Segmenter
from tomolearn.exceptions import FileFormatError
from tomolearn.segmentation._classes import (
    balanced,
    check_class_names,
    check_class_weight,
    check_classes,
    joined_labels,
)
from tomolearn.segmentation._inputs import check_validation, open_inputs
from tomolearn.segmentation._task import BALANCED, LOSSES, AllPatches, SegmentationTask, most_probable
from tomolearn.segmentation._volume import predict_labels
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import CallbackSupportMixin, with_callbacks
from tomolearn.training.hardware import find_device
from tomolearn.training.image_estimator import TrainedImageEstimator
from tomolearn.training.patches import PatchSamples
from tomolearn.training.tasks import OPTIMIZERS

__all__ = ["LearnedSegmenter"]


class LearnedSegmenter(TrainedImageEstimator, Segmenter, CallbackSupportMixin, BaseEstimator):
    """``fit`` and ``predict`` of a network from images to scores of labels; a subclass says which network."""

    @with_callbacks
    def fit(self, X, y=None, *, X_val=None, y_val=None, weight_map=None, checkpoint=None, callbacks=()):
        """Train the network.

        Parameters
        ----------
        X : array-like, Source, path, or list of them
            Images: an array (n, rows, columns), one ordered volume; windows (n, n_adjacent, rows, columns) that do not
            know each other; either of them flat, (n, n_features); a list of arrays (rows, columns) of different sizes;
            or a `tomolearn.io.Source`, a file, ``FILE:DATASET``, a folder, a pattern or a list of files, which are read
            patch by patch (see `tomolearn.io.open_labelled`). With ``n_adjacent`` above 1 the files of a folder, a
            pattern or a list are the slices of one volume.
        y : as X, of the same sizes
            Masks: a label, which is a whole number or a truth value, for each pixel. Files are paired with those of
            ``X`` by name. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one label for all the pixels
            of an image.
        X_val, y_val : as X and y, default=None
            Images and masks to validate on, instead of a part of ``X`` and ``y``.
        weight_map : as y, default=None
            How much each pixel counts in the loss, not negative.
        checkpoint : path-like, default=None
            File that the state of the training is kept in. Where it exists, the training goes on from there, to the
            same weights as if it had not been broken off. Needs an integer ``random_state``.
        callbacks : sequence of Callback, default=()
            See `tomolearn.training`. Those of scikit-learn 1.9 are set by ``set_callbacks``; their tasks are epochs.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If images and masks do not pair, are not finite or no labels, hold a single label, are smaller than
            ``patch_shape``, a parameter is out of its range, or ``checkpoint`` belongs to another training.
        FileNotFoundError, FileFormatError
            If a file is missing or broken.
        MemoryBudgetError
            If network and optimiser do not fit into memory.
        DivergenceError
            If the loss is no longer finite.
        KeyboardInterrupt
            On Ctrl-C; the best weights so far have been set.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; got one of them.")
        self._begin()
        labelled, dtype = open_inputs(self, X, y, weight_map, reset=True)
        try:
            samples = self._learn_from(labelled, dtype)
            validation = None if X_val is None else AllPatches(self._validation(X_val, y_val))
            make_task = self._task_of(samples)
            options = {"checkpoint": checkpoint, "callbacks": callbacks}
            self._train_on(self._network_config(), samples, validation, make_task, X, y, **options)
        finally:
            labelled.close()
        return self

    def partial_fit(self, X, y, classes=None, *, n_epochs=1, weight_map=None):
        """Train some epochs more, on other images; the first call begins a network.

        The normalisation stays as it was learned first. Nothing is held out, the optimiser begins anew, the learning
        rate is constant, and the last weights are kept. ``history_`` is that of this call, ``n_epochs_`` counts all.

        Parameters
        ----------
        X, y
            As for ``fit``.
        classes : array-like of int, default=None
            All labels that will come, for the first call. None: those in ``y``. Later other labels are an error.
        n_epochs : int, default=1
        weight_map : as y, default=None
            As for ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As ``fit``; also if ``y`` holds a label that is not of ``classes_``.
        FileNotFoundError, FileFormatError
            If a file is missing or broken.
        MemoryBudgetError
            If network and optimiser do not fit into memory.
        DivergenceError
            If the loss is no longer finite.
        KeyboardInterrupt
            On Ctrl-C; the last weights have been set.
        """
        check_integer(n_epochs, "n_epochs", low=1)
        first = not self.__sklearn_is_fitted__()
        self._begin()
        if classes is not None:
            classes = check_classes(classes, self.ignore_label, None if first else self.classes_)
        labelled, dtype = open_inputs(self, X, y, weight_map, reset=first)
        try:
            if first:
                samples = self._learn_from(labelled, dtype, classes)
            else:
                samples = self._patches(labelled, self.classes_).normalised(self.x_mean_, self.x_scale_)
                self._check_need(self._network_config(), samples.patch_shape)
            self._train_more(samples, n_epochs, 0 if first else self.n_epochs_)
        finally:
            labelled.close()
        return self

    def predict_volume(
        self, source, out, *, probabilities=None, overlays=None, memory=None, resume=False, overwrite=False
    ):
        """Label a volume of any size, or a single huge image, from file to file.

        What is read at a time is as large as ``memory`` allows: blocks of slices, bands of rows, tiles. Each is read
        with what the network sees around it, so that the labels are those of the whole, and every pixel is written
        once.

        Parameters
        ----------
        source : Source, array-like or path-like
            One ordered volume (slices, rows, columns); a path is opened by `tomolearn.io.open_volume`.
        out : path-like
            The labels; the suffix says the kind of file (see `tomolearn.io.create_sink`). uint8 where all labels are
            from 0 to 255, else the smallest type of whole numbers that holds them.
        probabilities : path-like, default=None
            A second file: the probabilities (slices, rows, columns, n_classes), float32, written in the same pass.
        overlays : path-like, default=None
            A folder, made if it is not there, for a picture of each slice: image and labels side by side, as
            superres-tomo draws them, with at most about a million pixels each.
        memory : str or int, default=None
            Most that the process may hold: "2GB", "500MiB" or bytes. None: half of what the machine has left.
        resume : bool, default=False
            Go on with what a run that was broken off has left.
        overwrite : bool, default=False
            Whether existing files may be replaced.

        Returns
        -------
        Path
            Of the labels.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ImportError
            If ``overlays`` is given and matplotlib is missing.
        ValueError
            If ``source`` is no volume, is not finite, or would be replaced by ``out``; or if the run that is resumed is
            another one.
        MemoryBudgetError
            If not even the smallest tiles fit into ``memory``.
        FileFormatError
            If a file is broken.
        FileExistsError
            If a file exists and ``overwrite`` is False, or another process writes it.
        """
        options = {"memory": memory, "resume": resume, "overwrite": overwrite}
        return predict_labels(self, source, out, probabilities, overlays, **options)

    # ---------------------------------------------------------------------------------------------- what is learned

    def _begin(self):
        self._check_training_parameters()
        self._check_parameters()
        distributed.join(find_device(self.device))

    def _check_parameters(self):
        check_choice(self.loss, "loss", tuple(LOSSES))
        check_real(self.oversample_rare, "oversample_rare", low=0, high=1)
        for name in ("patch_shape", "tile_shape"):
            if getattr(self, name) is not None:
                check_shape(getattr(self, name), name, 2)
        if self.ignore_label is not None:
            check_integer(self.ignore_label, "ignore_label", low=-(2**63))
        if not isinstance(self.flips, bool | np.bool_):
            raise TypeError(f"flips must be True or False; got {self.flips!r}.")
        check_class_weight(self.class_weight)

    def _patches(self, labelled, classes=None):
        return PatchSamples(
            labelled,
            patch_shape=self.patch_shape,
            overlap=self.overlap,
            patch_range=self.patch_range,
            n_adjacent=self.n_adjacent,
            classes=classes,
            ignore_label=self.ignore_label,
            oversample_rare=self.oversample_rare,
            flips=bool(self.flips),
        )

    def _learn_from(self, labelled, dtype, classes=None):
        """The patches of a training, after classes, names, and normalisation have been learned of them."""
        samples = self._patches(labelled, classes)
        self.classes_ = samples.classes if dtype is None else samples.classes.astype(dtype)
        self.class_names_ = check_class_names(self.class_names, self.classes_)
        self._check_need(self._network_config(), samples.patch_shape)
        self.x_mean_, self.x_scale_ = map(float, distributed.of_first(samples.statistics))
        return samples.normalised(self.x_mean_, self.x_scale_)

    def _validation(self, X, y):
        labelled = check_validation(self, X, y)
        options = {"classes": self.classes_, "ignore_label": self.ignore_label, "n_adjacent": self.n_adjacent}
        patch_shape = self.patch_shape and tuple(map(min, self.patch_shape, *(image.shape for image in labelled)))
        return PatchSamples(labelled, patch_shape=patch_shape, **options).normalised(self.x_mean_, self.x_scale_)

    def _split(self, samples, seed):
        if not self.validation_fraction:
            return samples, None
        training, held_out = samples.held_out(self.validation_fraction, np.random.default_rng(seed))
        return training, None if held_out is None else AllPatches(held_out)

    def _train_more(self, samples, n_epochs, n_before):
        """``n_epochs`` of training from the present weights, if there are any."""
        twin = copy.copy(self)
        state = self.random_state
        if n_before and isinstance(state, int | np.integer):  # else each call would draw the same patches
            state = int(np.random.SeedSequence((int(state), n_before)).generate_state(1)[0] >> 1)
        training = {"max_epochs": n_epochs, "early_stopping": False, "warm_start": True, "schedule": "constant"}
        twin.__dict__.update(training, random_state=state)
        before = vars(twin).get("network_")
        try:
            twin._train(twin._network_config(), samples, None, self._task_of(samples), checkpoint=None, callbacks=())
        finally:
            if vars(twin).get("network_") is not before:
                twin.n_epochs_ += n_before
                twin.best_epoch_ = twin.n_epochs_
                self.__dict__.update({name: value for name, value in vars(twin).items() if name.endswith("_")})

    # ---------------------------------------------------------------------------------------------- the network

    def _task_of(self, samples):
        weights = check_class_weight(self.class_weight, self.classes_)
        if weights == "balanced" or (weights is None and self.loss in BALANCED):
            weights = balanced(samples.class_counts)
        if weights is not None and self.loss in ("dice", "tversky") and len(self.classes_) == 2:
            raise ValueError(
                f"class_weight must be None with loss={self.loss!r} for two labels, of which it has the coefficient of "
                f"the larger one alone; got {self.class_weight!r}. loss='dice+cross_entropy' takes weights."
            )
        return partial(
            SegmentationTask,
            loss=self.loss,
            weights=weights,
            n_classes=len(self.classes_),
            make_optimizer=partial(OPTIMIZERS[self.optimizer], lr=self.learning_rate, weight_decay=self.weight_decay),
        )

    def _apply(self, network, x):
        return network(x.contiguous(memory_format=torch.channels_last))

    def _shown_output(self, output):
        if self._labels_only:
            return most_probable(output)
        if output.shape[1] == 1:
            second = output[:, 0].sigmoid()
            return torch.stack([1 - second, second], -1)
        return output.softmax(1).movedim(1, -1)

    def _set_model_state(self, state, tensors, name):
        classes, names = state.get("classes_"), state.get("class_names_")
        if not joined_labels(classes) or not isinstance(names, tuple) or len(names) != len(classes):
            raise FileFormatError(
                f"{name} must hold classes_, at least two whole numbers in ascending order, and a name for each in "
                f"class_names_; got {classes!r:.200} and {names!r:.200}."
            )
        super()._set_model_state(state, tensors, name)
