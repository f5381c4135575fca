"""What every estimator shares."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from mcstat.core.estimate import Estimate

__all__ = ["Estimator"]


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Configuration in ``__init__``, work in ``fit``, the answer from ``estimate()``.

    ``__init__`` only stores; ``fit`` checks, spends and returns self; fitted attributes end in an underscore;
    ``estimate()`` is pure and cheap and may be asked again and again.
    """

    def estimate(self) -> Estimate:
        """The Estimate of the method's default estimand.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        self._check_fitted()
        return self._make_estimate()

    def _make_estimate(self) -> Estimate:
        raise TypeError(f"{type(self).__name__} must define _make_estimate")

    def _check_fitted(self) -> None:
        check_is_fitted(self)

    def _forget(self) -> None:
        """Start ``fit`` from nothing: when it fails, no old answer must be left."""
        for name in [name for name in vars(self) if name.endswith("_") and not name.endswith("__")]:
            delattr(self, name)

    def __sklearn_is_fitted__(self) -> bool:
        """Fitted attributes end in one underscore."""
        return any(name.endswith("_") and not name.endswith("__") for name in vars(self))

    def _settings(self) -> dict[str, Any]:
        """Constructor arguments that are plain values, for ``Estimate.info["parameters"]``."""
        plain = (bool, int, float, str, type(None))
        return {name: value for name, value in self.get_params(deep=False).items() if isinstance(value, plain)}
