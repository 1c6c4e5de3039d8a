"""Learned primal-dual reconstruction: an unrolled optimisation scheme with the projector inside."""

import torch
from torch import nn

from tomolearn._validation import check_integer
from tomolearn.networks._layers import activation_layer, check_input, check_kernel_size, initialize
from tomolearn.solvers.fbp import fbp_of_finite

__all__ = ["PrimalDualNetwork"]

START = 0.3  # what the weights of each block's last layer are multiplied by before training


class PrimalDualNetwork(nn.Module):
    """Learned primal-dual: iterations of small networks in the data and in the image, joined by the projector [1]_.

    With the data ``g = x / scale`` and the operator ``B = A / scale`` (norm 1, so that one set of weights serves any
    unit and size), the image ``f`` of `n_primal` memory channels and the dual variable ``h`` of `n_dual` start at zero
    and are updated `n_iterations` times::

        h = h + D_k([h, B f_1, g])
        f = f + P_k([f, B.T h_0])  # with filtered=True: P_k([f, FBP(h_0)])

    The result is ``f_0``, in the unit of the images that ``A`` projects. Each block D_k, P_k is a chain of
    convolutions with an activation between them. Weights are drawn as in [1]_ (Glorot uniform, zero biases), but those
    of the last layer of each block are three tenths of that: the first image is a few per cent of the truth then,
    instead of a sum of `n_iterations` random updates. They are not zero: all features would be zero, and with them the
    gradients.

    Parameters
    ----------
    n_iterations : int, default=10
        Updates of the dual and of the primal variable.
    n_primal, n_dual : int, default=5
        Memory channels of the image and of the data. With one primal channel, that one is projected (f_0 for f_1).
    n_filters : int, default=32
        Channels inside a block.
    n_layers : int, default=3
        Convolutions of a block.
    kernel_size : int, default=3
        Odd; the convolutions pad with zeros.
    filtered : bool, default=False
        Filtered back-projection (Hann window) in place of the adjoint, which undoes the blur of ``B.T B`` that the
        first iterations would be spent on.
    activation : {"relu", "leaky_relu", "prelu"}, default="relu"
        "prelu" is the choice of [1]_ and several times slower on a CPU; it starts as "relu".

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    DIVal's ``PrimalDualNet`` has the same updates, sizes (10 iterations, 5 memory channels, 3 layers of 32 filters)
    and normalised operator. It differs in the PReLU and in the full Glorot weights of the last layers, and offers batch
    normalisation and a start from filtered back-projection.

    The operator is applied in the precision of ``x`` under `torch.autocast` too, and the memory channels are summed in
    that precision.

    References
    ----------
    .. [1] J. Adler and O. Oktem, "Learned primal-dual reconstruction", IEEE Trans. Med. Imaging 37 (2018) 1322,
       DOI 10.1109/TMI.2018.2799231.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.networks import PrimalDualNetwork
    >>> from tomolearn.operators import RadonOperator
    >>> A = RadonOperator(ParallelBeam(default_angles(6), 15, (10, 12)))
    >>> network = PrimalDualNetwork(n_iterations=2, n_filters=8)
    >>> network(torch.zeros(3, 6, 15), A, A.norm()).shape
    torch.Size([3, 10, 12])
    """

    def __init__(
        self,
        *,
        n_iterations=10,
        n_primal=5,
        n_dual=5,
        n_filters=32,
        n_layers=3,
        kernel_size=3,
        filtered=False,
        activation="relu",
    ):
        super().__init__()
        n_iterations = check_integer(n_iterations, "n_iterations", low=1)
        self.n_primal = check_integer(n_primal, "n_primal", low=1)
        self.n_dual = check_integer(n_dual, "n_dual", low=1)
        n_filters = check_integer(n_filters, "n_filters", low=1)
        n_layers = check_integer(n_layers, "n_layers", low=1)
        self.filtered = bool(filtered)
        inner = (n_filters, n_layers, check_kernel_size(kernel_size), activation)
        self.dual_blocks = nn.ModuleList(_block(n_dual + 2, n_dual, *inner) for _ in range(n_iterations))
        self.primal_blocks = nn.ModuleList(_block(n_primal + 1, n_primal, *inner) for _ in range(n_iterations))

    def forward(self, x, A, scale):
        """Images of sinograms.

        Parameters
        ----------
        x : Tensor of shape (n, n_angles, n_detectors)
            Sinograms, in the dtype of the weights (float32 or float64).
        A : RadonOperator
            The scan; any sizes.
        scale : float
            The norm of ``A``: ``A.norm()``, computed once by the caller.

        Returns
        -------
        Tensor of shape (n, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not fit ``A``.
        """
        check_input(x, A.range_shape)
        data = (x / scale)[:, None]
        h = data.new_zeros(len(x), self.n_dual, *A.range_shape)
        f = data.new_zeros(len(x), self.n_primal, *A.domain_shape)
        projection = torch.zeros_like(data)
        for k, (dual_block, primal_block) in enumerate(zip(self.dual_blocks, self.primal_blocks, strict=True)):
            if k:
                projection = _apply(A, f[:, min(1, self.n_primal - 1)], scale)
            h = h + dual_block(torch.cat([h, projection, data], 1))
            f = f + primal_block(torch.cat([f, self._back(A, h[:, 0], scale)], 1))
        return f[:, 0]

    def _back(self, A, h, scale):
        if not self.filtered:
            return _apply(A.T, h, scale)
        with torch.autocast(h.device.type, enabled=False):
            return (scale * fbp_of_finite(A, h, filter="hann", method="direct"))[:, None]  # as on every device


def _apply(operator, x, scale):
    with torch.autocast(x.device.type, enabled=False):
        return (operator(x) / scale)[:, None]


def _block(n_in, n_out, n_filters, n_layers, kernel_size, activation):
    layers: list[nn.Module] = []
    for layer in range(n_layers):
        last = layer == n_layers - 1
        n_next = n_out if last else n_filters
        convolution = nn.Conv2d(n_in, n_next, kernel_size, padding=kernel_size // 2)
        layers.append(convolution)
        if not last:
            layers.append(activation_layer(activation, n_next))
        n_in = n_next
    block = nn.Sequential(*layers)
    initialize(block, nn.init.xavier_uniform_)
    with torch.no_grad():
        convolution.weight.mul_(START)
    return block
