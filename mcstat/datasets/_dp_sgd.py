"""Logistic regression trained with differential privacy on real digits, and attacked: scores with a known epsilon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_real
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, RandomState, root_seed, stream

__all__ = ["DpSgdAttack", "dp_sgd_epsilon", "make_dp_sgd_attack"]

FloatArray = NDArray[np.float64]
_CLIP, _CLASSES = 1.0, 10
# A lit border pixel this bright has a gradient that is clipped, whatever the model says of it.
_BRIGHTNESS = 2.0 * _CLIP
_ORDERS = np.arange(2, 257)


@dataclass(frozen=True, kw_only=True)
class DpSgdAttack:
    """Scores of an attack on models trained by DP-SGD.

    Attributes
    ----------
    scores : ndarray, shape (n,)
        How much more the model believes in the canary's label than in others.
    membership : ndarray of bool, shape (n,)
        Whether the canary was in the training set.
    models : ndarray of int, shape (n,)
        Which model each score is from.
    accuracy : ndarray, shape (n_models,)
        Share of the digits that each model calls right.
    noise_multiplier, sample_rate : float
    n_iter : int
        Settings of the training.
    """

    scores: FloatArray
    membership: NDArray[np.bool_]
    models: NDArray[np.int64]
    accuracy: FloatArray
    noise_multiplier: float
    sample_rate: float
    n_iter: int

    def epsilon(self, delta: float = 1e-5) -> float:
        """Epsilon of the training at ``delta`` by its accountant, :func:`dp_sgd_epsilon`."""
        return dp_sgd_epsilon(self.noise_multiplier, self.sample_rate, self.n_iter, delta)


def make_dp_sgd_attack(
    n_models: int = 100,
    n_canaries: int = 10,
    *,
    n_pixels: int | None = None,
    noise_multiplier: float = 1.0,
    sample_rate: float = 0.1,
    n_iter: int = 200,
    n_jobs: int | None = None,
    random_state: RandomState = 0,
) -> DpSgdAttack:
    """Train multinomial logistic regressions on the digits by DP-SGD and attack them by canaries.

    Each canary is an image with one lit pixel in a border that is black in all real digits, under a random label. It is
    in the training set of each model with probability 1/2. The attack reads the model's belief in that label: a real
    attack on the finished model, which knows nothing of the steps between.

    Parameters
    ----------
    n_models, n_canaries : int
        Models, and canaries of each: ``n_models * n_canaries`` challenges.
    n_pixels : int, optional
        Border pixels that the canaries of a model share in turn; default one each. Canaries that light the same pixel
        are learnt and forgotten together, so that their scores depend on each other.
    noise_multiplier : float
        Standard deviation of the noise over the clipping norm of a gradient.
    sample_rate : float
        Probability that an example takes part in a step, in (0, 1].
    n_iter : int
        Steps.
    n_jobs : int, optional
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    DpSgdAttack

    Notes
    -----
    A gradient of one example is (p - y) x', so its norm is a product of two and all gradients of a step are clipped and
    summed by one matrix product [1]_. The 1797 digits of 8 x 8 pixels are those that scikit-learn ships. Some 20 ms a
    model.

    References
    ----------
    .. [1] Abadi, M. and others (2016). Deep learning with differential privacy. CCS, 308-318. arXiv:1607.00133.

    Examples
    --------
    >>> from mcstat.datasets import make_dp_sgd_attack
    >>> attack = make_dp_sgd_attack(n_models=3, n_canaries=4, random_state=0)
    >>> attack.scores.shape, round(attack.epsilon(1e-5), 2)
    ((12,), 11.14)
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    n_models, n_canaries = check_integer("n_models", n_models, 1), check_integer("n_canaries", n_canaries, 1)
    training = _Training(
        images / 16.0,
        np.eye(_CLASSES)[labels],
        np.arange(n_canaries) % check_integer("n_pixels", n_canaries if n_pixels is None else n_pixels, 1),
        check_real("noise_multiplier", noise_multiplier, 0.0, closed="neither"),
        check_real("sample_rate", sample_rate, 0.0, 1.0, closed="right"),
        check_integer("n_iter", n_iter, 1),
        root_seed(random_state),
    )
    found = map_tasks(training, range(n_models), n_jobs=n_jobs, label="models")
    scores, included, accuracy = (np.array(part) for part in zip(*found, strict=True))
    return DpSgdAttack(
        scores=scores.ravel(),
        membership=included.ravel(),
        models=np.repeat(np.arange(n_models), n_canaries),
        accuracy=accuracy,
        noise_multiplier=training.noise,
        sample_rate=training.rate,
        n_iter=training.n_iter,
    )


