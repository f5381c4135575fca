"""Ways of choosing the rows to train on, side by side: score against time, selection included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier

from mcstat.core.checks import check_integer, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, RandomState, child_seed, entropy_of, root_seed, stream
from mcstat.subsampling._partial import Learner, hold_out
from mcstat.subsampling._rounds import MODES, Rounds, learning_rates, subset_size, updates_per_round
from mcstat.subsampling._rs2 import RS2Estimator, Training, time_to_target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SelectionComparison", "compare_selection"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Selector = Callable[[FloatArray, NDArray[Any], int, Generator], ArrayLike]
NAME = "compare_selection"
FULL, STATIC = "full data, equal updates", "static random"
RS2 = {"rs2, without replacement": MODES[0], "rs2, with replacement": MODES[1]}


@dataclass(frozen=True, kw_only=True)
class SelectionComparison:
    """What :func:`compare_selection` found.

    Attributes
    ----------
    scores : Estimate
        Mean final score of each method on test rows: accuracy, or minus the mean squared error. Its draws are the
        replicates, which all methods share, so that differences of methods are sharper than the methods.
    history : DataFrame
        A row a method, replicate and round: updates, score, and seconds of selection, training and evaluation so far.
    target : float or None
        Score whose time was taken.
    """

    scores: Estimate
    history: pd.DataFrame
    target: float | None

    def to_frame(self) -> pd.DataFrame:
        """A row a method: score, std_error, median seconds of selection and of training, and of reaching the target.

        ``time_to_target`` is text: the median over replicates, "> t" where that many did not get there in the t seconds
        they took, "" without a target.
        """
        import pandas as pd

        rows = []
        for name, score, error in zip(self.scores.names, self.scores.value, self.scores.std_error, strict=True):
            runs = [run for _, run in self.history[self.history["method"] == name].groupby("replicate")]
            ends = pd.DataFrame([run.iloc[-1] for run in runs])
            rows.append(
                {
                    "method": name,
                    "score": score,
                    "std_error": error,
                    "selection_seconds": float(ends["selection_seconds"].median()),
                    "training_seconds": float(ends["training_seconds"].median()),
                    "time_to_target": self._time_to_target(runs, ends),
                }
            )
        return pd.DataFrame(rows)

    def _time_to_target(self, runs: list[pd.DataFrame], ends: pd.DataFrame) -> str:
        if self.target is None:
            return ""
        # The upper median: it is finite only where more than half of the replicates got there.
        median = np.sort([time_to_target(run, self.target) for run in runs])[len(runs) // 2]
        if np.isfinite(median):
            return f"{median:.3g}"
        return f"> {(ends['selection_seconds'] + ends['training_seconds']).median():.3g}"

    def __repr__(self) -> str:
        return self.to_frame().to_string(index=False, float_format=lambda value: f"{value:.4g}")


def compare_selection(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    ratio: float = 0.1,
    n_rounds: int = 50,
    batch_size: int | None = None,
    selectors: Mapping[str, Selector] | None = None,
    learning_rate: str = "cosine",
    eta0: float | None = None,
    eta_min: float = 1e-4,
    target: float | None = None,
    validation_fraction: float = 0.2,
    n_replicates: int = 5,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> SelectionComparison:
    """Train on rows chosen in several ways, with the same number of updates on the same schedule, and compare.

    Always there: a static random subset, RS2 in both modes, and all data cut into batches of the same size for the same
    number of updates. That last one is the honest baseline of any data pruning, and close to RS2 without replacement.

    Parameters
    ----------
    estimator, ratio, n_rounds, batch_size, learning_rate, eta0, eta_min
        As in :class:`RS2Estimator`.
    X : array_like or data frame, shape (n, d)
    y : array_like, shape (n,)
    selectors : mapping of str to callable, optional
        Other ways to choose one subset: ``select(X, y, m, rng)`` gets the training rows and returns the places of
        the m different ones to keep. Its time counts.
    target : float, optional
        Score whose time is taken: accuracy, or minus the mean squared error.
    validation_fraction : float
        Share of the rows that the methods are tested on, in (0, 1).
    n_replicates : int
        >= 2; each splits the rows anew and trains every method.
    n_jobs : int, optional
        Replicates at the same time; they slow each other's clocks.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    SelectionComparison

    Raises
    ------
    TypeError
        An estimator without ``partial_fit``, a selector that is no function.
    InvalidParameter, InvalidData

    Notes
    -----
    The standard errors are about the mean over splits of *these* rows and over seeds; they are not about other data.

    References
    ----------
    .. [1] Okanovic, P., et al. (2024). Repeated random sampling for minimizing the time-to-accuracy of learning. ICLR.
       arXiv:2305.18424.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import SGDClassifier
    >>> from mcstat.subsampling import compare_selection
    >>> X = np.random.default_rng(0).normal(size=(500, 20))
    >>> found = compare_selection(SGDClassifier(), X, X[:, 0] > 0, n_rounds=20, n_replicates=4, random_state=0)
    >>> found.to_frame()["method"].tolist()[:2]
    ['full data, equal updates', 'static random']
    >>> gain = found.scores.transform(lambda score: score[2] - score[1], names=["rs2 over static"])
    >>> bool(float(gain) > 0)
    True
    """
    chosen = _check_selectors(selectors)
    check_integer("n_rounds", n_rounds, 1)
    check_integer("n_replicates", n_replicates, 2)
    check_real("validation_fraction", validation_fraction, 0.0, 1.0, closed="neither")
    if target is not None:
        check_real("target", target)
    root = root_seed(random_state)
    settings = RS2Estimator(
        estimator, ratio=ratio, n_rounds=n_rounds, batch_size=batch_size, learning_rate=learning_rate, eta0=eta0,
        eta_min=eta_min, validation_fraction=validation_fraction,
    )  # fmt: skip
    X, y, _, _ = settings._check_data(X, y, None)
    seeds = [child_seed(root, NAME, Purpose.REPLICATES, k) for k in range(n_replicates)]
    task = partial(_replicate, settings, X, y, chosen)
    histories = map_tasks(task, seeds, n_jobs=n_jobs, prefer="processes", label=NAME)
    return _result(histories, target, is_classifier(estimator), root)


def _check_selectors(selectors: Mapping[str, Selector] | None) -> dict[str, Selector]:
    chosen = dict(selectors or {})
    for name, select in chosen.items():
        if not callable(select):
            raise TypeError(f"selectors[{name!r}] must be a function (X, y, m, rng) -> places, got {select!r}")
        if name in (FULL, STATIC, *RS2):
            raise InvalidParameter(f"selectors must not be named {name!r}: that one is always there")
    return chosen


def _replicate(
    settings: RS2Estimator, X: FloatArray, y: NDArray[Any], selectors: dict[str, Selector], seed: SeedSequence
) -> dict[str, list[dict[str, Any]]]:
    """Histories of all methods, by name, on one split of the rows."""
    train, test = hold_out(len(y), settings.validation_fraction, seed, NAME)
    m = subset_size(len(train), settings.ratio)
    batch = m if settings.batch_size is None else min(settings.batch_size, m)
    updates = updates_per_round(m, batch)
    histories = {}
    for name in (FULL, STATIC, *RS2, *selectors):
        learner = Learner(settings.estimator, getattr(settings, "classes_", None), settings.eta0, seed, NAME)
        total = settings.n_rounds * updates
        rates = learning_rates(settings.learning_rate, total, learner.eta0, settings.eta_min)
        training = Training(learner, X, y, None, train, test, batch, rates)
        start = perf_counter()
        draw = _draws(name, selectors.get(name), X[train], y[train], m, batch, seed)
        training.spend(perf_counter() - start if name in selectors else 0.0)
        for _ in range(settings.n_rounds):
            training.round(draw)
        histories[name] = training.history
    return histories


def _draws(
    name: str, select: Selector | None, X: FloatArray, y: NDArray[Any], m: int, batch: int, seed: SeedSequence
) -> Callable[[int], IntArray]:
    """The rows of round k, by the method's name."""
    if name in RS2:
        return Rounds(len(y), m, RS2[name], seed, name).rows
    if name == FULL:
        updates = updates_per_round(m, batch)
        batches = Rounds(len(y), batch, MODES[0], seed, name)
        return lambda k: np.concatenate([batches.rows(k * updates + i) for i in range(updates)])
    rng = stream(seed, name, Purpose.SAMPLE, 0)
    subset = rng.permutation(len(y))[:m] if select is None else _selected(name, select, X, y, m, rng)
    return lambda k: stream(seed, name, Purpose.RESAMPLE, k).permutation(subset)


