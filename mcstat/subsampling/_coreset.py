"""Coresets of tasks that are not norms: logistic and quantile regression, k-means."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_array, check_integer, check_option
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import Purpose, RandomState, root_seed, stream
from mcstat.core.rows import RowBlocks
from mcstat.subsampling._designs import draw, inclusion_probabilities
from mcstat.subsampling._leverage import leverage_scores
from mcstat.subsampling._lewis import lewis_weights
from mcstat.subsampling._weighted import WeightedSample

__all__ = ["Coreset"]

FloatArray = NDArray[np.float64]
TASKS = ("logistic", "quantile", "kmeans")


class Coreset(WeightedSample):
    """Choose weighted rows on which a model's loss is close to its loss on all rows.

    Parameters
    ----------
    task : {"logistic", "quantile", "kmeans"}
        "logistic": probabilities proportional to 1 / n plus the square root of the leverage scores [1]_. "quantile": l1
        Lewis weights of [1 X y], for all quantiles at once. "kmeans": the lightweight coreset, half uniform and half by
        the squared distance from the mean [2]_, for every number of centres.
    n_samples : int
        Expected number of rows.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    indices_, weights_ : ndarray, shape (m,)
        Rows taken, ascending, and what their losses are to be multiplied by (scikit-learn's ``sample_weight``).
    rows_ : ndarray, shape (m, d)
        The rows of X taken.
    scores_ : ndarray, shape (n,)

    Notes
    -----
    Rows are drawn independently. ``estimate(loss)`` gives the total of a loss over all n rows from the sample, with
    its standard error; the default totals are the columns' sums of squares about zero. The size that a given accuracy
    needs depends on the data (for logistic regression, on how nearly the classes separate): look at the standard error.

    References
    ----------
    .. [1] Munteanu, A., Schwiegelshohn, C., Sohler, C., Woodruff, D. P. (2018). On coresets for logistic regression.
       NeurIPS. arXiv:1805.08571.
    .. [2] Bachem, O., Lucic, M., Krause, A. (2018). Scalable k-means clustering via lightweight coresets. KDD.
       arXiv:1702.08248.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.subsampling import Coreset
    >>> X = np.random.default_rng(0).normal(size=(5000, 2))
    >>> coreset = Coreset("kmeans", n_samples=300, random_state=0).fit(X)
    >>> loss = coreset.estimate(lambda rows: (rows**2).sum(axis=1))
    >>> bool(abs(float(loss) - (X**2).sum()) < 4 * loss.std_error[0])
    True
    """

    def __init__(self, task: str, *, n_samples: int = 1000, random_state: RandomState = None) -> None:
        self.task = task
        self.n_samples = n_samples
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Score the rows and draw.

        Parameters
        ----------
        X : array_like, data frame, memory map or Dask array, shape (n, d)
        y : array_like, shape (n,), optional
            Needed for "quantile"; for "logistic" the scores do not depend on the labels' signs.

        Returns
        -------
        Coreset
        """
        self._forget()
        check_option("task", self.task, TASKS)
        size = check_integer("n_samples", self.n_samples, 1)
        root, started = root_seed(self.random_state), perf_counter()
        rows = RowBlocks(X)
        if rows.n_rows < 2:
            raise InvalidData("X must have at least 2 rows, got 1")
        response = None if y is None else check_array("y", y, 1)
        if response is not None and len(response) != rows.n_rows:
            raise InvalidData(f"y must have {rows.n_rows} entries like X, got {len(response)}")
        with single_threaded():
            scores = self._scores(rows, response)
            taken = draw(inclusion_probabilities(scores, size), "poisson", stream(root, "Coreset", Purpose.SAMPLE, 0))
            chosen = rows.take(taken.indices)
        self.rows_ = chosen.toarray() if hasattr(chosen, "toarray") else chosen
        self.scores_, self.indices_, self.weights_ = scores, taken.indices, taken.counts / taken.expected
        self._counts, self._expected = taken.counts, taken.expected
        self._names, self._root, self._n_rows = rows.names, root, rows.n_rows
        self._seconds = perf_counter() - started
        return self

    def _scores(self, rows: RowBlocks, response: FloatArray | None) -> FloatArray:
        if self.task == "kmeans":
            mean = np.sum(list(rows.map(_column_sums)), axis=0) / rows.n_rows
            distance = np.concatenate(list(rows.map(lambda block: _squared_distances(block, mean))))
            spread = distance / distance.sum() if distance.any() else 1.0 / rows.n_rows
            return np.asarray(0.5 / rows.n_rows + 0.5 * spread)
        matrix = np.concatenate(list(rows.map(lambda block: block.toarray() if hasattr(block, "toarray") else block)))
        with_constant = np.column_stack([np.ones(rows.n_rows), matrix])
        if self.task == "logistic":
            return np.asarray(1.0 / rows.n_rows + np.sqrt(leverage_scores(with_constant)))
        if response is None:
            raise InvalidParameter("task='quantile' wants y: the rows of [X y] are scored")
        return np.asarray(lewis_weights(np.column_stack([with_constant, response]), 1, tol=0.05))

    def _default_values(self, rows: FloatArray) -> FloatArray:
        return rows**2


def _column_sums(block: Any) -> FloatArray:
    return np.asarray(block.sum(axis=0)).ravel()


def _squared_distances(block: Any, centre: FloatArray) -> FloatArray:
    dense = block.toarray() if hasattr(block, "toarray") else block
    return np.asarray(((dense - centre) ** 2).sum(axis=1))
