"""What the iterative reconstructors share: how many iterations, and what ends them."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.base import BLOCK
from tomolearn.operators import FourierRadonOperator, RadonOperator
from tomolearn.reconstruction.classical import ClassicalReconstructor

__all__ = ["IterativeReconstructor"]

PROJECTORS = {"direct": RadonOperator, "fourier": FourierRadonOperator}


class IterativeReconstructor(ClassicalReconstructor):
    """A reconstructor that iterates; a subclass defines `_solve` and may add to `_check_options`.

    A subclass has the parameters ``max_iter``, ``x0``, ``nonnegative``, ``tol`` and ``projector``, and may have
    ``noise_level``.

    Every slice gets the same number of iterations, ``n_iter_``, at most: so says ``tol``, once and for all in ``fit``.
    With ``noise_level`` each slice stops on its own, which the solvers see to.
    """

    noise_level: float | None = None  # of methods that have no such rule

    def _check_parameters(self):
        check_integer(self.max_iter, "max_iter", low=1)
        check_real(self.tol, "tol", low=0)
        if self.x0 is not None and not (isinstance(self.x0, str) and self.x0 == "fbp"):
            raise ValueError(f"x0 must be None (zeros) or 'fbp' (filtered back-projection); got {self.x0!r}.")
        self._check_noise_level()
        if not isinstance(self.nonnegative, bool | np.bool_):
            raise TypeError(f"nonnegative must be True or False; got {self.nonnegative!r}.")
        check_choice(self.projector, "projector", tuple(PROJECTORS))
        self._check_processor("projector")
        self._check_options()

    def _operator(self):
        return PROJECTORS[self.projector](self.geometry_)

    def _check_noise_level(self):
        if self.noise_level is None:
            return
        check_real(self.noise_level, "noise_level", low=0, open_low=True)
        if self.tol != 0:
            raise ValueError(f"tol must be 0 where noise_level is given, for one rule ends the work; got {self.tol!r}.")

    def _fit_parameters(self, X):
        max_iter, tol = int(self.max_iter), float(self.tol)
        self.n_iter_ = max_iter if tol == 0 else self._count_iterations(X, max_iter, tol)

    def _set_model_state(self, state, tensors, name):
        super()._set_model_state(state, tensors, name)
        check_integer(state.get("n_iter_"), "n_iter_", low=1, high=self.max_iter)

    def _check_options(self):
        """Check the parameters that this method alone has."""

    def _count_iterations(self, X, max_iter, tol):
        """Iterations until slices spread evenly over ``X``, one block at most, satisfy the stopping rule."""
        chosen = np.unique(np.linspace(0, len(X) - 1, min(len(X), BLOCK)).round().astype(int))
        geometry = self.geometry_
        if np.ndim(self.center_):
            geometry = replace(geometry, center=self.center_[chosen, None], angle_unit="rad")
        self._check_budget(len(chosen), X.dtype.itemsize)
        count = 0

        def callback(k, x, residual):
            nonlocal count
            count = k

        y = self._block(X, chosen).to(self._devices()[0])
        self._solve(PROJECTORS[self.projector](geometry), y, max_iter=max_iter, tol=tol, callback=callback)
        if count == max_iter:
            warnings.warn(
                f"{type(self).__name__} used all max_iter={max_iter} iterations; raise max_iter or tol={tol:g}.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return max(count, 1)  # zeros need no iteration, and n_iter_ counts from one

    def _n_steps(self):
        return self.n_iter_

    def _reconstruct(self, A, y, step):
        count = 0

        def callback(k, x, residual):
            nonlocal count
            count = k
            step()

        images = self._solve(A, y, max_iter=self.n_iter_, tol=0.0, callback=callback)
        if self.noise_level is not None and count == self.n_iter_:
            warnings.warn(
                f"{type(self).__name__} used all max_iter={count} iterations on some slices, whose residual may still "
                f"be above noise_level={self.noise_level:g}; raise max_iter or noise_level.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return images

    def _solve(self, A, y, *, max_iter, tol, callback):
        """Images of the tensors ``y`` by one function of `tomolearn.solvers`."""
        raise NotImplementedError