def _selected(name: str, select: Selector, X: FloatArray, y: NDArray[Any], m: int, rng: Generator) -> IntArray:
    places = np.asarray(select(X, y, m, rng))
    good = places.shape == (m,) and places.dtype.kind in "iu" and len(np.unique(places)) == m
    if not good or places.min() < 0 or places.max() >= len(y):
        wanted = f"{m} different places among 0, ..., {len(y) - 1}"
        raise InvalidData(f"selectors[{name!r}] must return {wanted}, got {places.dtype} of shape {places.shape}")
    return places.astype(np.int64)


def _result(
    histories: list[dict[str, list[dict[str, Any]]]], target: float | None, classifier: bool, root: SeedSequence
) -> SelectionComparison:
    import pandas as pd

    names = list(histories[0])
    frames = [
        pd.DataFrame(run[name]).assign(method=name, replicate=k, round=range(len(run[name])))
        for k, run in enumerate(histories)
        for name in names
    ]
    what = "accuracy" if classifier else "minus the mean squared error"
    scores = Estimate.from_draws(
        [[run[name][-1]["score"] for name in names] for run in histories],
        names=names,
        kind="monte_carlo",
        df=len(histories) - 1,
        estimand=f"mean {what} on test rows, over splits and seeds",
        method=NAME,
        info={"entropy": entropy_of(root), "n_replicates": len(histories)},
    )
    return SelectionComparison(scores=scores, history=pd.concat(frames, ignore_index=True), target=target)
