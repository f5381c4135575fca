"""A Bayesian logistic regression on real data, with reference moments from a long MCMC run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticPosterior:
    """Log density of the coefficients given the data, and what is known about it.

    Attributes
    ----------
    design : ndarray, shape (n_rows, d)
        A column of ones and the standardised features.
    signs : ndarray, shape (n_rows,)
        1 for the class "benign", -1 for "malignant".
    names : tuple of str
        d coefficient names.
    reference_mean, reference_sd, reference_mcse : ndarray, shape (d,)
        Posterior moments from a long MCMC run, and the Monte Carlo errors of those means.
    """

    design: FloatArray
    signs: FloatArray
    names: tuple[str, ...]
    reference_mean: FloatArray
    reference_sd: FloatArray
    reference_mcse: FloatArray

    def log_density(self, coefficients: FloatArray) -> FloatArray:
        """Log posterior up to a constant, (n, d) to (n,): Bernoulli likelihood, independent N(0, 1) priors."""
        margins = (coefficients @ self.design.T) * self.signs
        # log(1 + exp(-m)) without overflow.
        losses = np.maximum(-margins, 0.0) + np.log1p(np.exp(-np.abs(margins)))
        return np.asarray(-losses.sum(axis=1) - 0.5 * np.sum(coefficients**2, axis=1))


def load_logistic_posterior() -> LogisticPosterior:
    """Breast-cancer data of scikit-learn (569 patients, 30 features): posterior of 31 logistic coefficients.

    Returns
    -------
    LogisticPosterior

    Notes
    -----
    The data are the Wisconsin diagnostic breast-cancer set as shipped by scikit-learn (CC BY 4.0). The reference
    moments were made by ``validation/importance/reference_logistic.py``.
    """
    design, signs, names = _design()
    reference = json.loads(files("mcstat.datasets").joinpath("data/logistic_reference.json").read_text("utf-8"))
    return LogisticPosterior(
        design=design,
        signs=signs,
        names=names,
        reference_mean=np.array(reference["mean"]),
        reference_sd=np.array(reference["sd"]),
        reference_mcse=np.array(reference["mcse"]),
    )


def _design() -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Design matrix, signs of the classes and coefficient names; the reference script starts from them too."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    features = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    design = np.column_stack([np.ones(len(features)), features])
    return design, 2.0 * data.target - 1.0, ("intercept", *(str(name) for name in data.feature_names))
