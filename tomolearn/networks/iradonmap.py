"""iRadonMAP: a learned filter along the detector, the back-projection of the scan, a U-Net on the image."""

import torch
from torch import nn

from tomolearn._validation import check_choice, check_integer
from tomolearn.networks._layers import check_input
from tomolearn.networks.unet import UNet
from tomolearn.ops.filters import angle_weights, filter_sinogram

__all__ = ["IRadonMAPNetwork"]

STARTS = ("ramp", "random")


class IRadonMAPNetwork(nn.Module):
    """Learned filter, back-projection, refinement: iRadonMAP [1]_.

    A dense layer along the detector, the same for all angles, stands for the filter of filtered back-projection; a
    U-Net repairs what is left. Where the rays run is not learned: the back-projection is that of the scan, with the
    share of each angle as its weight. The dense layer has ``n_detectors**2`` weights, where `AutomapNetwork` needs
    about ``n_detectors**4``, and any angles and image sizes go through one network.

    Parameters
    ----------
    n_detectors : int
        Detector bins of the sinograms.
    channels : tuple of int, default=(32, 32, 64, 64, 128)
        Of the levels of the refining `UNet`.
    skip_channels : int, default=None
        As in `UNet`.
    normalization : {"none", "batch", "group"}, default="none"
        As in `UNet`.
    activation : {"relu", "leaky_relu", "prelu"}, default="relu"
        As in `UNet`.
    downsampling : {"max", "stride"}, default="max"
        As in `UNet`.
    upsampling : {"bilinear", "nearest", "transposed"}, default="bilinear"
        As in `UNet`.
    dropout : float, default=0.0
        As in `UNet`.
    residual : bool, default=True
        The U-Net adds to the back-projected image instead of making the image.
    block_size : int, default=1
        As in `UNet`.
    init : {"ramp", "random"}, default="ramp"
        The filter before training: the ramp filter, or random (Glorot uniform). With "ramp" and ``residual=True`` an
        untrained network is filtered back-projection (`tomolearn.solvers.fbp`).

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    DIVal's version, to which published figures belong, starts from a random filter, rounds to the nearest detector bin
    in the back-projection, and has no residual connection; [1]_ also learns a weight for each pixel and angle, which
    ties the network to one geometry, and has a residual convolutional network in place of the U-Net. The
    filter runs in the precision of its input under `torch.autocast` too, for it subtracts large sums.

    References
    ----------
    .. [1] J. He, Y. Wang and J. Ma, "Radon inversion via deep learning", IEEE Trans. Med. Imaging 39 (2020) 2076,
       DOI 10.1109/TMI.2020.2964266.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.networks import IRadonMAPNetwork
    >>> from tomolearn.operators import RadonOperator
    >>> from tomolearn.solvers import fbp
    >>> A = RadonOperator(ParallelBeam(default_angles(20), 24, (16, 18)))
    >>> x = torch.rand(3, 20, 24)
    >>> network = IRadonMAPNetwork(24, channels=(8, 8))
    >>> bool(torch.allclose(network(x, A), fbp(A, x), atol=1e-5))
    True
    """

    def __init__(
        self,
        n_detectors,
        *,
        channels=(32, 32, 64, 64, 128),
        skip_channels=None,
        normalization="none",
        activation="relu",
        downsampling="max",
        upsampling="bilinear",
        dropout=0.0,
        residual=True,
        block_size=1,
        init="ramp",
    ):
        super().__init__()
        self.n_detectors = check_integer(n_detectors, "n_detectors", low=1)
        self.filter = nn.Linear(n_detectors, n_detectors, bias=False)
        nn.init.xavier_uniform_(self.filter.weight)
        # On the meta device, where parameters are counted, there is nothing to fill.
        if check_choice(init, "init", STARTS) == "ramp" and not self.filter.weight.is_meta:
            with torch.no_grad():
                # Each row of the filtered identity is what one bin gives to all others.
                self.filter.weight.copy_(filter_sinogram(torch.eye(n_detectors), padding="zero").T)
        self.refinement = UNet(
            channels=channels,
            skip_channels=skip_channels,
            normalization=normalization,
            activation=activation,
            downsampling=downsampling,
            upsampling=upsampling,
            dropout=dropout,
            residual=residual,
            block_size=block_size,
        )

    def forward(self, x, A):
        """Images of sinograms.

        Parameters
        ----------
        x : Tensor of shape (n, n_angles, n_detectors)
            Sinograms, in the dtype of the weights (float32 or float64).
        A : RadonOperator
            The scan; any angles and image size.

        Returns
        -------
        Tensor of shape (n, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not fit ``A`` or the number of detectors.
        """
        check_input(x, (A.range_shape[0], self.n_detectors))
        geometry = A.geometry
        share = torch.from_numpy(angle_weights(A.angles.numpy())) / (geometry.detector_spacing * geometry.pixel_size)
        with torch.autocast(x.device.type, enabled=False):
            image = A.backproject(self.filter(x) * share.to(x)[:, None])
        return self.refinement(image[:, None])[:, 0]
