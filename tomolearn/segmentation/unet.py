"""A U-Net that gives every pixel of large images a label."""

import numpy as np

from tomolearn.base import register
from tomolearn.segmentation._learned import LearnedSegmenter
from tomolearn.training.image_estimator import describe_images
from tomolearn.training.parameters import store

__all__ = ["UNetSegmenter"]


@register
@describe_images(1e-3, "adam")
class UNetSegmenter(LearnedSegmenter):
    """The U-Nets [1]_ of superres-tomo [2]_, which learn from patches of labelled images and label images of any size.

    Images and masks may be files larger than memory: patches are read as they are needed, in training as in
    prediction. Grey values are normalised by one mean and one standard deviation, learned in ``fit``, never patch by
    patch. Of two labels the network gives one score, the logit of the larger one; of more labels one score each, of
    which the softmax is taken.

    Parameters
    ----------
    n_levels : int, default=3
        Of the U-Net, from 1 to 8. superres-tomo's have 3, 4 (with ``pools``) and 5 (with ``dropout=0.5``).
    base_channels : int, default=64
        Channels of the finest level; each further one has twice as many.
    dropout : float, default=0.0
        Part of the values that is dropped in training at the coarsest level, from five levels on also at the next.
    pools : sequence of pairs of int, default=None
        Rows and columns of which the maximum is taken between each level and the next, 1 or 2 each. None: 2 and 2.
        superres-tomo's network of 4 levels has ``((2, 2), (1, 2), (2, 2))``.
    normalization : {"none", "batch"}, default="none"
        After each convolution but the last. The published networks have none.
    head_channels : int, default=None
        Channels before the scores. None: 2, as published, or the number of scores where that is more.
    n_adjacent : int, default=1
        Slices that the network sees at once to label the one in the middle (2.5-D); odd. ``X`` must then be one volume
        in its order, or windows of as many slices.
    loss : str, default="dice+cross_entropy"
        What the training lowers, of the functions in `tomolearn.losses`: "dice+cross_entropy", "cross_entropy",
        "weighted" and "balanced" (superres-tomo's two, with weights of balanced classes unless ``class_weight`` gives
        others), "focal", "dice" or "tversky".
    class_weight : dict of int to float, "balanced" or None, default=None
        Weight of each label in the cross entropy, or in the mean of the coefficients for "dice" and "tversky", which
        take them from three labels on. Labels that are not named have 1. "balanced": inverse to the number of their
        pixels in the training masks.
    ignore_label : int, default=None
        The value of pixels without a label, as between scribbles, which no loss and no score counts.
    patch_shape : tuple of two int, default=None
        Rows and columns of what the network learns from at a time; an image that is smaller is an error. None: (256,
        256), or the size of the smallest image along each axis where that is less.
    overlap : int or tuple of two int, default=None
        None: patches are cut anywhere, as many in an epoch as cover the images once. A number: those of a regular grid,
        of which neighbours share so many rows and columns (see `tomolearn.ops.extract_patches`).
    patch_range : sequence, default=None
        Which patches of each image to learn from: numbers from 0, left to right, then top to bottom, of the grid; or
        boxes (first row, row after the last, first column, column after the last). None: all.
    oversample_rare : float, default=0.0
        Share of the patches that are centred on a pixel of a label that has less than its share of the pixels.
    flips : bool, default=True
        Whether each patch is reflected at random along rows and along columns and, if it is square, turned.
    class_names : sequence of str or dict of int to str, default=None
        Names of the labels, in ascending order or by label. None: the labels as text.
    {images}
    {tiles}
    {training}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, ascending, without ``ignore_label``.
    class_names_ : tuple of str
    x_mean_, x_scale_ : float
        Mean and standard deviation of the images, by which they are normalised.
    {trained}
    {shapes}

    Notes
    -----
    With early stopping, ``val_loss`` of ``history_`` is one minus the mean Dice coefficient of the labels that are
    present, over all the patches that are held out: whole images or, where there are too few, a band of rows of each.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation",
       MICCAI (2015) 234, DOI 10.1007/978-3-319-24574-4_28.
    .. [2] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import UNetSegmenter
    >>> from tomolearn.simulation import scattered_shapes
    >>> images, masks = scattered_shapes(4, 64, random_state=0)
    >>> segmenter = UNetSegmenter(base_channels=4, patch_shape=(32, 32), max_epochs=2, random_state=0)
    >>> segmenter.fit(images, masks).predict(images).shape, segmenter.predict_proba(images).shape
    ((4, 64, 64), (4, 64, 64, 5))
    """

    _network_name = "SegmentationUNet"

    def __init__(
        self,
        *,
        n_levels=3,
        base_channels=64,
        dropout=0.0,
        pools=None,
        normalization="none",
        head_channels=None,
        n_adjacent=1,
        loss="dice+cross_entropy",
        class_weight=None,
        ignore_label=None,
        patch_shape=None,
        overlap=None,
        patch_range=None,
        oversample_rare=0.0,
        flips=True,
        class_names=None,
        image_shape=None,
        tile_shape=None,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        gradient_clipping=1.0,
        ema_decay=None,
        max_epochs=100,
        batch_size=16,
        early_stopping=True,
        n_iter_no_change=10,
        validation_fraction=0.1,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        store(self, locals())

    @property
    def tile_halo(self):
        """Distance of the farthest pixel that a pixel of the result depends on."""
        return self.network_.receptive_radius

    @property
    def tile_multiple(self):
        """What the origins of tiles are multiples of."""
        return self.network_.size_multiple

    @property
    def working_copies(self):
        """How many float32 images the prediction of one takes at the same time."""
        return 8 + self.n_adjacent + 2 * len(self.classes_) + 5 * self.base_channels  # measured

    def _kept_copies(self):
        # Of each level by its share of the pixels, measured: 10 images a channel, 4 at the coarsest level.
        kept, share = 0.0, 1.0
        pools = self.pools or ((2, 2),) * (self.n_levels - 1)
        for level in range(self.n_levels):
            kept += self.base_channels * 2**level * share * (10 if level < self.n_levels - 1 else 4)
            share /= np.prod(pools[level]) if level < self.n_levels - 1 else 1
        return 20 + kept

    def _network_shapes(self):
        n_outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        return {"in_channels": self.n_adjacent, "n_outputs": n_outputs}

    def _network_options(self):
        pools = None if self.pools is None else tuple(tuple(pair) for pair in self.pools)
        names = ("n_levels", "base_channels", "dropout", "head_channels", "normalization")
        return {"pools": pools, **{name: getattr(self, name) for name in names}}
