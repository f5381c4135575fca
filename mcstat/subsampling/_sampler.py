"""A small weighted sample of rows that keeps ``|A x|_p`` for all x."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.core.rows import RowBlocks
from mcstat.subsampling._designs import draw, inclusion_probabilities
from mcstat.subsampling._distortion import Distortion, embedding_distortion
from mcstat.subsampling._scores import SCORES, row_scores
from mcstat.subsampling._views import plot
from mcstat.subsampling._weighted import WeightedSample

__all__ = ["LpSampler"]

FloatArray = NDArray[np.float64]
DESIGNS = ("poisson", "fixed", "with_replacement")

# A round of root leverage that shrinks the sample by less than this is the last one.
_SHRINK = 0.9


class LpSampler(WeightedSample):
    """Sample rows of a tall matrix so that ``|S A x|_p`` is close to ``|A x|_p`` for every x.

    Parameters
    ----------
    p : float
        Order of the norm, >= 1.
    score : {"auto", "lewis", "leverage", "root_leverage", "sensitivity", "sensitivity+leverage", "uniform"}
        What the probabilities are proportional to. "auto": Lewis weights for p <= 2; for p > 2 these or sensitivities
        with leverage scores, whichever needs fewer rows by the bounds known. "root_leverage" (p < 2) samples in rounds,
        each on the sample of the round before.
    n_samples : int
        Expected number of rows (exact number for the other designs than "poisson").
    design : {"poisson", "fixed", "with_replacement"}
        Independent decisions; a fixed number of distinct rows; or independent draws.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    indices_ : ndarray, shape (m,)
        Rows taken, ascending.
    weights_ : ndarray, shape (m,)
        1 / probability: what sums over rows are to be weighted by, scikit-learn's ``sample_weight``.
    scale_ : ndarray, shape (m,)
        weights_^(1/p): what the rows themselves are to be multiplied by.
    rows_ : ndarray, shape (m, d)
        The rows taken, as they are.
    scores_ : ndarray, shape (n,)
        Of all rows ("root_leverage": those of the first round).
    score_ : str
        The score that was used.
    expected_size_ : float

    Notes
    -----
    Rows needed for a distortion eps, up to logarithms and constants that depend on p: eps^-2 d for Lewis weights and
    p <= 2, eps^-2 d^(p/2) for p > 2; with S the total sensitivity, eps^-2 S^(2/p) for sensitivities and p < 2 and
    eps^-2 S^(2 - 2/p) for p > 2 [1]_; eps^-2 d^(2/p) S^(2 - 4/p) for the combination. Bounds hide constants: measure
    with :meth:`distortion`. To sample a regression problem, fit the matrix [X y] and not X alone.

    References
    ----------
    .. [1] Woodruff, D. P., Yasuda, T. (2023). Sharper bounds for lp sensitivity sampling. ICML. arXiv:2306.00732.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import LpSampler
    >>> X = np.random.default_rng(0).normal(size=(5000, 4))
    >>> sampler = LpSampler(p=1, n_samples=500, design="fixed", random_state=0).fit(X)
    >>> len(sampler.indices_), bool(sampler.distortion(X).value < 0.3)
    (500, True)
    """

    def __init__(
        self,
        p: float = 2,
        *,
        score: str = "auto",
        n_samples: int = 1000,
        design: str = "poisson",
        random_state: RandomState = None,
    ) -> None:
        self.p = p
        self.score = score
        self.n_samples = n_samples
        self.design = design
        self.random_state = random_state

    def fit(self, X: Any, y: None = None, *, sample_weight: ArrayLike | None = None) -> Self:
        """Find the scores and draw the rows.

        Parameters
        ----------
        X : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
        y : ignored
        sample_weight : array_like, shape (n,), optional
            Weights v: the sample is to keep sum v[i] ``|a_i' x|^p``. Dense data in memory only.

        Returns
        -------
        LpSampler
        """
        self._forget()
        p = check_real("p", self.p, 1.0)
        check_option("score", self.score, SCORES)
        check_option("design", self.design, DESIGNS)
        size = check_integer("n_samples", self.n_samples, 1)
        if self.score == "root_leverage" and p >= 2:
            raise InvalidParameter(f"score='root_leverage' wants p < 2, got p={p:g}")
        root, started = root_seed(self.random_state), perf_counter()
        rows = RowBlocks(X)
        if rows.n_rows < 2:
            raise InvalidData("X must have at least 2 rows, got 1")
        weight = _check_weight(sample_weight, rows)
        data = X if weight is None else np.asarray(rows.take(np.arange(rows.n_rows))) * weight[:, None] ** (1 / p)

        with single_threaded():
            self._draw(data, p, size, root)
            chosen = rows.take(self.indices_)
        self.rows_ = chosen.toarray() if hasattr(chosen, "toarray") else chosen
        self.weights_ = self._counts / self._expected
        if weight is not None:
            self.weights_ = self.weights_ * weight[self.indices_]
        self.scale_ = self.weights_ ** (1 / p)
        self._names = rows.names
        self._root, self._n_rows, self._seconds = root, rows.n_rows, perf_counter() - started
        return self

    def _draw(self, data: Any, p: float, size: int, root: np.random.SeedSequence) -> None:
        rng = stream(root, "LpSampler", Purpose.SAMPLE, 0)
        seed = int(stream(root, "LpSampler", Purpose.EXPLORE, 0).integers(2**62))
        self.scores_, self.score_ = row_scores(data, p, self.score, seed)
        scores, within, expected = self.scores_, np.arange(len(self.scores_)), np.ones(len(self.scores_))
        if self.score_ == "root_leverage":
            scores, within, expected = self._shrink_in_rounds(data, p, size, rng)
        probabilities = inclusion_probabilities(scores, size)
        taken = draw(probabilities, self.design, rng)
        self.indices_, self._counts = within[taken.indices], taken.counts
        self._expected = expected[taken.indices] * taken.expected
        self.expected_size_ = float(probabilities.sum())

    def _shrink_in_rounds(
        self, data: Any, p: float, size: int, rng: np.random.Generator
    ) -> tuple[FloatArray, NDArray[np.intp], FloatArray]:
        """Root leverage: keep 2 n^(1 - p/2) d^(p/2) rows by tau^(p/2), rescale, score anew, until few are left."""
        blocks = RowBlocks(data)
        scores, within, expected = self.scores_, np.arange(blocks.n_rows), np.ones(blocks.n_rows)
        while (goal := 2.0 * len(within) ** (1 - p / 2) * blocks.n_columns ** (p / 2)) < _SHRINK * len(within):
            if goal <= size:
                break
            taken = draw(inclusion_probabilities(scores, goal), "poisson", rng)
            within, expected = within[taken.indices], expected[taken.indices] * taken.expected
            sample = blocks.take(within) / expected[:, None] ** (1 / p)
            scores, _ = row_scores(sample, p, "root_leverage", 0)
        return scores, within, expected

    @property
    def sample_(self) -> FloatArray:
        """The rescaled rows S A, (m, d)."""
        self._check_fitted()
        return np.asarray(self.rows_ * self.scale_[:, None])

    def distortion(self, X: Any, *, random_state: RandomState = 0) -> Distortion:
        """Largest relative error of ``|S A x|_p^p`` over all x; see :func:`embedding_distortion`."""
        self._check_fitted()
        return embedding_distortion(X, self.sample_, self.p, random_state=random_state)

    def n_samples_for(self, X: Any, distortion: float, *, random_state: RandomState = 0) -> int:
        """Rows that would bring the distortion down to ``distortion``, with this sample as the pilot.

        The distortion falls like 1 / sqrt(rows): m (D / distortion)^2 rows, where D is that of this sample of m. No
        promise, because D is random and, but for the exact cases, a lower bound: measure the new sample, too.

        Parameters
        ----------
        X : array_like, data frame, CSR matrix, memory map or Dask array, shape (n, d)
            What the sampler was fitted to.
        distortion : float
            Goal, > 0.
        random_state : None, int, SeedSequence or Generator
            For the search of :func:`embedding_distortion`.

        Returns
        -------
        int
            At most n.
        """
        goal = check_real("distortion", distortion, 0.0, closed="neither")
        found = self.distortion(X, random_state=random_state).value
        return min(self._n_rows, int(np.ceil(self.expected_size_ * (found / goal) ** 2)))

    def plot(self, X: Any = None, axes: Any = None) -> Any:
        """Scores by rank, and where X is given the distortion against the number of rows (extra ``plot``).

        Parameters
        ----------
        X : array_like, shape (n, d), optional
            What the sampler was fitted to: it is sampled anew, three times at each of four sizes up to ``n_samples``.
        axes : matplotlib Axes, or two of them with X, optional

        Returns
        -------
        Axes, or array of two
        """
        self._check_fitted()
        return plot(self, X, axes)

    def _default_values(self, rows: FloatArray) -> FloatArray:
        return np.asarray(np.abs(rows) ** self.p)

    def _diagnostics(self) -> dict[str, Any]:
        return {"expected rows": self.expected_size_, "score": self.score_}


def _check_weight(sample_weight: ArrayLike | None, rows: RowBlocks) -> FloatArray | None:
    if sample_weight is None:
        return None
    weight = check_array("sample_weight", sample_weight, 1)
    if rows.kind != "dense":
        raise InvalidParameter("sample_weight wants dense X; multiply the rows by sample_weight^(1/p) yourself")
    if len(weight) != rows.n_rows or (weight < 0).any():
        raise InvalidData(f"sample_weight must hold {rows.n_rows} numbers >= 0, got shape {weight.shape}")
    return weight