@dataclass(frozen=True)
class _Training:
    """Trains model k and scores its canaries."""

    x: FloatArray
    y: FloatArray
    pixels: NDArray[np.int64]
    noise: float
    rate: float
    n_iter: int
    root: SeedSequence

    def __call__(self, k: int) -> tuple[FloatArray, NDArray[np.bool_], float]:
        rng = stream(self.root, "make_dp_sgd_attack", Purpose.REPLICATES, k)
        n_canaries = len(self.pixels)
        labels = np.eye(_CLASSES)[rng.integers(_CLASSES, size=n_canaries)]
        included = rng.random(n_canaries) < 0.5
        bright = np.full(n_canaries, _BRIGHTNESS)
        # Weights of the real pixels, and those of the border pixels, which only the canaries light.
        weights, border = np.zeros((self.x.shape[1], _CLASSES)), np.zeros((self.pixels.max() + 1, _CLASSES))
        # Larger steps would teach the canaries' labels, and a learnt canary has no gradient left.
        step = 1.0 / (self.rate * len(self.x))
        for _ in range(self.n_iter):
            batch = rng.random(len(self.x)) < self.rate
            x = self.x[batch]
            gradient = x.T @ _clipped(_softmax(x @ weights) - self.y[batch], np.linalg.norm(x, axis=1))
            lit = included & (rng.random(n_canaries) < self.rate)
            error = _clipped(_softmax(_BRIGHTNESS * border[self.pixels]) - labels, bright)
            gradient_border = np.zeros_like(border)
            np.add.at(gradient_border, self.pixels, _BRIGHTNESS * error * lit[:, None])
            weights -= step * (gradient + self._noise(rng, weights))
            border -= step * (gradient_border + self._noise(rng, border))
        scores = np.sum(border[self.pixels] * (labels - 1.0 / _CLASSES), axis=1)
        accuracy = np.mean(np.argmax(self.x @ weights, axis=1) == np.argmax(self.y, axis=1))
        return scores, included, float(accuracy)

    def _noise(self, rng: Generator, like: FloatArray) -> FloatArray:
        return np.asarray(self.noise * _CLIP * rng.standard_normal(like.shape))


def dp_sgd_epsilon(noise_multiplier: float, sample_rate: float, n_iter: int, delta: float = 1e-5) -> float:
    """Epsilon of the Poisson-subsampled Gaussian mechanism run ``n_iter`` times, by Rényi accounting.

    Parameters
    ----------
    noise_multiplier : float
        Positive.
    sample_rate : float
        In (0, 1].
    n_iter : int
    delta : float
        In (0, 1).

    Returns
    -------
    float
        An upper bound of the true epsilon, for datasets that differ by one added example. It is some 10 % loose.

    Notes
    -----
    Rényi divergences of integer orders 2 to 256 [1]_, converted at the best of them by Theorem 21 of [2]_.

    References
    ----------
    .. [1] Mironov, I., Talwar, K. and Zhang, L. (2019). Rényi differential privacy of the sampled Gaussian mechanism.
       arXiv:1908.10530.
    .. [2] Balle, B. and others (2020). Hypothesis testing interpretations and Rényi differential privacy. AISTATS.
       arXiv:1905.09982.
    """
    check_real("noise_multiplier", noise_multiplier, 0.0, closed="neither")
    check_real("sample_rate", sample_rate, 0.0, 1.0, closed="right")
    check_real("delta", delta, 0.0, 1.0, closed="neither")
    total = check_integer("n_iter", n_iter, 1) * renyi_divergences(noise_multiplier, sample_rate)
    a = _ORDERS
    epsilons = total + np.log1p(-1 / a) - (np.log(delta) + np.log(a)) / (a - 1)
    return float(max(np.min(epsilons), 0.0))


def renyi_divergences(noise_multiplier: float, sample_rate: float) -> FloatArray:
    """Rényi divergence of one step at the orders 2, ..., 256.

    At order a it is log(sum_k C(a, k) (1 - q)^(a - k) q^k exp(k (k - 1) / (2 sigma^2))) / (a - 1).
    """
    from scipy.special import gammaln, logsumexp, xlog1py, xlogy

    a, k = _ORDERS[:, None].astype(float), np.arange(_ORDERS[-1] + 1.0)[None, :]
    rest = np.maximum(a - k, 0.0)
    log_terms = (
        gammaln(a + 1) - gammaln(k + 1) - gammaln(rest + 1) + xlogy(k, sample_rate) + xlog1py(rest, -sample_rate)
    )
    log_terms = np.where(k <= a, log_terms + k * (k - 1) / (2 * noise_multiplier**2), -np.inf)
    return np.asarray(logsumexp(log_terms, axis=1) / (_ORDERS - 1))


def _softmax(logits: FloatArray) -> FloatArray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _clipped(errors: FloatArray, norms: FloatArray) -> FloatArray:
    """Errors p - y (n, classes) scaled so that the gradients, error times an x of the given norm, are clipped."""
    size = np.linalg.norm(errors, axis=1) * norms
    return np.asarray(errors * np.minimum(1.0, _CLIP / np.maximum(size, 1e-300))[:, None])
