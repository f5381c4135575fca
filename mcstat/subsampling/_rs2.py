"""Repeated random sampling: a fresh random subset of the rows in each round of training."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier

from mcstat._version import __version__
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import RandomState, entropy_of, root_seed
from mcstat.subsampling._partial import Learner, PartialFitEstimator, held_out_estimate, hold_out, losses
from mcstat.subsampling._rounds import MODES, Rounds, StratifiedRounds, learning_rates, subset_size, updates_per_round

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RS2Estimator", "Training", "time_to_target"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class RS2Estimator(PartialFitEstimator):
    """Train on a fresh random subset of the rows each round, on a schedule as long as the updates really made.

    Parameters
    ----------
    estimator : object
        Any scikit-learn classifier or regressor with ``partial_fit``; it is cloned. Rates are set on ``eta0`` (SGD) or
        ``learning_rate_init`` (multi-layer perceptrons); an estimator with neither, such as naive Bayes, has none.
    ratio : float
        Share of the training rows in a round, in (0, 1]: m = ratio * n to the nearest integer, halves to the even one.
    n_rounds : int
        Rounds; one takes the place of an epoch but uses m rows.
    mode : {"without_replacement", "with_replacement", "independent"}
        Across rounds. Without replacement the rounds walk through permutations of all rows: with n/m whole, n/m rounds
        are exactly one ordinary epoch, and all that is new is the shorter schedule. With replacement each round is an
        independent subset; "independent" draws with replacement inside a round too.
    batch_size : int, optional
        Rows of an update, which is one call of ``partial_fit`` (SGD takes its rows one by one in it, a perceptron cuts
        it into batches of its own); default: all m rows.
    learning_rate : {"cosine", "constant"}
        Cosine goes from ``eta0`` to ``eta_min`` over all n_rounds * ceil(m / batch_size) updates.
    eta0 : float, optional
        First rate; default: the estimator's own.
    eta_min : float
    stratify : bool
        Each round holds of each class its share, by largest remainders, and at least one row.
    early_stopping : bool
        Stop when the score on the held-out rows has not risen for ``n_iter_no_change`` rounds, or reached ``target``.
    validation_fraction : float
        Share of the rows held out, in [0, 1). With 0 all rows are trained on and there is no score.
    n_iter_no_change : int
    target : float, optional
        Score on the held-out rows whose time is taken: accuracy, or minus the mean squared error.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    estimator_ : object
        Trained.
    classes_ : ndarray
        Of a classifier.
    history_ : DataFrame
        A row a round: updates, rate, score, seen_fraction, and seconds of selection, training and evaluation so far.
    n_seen_ : int
        Different rows used in training.
    seen_fraction_ : float
        ``n_seen_`` over the number of training rows; 1 - (1 - ratio)^n_rounds on average with replacement,
        1 - (1 - 1/n)^(m n_rounds) with "independent".
    time_to_target_ : float
        Seconds of selection and training until the score first reached ``target``; inf where it never did, NaN without
        one.

    Notes
    -----
    Selecting costs O(m) a round with replacement, O(n) a pass without. Use as much learning-rate schedule as there are
    updates: a full-length schedule cut short is the usual unfair baseline (:func:`compare_selection` has the fair one).

    ``estimate()`` is the accuracy on the held-out rows with its exact binomial interval, or the mean squared error with
    its standard error; both are about new rows, given the trained model. Held-out rows count equally, whatever their
    ``sample_weight``.

    References
    ----------
    .. [1] Okanovic, P., Waleffe, R., Mageirakos, V., Nikolakakis, K., Karbasi, A., Kalogerias, D., Gürel, N. M.,
       Rekatsinas, T. (2024). Repeated random sampling for minimizing the time-to-accuracy of learning. ICLR.
       arXiv:2305.18424.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import SGDClassifier
    >>> from mcstat.subsampling import RS2Estimator
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> model = RS2Estimator(SGDClassifier(), n_rounds=20, random_state=0).fit(X, X[:, 0] > 0)
    >>> model.seen_fraction_, len(model.history_), bool(model.estimate().value[0] > 0.9)
    (1.0, 20, True)
    """

    def __init__(
        self,
        estimator: Any,
        *,
        ratio: float = 0.1,
        n_rounds: int = 50,
        mode: str = "without_replacement",
        batch_size: int | None = None,
        learning_rate: str = "cosine",
        eta0: float | None = None,
        eta_min: float = 1e-4,
        stratify: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        target: float | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.ratio = ratio
        self.n_rounds = n_rounds
        self.mode = mode
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.eta_min = eta_min
        self.stratify = stratify
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.target = target
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array_like, data frame or (where the estimator takes it) CSR matrix, shape (n, d)
        y : array_like, shape (n,), or (n, k) where the estimator takes several outputs
        sample_weight : array_like, shape (n,), optional
            Passed to ``partial_fit``.

        Returns
        -------
        RS2Estimator

        Raises
        ------
        TypeError
            An estimator without ``partial_fit``, or weights for one that takes none.
        InvalidParameter, InvalidData
        """
        self._forget()
        n_rounds = check_integer("n_rounds", self.n_rounds, 1)
        check_integer("n_iter_no_change", self.n_iter_no_change, 1)
        if self.target is not None:
            check_real("target", self.target)
        root, name = root_seed(self.random_state), type(self).__name__
        X, y, weight, _ = self._check_data(X, y, sample_weight)
        train, test = hold_out(len(y), self.validation_fraction, root, name)
        if self.early_stopping and len(test) == 0:
            raise InvalidParameter("validation_fraction must be positive with early_stopping, got 0")
        m = subset_size(len(train), self.ratio)
        rounds = self._rounds(y[train], m, root)
        learner = Learner(self.estimator, getattr(self, "classes_", None), self.eta0, root, name)
        total = n_rounds * updates_per_round(m, self.batch_size)
        rates = learning_rates(self.learning_rate, total, learner.eta0, self.eta_min)

        training = Training(learner, X, y, weight, train, test, self.batch_size or m, rates)
        try:
            with single_threaded(), progress_bar(n_rounds, "RS2") as advance:
                while training.n_rounds < n_rounds and not self._is_over(training):
                    training.round(rounds.rows)
                    advance()
        finally:
            # After Ctrl-C too: the rounds that are done answer.
            self._keep(training, root)
        return self

    def _rounds(self, y: NDArray[Any], m: int, root: SeedSequence) -> Rounds | StratifiedRounds:
        mode = check_option("mode", self.mode, MODES)
        if not self.stratify:
            return Rounds(len(y), m, mode, root)
        if not hasattr(self, "classes_") or y.ndim != 1:
            raise InvalidParameter("stratify wants one label a row, got the y of a regression or of several outputs")
        return StratifiedRounds(np.unique(y, return_inverse=True)[1], m, mode, root)

    def _is_over(self, training: Training) -> bool:
        if not self.early_stopping or not training.history:
            return False
        scores = [row["score"] for row in training.history]
        stale = len(scores) - 1 - int(np.argmax(scores)) >= self.n_iter_no_change
        return stale or (self.target is not None and scores[-1] >= self.target)

    def _keep(self, training: Training, root: SeedSequence) -> None:
        import pandas as pd

        if not training.history:
            return
        self.history_ = pd.DataFrame(training.history)
        self.n_seen_ = int(training.seen.sum())
        self.seen_fraction_ = self.n_seen_ / len(training.train)
        self.time_to_target_ = time_to_target(self.history_, self.target)
        self._losses = training.losses
        self._finished = training.n_rounds == self.n_rounds or self._is_over(training)
        self._entropy = entropy_of(root)
        self.estimator_ = training.learner.model

    def _make_estimate(self) -> Estimate:
        classifier = is_classifier(self.estimator_)
        done, notes = len(self.history_), []
        name = "accuracy" if classifier else "mean squared error"
        if self.early_stopping:
            notes.append("the held-out rows also chose when to stop: the figure is a little too good")
        if not self._finished:
            notes.append(f"interrupted after {done} of {self.n_rounds} rounds")
        return held_out_estimate(
            [self._losses],
            [name],
            classifier,
            estimand=f"{name} of the trained model on new rows",
            method=type(self).__name__,
            warnings=tuple(notes),
            diagnostics={
                "rounds": done,
                "updates": int(self.history_["updates"].iloc[-1]),
                "seen": self.seen_fraction_,
            },
            info={
                "parameters": self._settings(),
                "entropy": self._entropy,
                "seconds": float(self.history_[list(SECONDS)].iloc[-1].sum()),
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )


SECONDS = ("selection_seconds", "training_seconds", "evaluation_seconds")


class Training:
    """The loop of all methods that train on chosen rows: draw, update batch by batch, look at the held-out rows.

    Parameters
    ----------
    learner : Learner
    X, y, weight : ndarray
        All rows.
    train, test : ndarray of int
        Rows to train on and rows held out.
    batch : int
        Rows of an update.
    rates : ndarray
        Of each update.
    """

    def __init__(
        self,
        learner: Learner,
        X: FloatArray,
        y: NDArray[Any],
        weight: FloatArray | None,
        train: IntArray,
        test: IntArray,
        batch: int,
        rates: FloatArray,
    ) -> None:
        self.learner, self.X, self.y, self.weight = learner, X, y, weight
        self.train, self.test, self.batch, self.rates = train, test, batch, rates
        self.history: list[dict[str, Any]] = []
        self.losses = np.empty(0)
        self.seen = np.zeros(len(train), dtype=bool)
        self.n_updates = 0
        self._seconds = dict.fromkeys(SECONDS, 0.0)

    @property
    def n_rounds(self) -> int:
        """Rounds that are done."""
        return len(self.history)

    def round(self, draw: Callable[[int], IntArray]) -> None:
        """One round on the rows ``draw(k)``, places in ``train``."""
        start = perf_counter()
        chosen = draw(self.n_rounds)
        selected = perf_counter()
        self._update(self.train[chosen])
        trained = perf_counter()
        self.seen[chosen] = True
        if len(self.test):
            self.losses = losses(self.learner.model, self.X[self.test], self.y[self.test])
        spent = np.diff([start, selected, trained, perf_counter()])
        for name, seconds in zip(SECONDS, spent, strict=True):
            self._seconds[name] += float(seconds)
        mean = float(self.losses.mean()) if len(self.losses) else np.nan
        self.history.append(
            {
                "updates": self.n_updates,
                "rate": float(self.rates[self.n_updates - 1]),
                "score": mean if is_classifier(self.learner.model) else -mean,
                "seen_fraction": float(self.seen.mean()),
                **self._seconds,
            }
        )

    def spend(self, seconds: float) -> None:
        """Count time that was needed for the choice of rows before the first round."""
        self._seconds["selection_seconds"] += seconds

    def _update(self, rows: IntArray) -> None:
        for start in range(0, len(rows), self.batch):
            batch = rows[start : start + self.batch]
            weight = None if self.weight is None else self.weight[batch]
            self.learner.update(self.X[batch], self.y[batch], weight, self.rates[self.n_updates])
            self.n_updates += 1


def time_to_target(history: pd.DataFrame, target: float | None) -> float:
    """Seconds of selection and training until the score was first at the target; inf if never, NaN without one."""
    if target is None:
        return float("nan")
    reached = np.flatnonzero(history["score"].to_numpy() >= target)
    if len(reached) == 0:
        return float("inf")
    return float(history[["selection_seconds", "training_seconds"]].iloc[reached[0]].sum())
