"""The posterior of epsilon under the assumption that the trade-off curve is Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_integer, check_level
from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.privacy._gdp import eps_to_gdp, find_roots, gdp_to_eps, mu_from_rates
from mcstat.privacy._posterior import EpsilonPosterior

__all__ = ["GaussianPosterior"]

FloatArray = NDArray[np.float64]
# Panels end at these quantiles of each rate, and at their mirror images.
_LEVELS = np.array([1e-17, 1e-12, 1e-6, 1e-3, 0.02, 0.15, 0.5])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
# Values at once: some 40 panels of 12 nodes each.
_CHUNK = 512


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianPosterior(EpsilonPosterior):
    """Posterior law of epsilon when the attack's rates lie on a Gaussian trade-off curve.

    With X and Y the probits of the two error rates, mu = abs(X + Y) is the distance of the two normal laws that the
    attack tells apart, and epsilon is that of mu-Gaussian privacy at ``delta``.

    Parameters
    ----------
    fn, fp, tn, tp, delta, prior, allow_empty
        As of :class:`EpsilonPosterior`; ``delta`` must be positive.

    Notes
    -----
    The Gaussian curve is an assumption that counts at one threshold cannot check. One point of the curve then decides
    all of it, and epsilon can be far above the one that the counts show without the assumption.

    P(mu > m) is one integral over X, by 12-node Gauss-Legendre panels between the quantiles of both probits: about half
    a millisecond, to some 1e-10.
    """

    def __post_init__(self) -> None:
        """Refuse delta = 0, where every Gaussian mechanism has infinite epsilon."""
        super().__post_init__()
        if np.any(self.delta == 0):
            raise InvalidParameter("delta must be positive for the Gaussian posterior, got 0")

    def mu_interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Equal-tailed credible interval of mu, (q,) each."""
        tail = (1 - check_level(level)) / 2
        ends = self._mu_quantiles(np.tile([tail, 1 - tail], (len(self), 1)))
        return ends[:, 0], ends[:, 1]

    def hpd(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Shortest interval that holds ``level``, (q,) each; it begins at 0 where that is shortest."""
        from scipy.optimize import minimize_scalar

        room = 1 - check_level(level)
        found = []
        for table in (self[i] for i in range(len(self))):

            def width(p: float, table: GaussianPosterior = table) -> float:
                return float(np.diff(table.ppf([p, p + level]))[0])

            best = float(minimize_scalar(width, bounds=(0.0, room), method="bounded", options={"xatol": 1e-9}).x)
            best = best if width(best) < width(0.0) else 0.0
            found.append(table.ppf([best, best + level]))
        low, high = np.array(found).T
        return low, high

    def moments(self, n_jobs: int | None = None, verbose: bool = True) -> tuple[FloatArray, FloatArray]:
        """Posterior mean and standard deviation, (q,) each."""
        p = np.concatenate([_LEVELS, 1 - _LEVELS[-2:2:-1]])
        edges = np.column_stack([np.zeros(len(self)), self._mu_quantiles(np.tile(p, (len(self), 1))), self._most_mu()])
        mu, weights = _panels(np.maximum.accumulate(edges, axis=1))
        density = self._mu_tail_and_density(mu)[1] * weights
        epsilon = gdp_to_eps(mu, self.delta[:, None])
        density /= density.sum(axis=1, keepdims=True)
        mean = (density * epsilon).sum(axis=1)
        return mean, np.sqrt((density * (epsilon - mean[:, None]) ** 2).sum(axis=1))

    def rvs(self, size: int = 1, random_state: RandomState = None) -> FloatArray:
        """Independent draws, (size, q)."""
        n = check_integer("size", size, 0)
        rng = stream(root_seed(random_state), type(self).__name__, Purpose.SAMPLE, 0)
        shapes = self._shapes()
        x = rng.beta(shapes[:, 0], shapes[:, 1], size=(n, len(self)))
        y = rng.beta(shapes[:, 2], shapes[:, 3], size=(n, len(self)))
        return gdp_to_eps(mu_from_rates(x, y), self.delta)

    def _tail_and_density(self, x: object) -> tuple[FloatArray, FloatArray]:
        from scipy.special import log_ndtr

        at, restore = self._rows(np.asarray(x, dtype=np.float64))
        tail, density = np.where(at < 0, 1.0, 0.0), np.zeros(at.shape)
        inside = (at >= 0) & np.isfinite(at)
        epsilon = np.where(inside, at, 0.0)
        mu = eps_to_gdp(epsilon, self.delta[:, None])
        of_mu = self._mu_tail_and_density(mu)
        # d mu / d epsilon at a fixed delta is Mills' ratio at u.
        u = mu / 2 + epsilon / mu
        slope = np.exp(log_ndtr(-u) + 0.5 * u**2) * np.sqrt(2 * np.pi)
        tail[inside], density[inside] = of_mu[0][inside], (of_mu[1] * slope)[inside]
        tail[np.isnan(at)] = density[np.isnan(at)] = np.nan
        return restore(tail), restore(density)

    def _quantiles(self, p: FloatArray, n_jobs: int | None = None, verbose: bool = True) -> FloatArray:
        rows, restore = self._rows(p)
        epsilon = np.full(rows.shape, np.inf)
        mu = self._mu_quantiles(np.where(rows < 1, rows, 0.5))
        epsilon[rows < 1] = gdp_to_eps(mu, self.delta[:, None])[rows < 1]
        return restore(epsilon)

    def _mu_quantiles(self, p: FloatArray) -> FloatArray:
        """Quantiles p (q, k) of mu, (q, k)."""
        rows = np.repeat(np.arange(len(self)), p.shape[1])
        mu, wanted = np.zeros(p.size), p.ravel()
        # Below this P(mu > 0) = 1 is known no better.
        some = wanted > 1e-14
        shapes, most = self._shapes()[rows[some]], self._most_mu()[rows[some]]
        index = np.arange(len(shapes), dtype=np.float64)
        mu[some] = find_roots(
            lambda m, row, q: 1 - q - _in_chunks(m, shapes[row.astype(int)])[0], 0 * most, most, index, wanted[some]
        )
        return mu.reshape(p.shape)

    def _mu_tail_and_density(self, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """P(mu > m) and the density at m (q, k)."""
        tail, density = _in_chunks(mu.ravel(), np.repeat(self._shapes(), mu.shape[1], axis=0))
        return tail.reshape(mu.shape), density.reshape(mu.shape)

    def _most_mu(self) -> FloatArray:
        """Where P(mu > m) is nothing in double precision, (q,)."""
        shapes = self._shapes()
        x, y = _probit_quantiles(shapes[:, :2]), _probit_quantiles(shapes[:, 2:])
        return np.asarray(np.maximum(-x[:, 0] - y[:, 0], x[:, -1] + y[:, -1]) + 1e-3)


def _in_chunks(mu: FloatArray, shapes: FloatArray) -> tuple[FloatArray, FloatArray]:
    tail, density = np.empty(len(mu)), np.empty(len(mu))
    for start in range(0, len(mu), _CHUNK):
        rows = slice(start, start + _CHUNK)
        tail[rows], density[rows] = _tail_and_density(mu[rows], shapes[rows])
    return tail, density


def _tail_and_density(mu: FloatArray, shapes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P(abs(X + Y) > mu) and its density, (n,) each, of tables with shapes (n, 4)."""
    from scipy.special import betainc, ndtr

    at, first, second = mu[:, None], shapes[:, :2], shapes[:, 2:]
    edges, other = _probit_quantiles(first), _probit_quantiles(second)
    cuts = np.concatenate([edges, at - other, -at - other], axis=1)
    x, weights = _panels(np.sort(np.clip(cuts, edges[:, :1], edges[:, -1:]), axis=1))
    weights = weights * _density(x, first)
    # Its sum is 1 but for rounding in the log density, which counts of 1e7 make visible.
    weights /= weights.sum(axis=1, keepdims=True)
    a, b = second[:, :1], second[:, 1:]
    outside = betainc(b, a, ndtr(x - at)) + betainc(a, b, ndtr(-at - x))
    density = _density(at - x, second) + _density(-at - x, second)
    return (weights * outside).sum(axis=1), (weights * density).sum(axis=1)


def _density(z: FloatArray, shapes: FloatArray) -> FloatArray:
    """Density of the probit of a Beta with shapes (n, 2), at z (n, k)."""
    from scipy.special import betaln, log_ndtr

    a, b = shapes[:, :1], shapes[:, 1:]
    log_density = (a - 1) * log_ndtr(z) + (b - 1) * log_ndtr(-z) - 0.5 * z**2 - betaln(a, b)
    return np.asarray(np.exp(log_density) / np.sqrt(2 * np.pi))


def _probit_quantiles(shapes: FloatArray) -> FloatArray:
    """Quantiles of the probit of Betas with shapes (n, 2) at the levels and their mirror images, (n, 13)."""
    from scipy.special import betaincinv, ndtri

    a, b = shapes[:, :1], shapes[:, 1:]
    lower, upper = ndtri(betaincinv(a, b, _LEVELS)), -ndtri(betaincinv(b, a, _LEVELS))
    return np.concatenate([lower, upper[:, -2::-1]], axis=1)


def _panels(edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights between neighbouring edges (n, k): (n, 12 (k - 1)) each."""
    half = 0.5 * np.diff(edges, axis=1)[:, :, None]
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])[:, :, None]
    shape = (len(edges), -1)
    return (middle + half * _NODES).reshape(shape), (half * _WEIGHTS).reshape(shape)
