"""Training on domains of unequal size: upsample, upweight, or upsample first and cool down."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Self
from warnings import warn

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier

from mcstat._version import __version__
from mcstat.core.checks import check_integer, check_option
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.subsampling._domains import DomainStream
from mcstat.subsampling._mixtures import check_shares, check_tau, temperature_probabilities, temperatures
from mcstat.subsampling._partial import Learner, PartialFitEstimator, held_out_estimate, hold_out, losses, takes_weights
from mcstat.subsampling._rounds import learning_rates

__all__ = ["BalancedSGD"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
STRATEGIES = ("temperature", "scalarize", "cooldown")
MANY_PASSES = 4.0


class BalancedSGD(PartialFitEstimator):
    """Train on domains (languages, sources, classes) of very unequal size so that the small ones are learnt too.

    Parameters
    ----------
    estimator : object
        Any scikit-learn classifier or regressor with ``partial_fit``; it is cloned.
    strategy : {"temperature", "scalarize", "cooldown"}
        "temperature" draws rows of domain i with probability p_i(tau), in proportion to ``size_i**(1/tau)``, and
        leaves their loss alone. "scalarize" draws all rows alike and multiplies the loss by p_i(tau) / p_i(1): the same
        objective, mostly with noisier steps. "cooldown" draws by a temperature that falls during training, by default
        in one step: small domains are learnt quickly while it is high and not overfitted after.
    tau : float
        > 0, infinity allowed: 1 is in proportion to size, infinity uniform over domains.
    tau_cold : float
        Temperature at the end of a cooldown.
    switch : float
        Share of the steps before the cooldown's step, in [0, 1].
    schedule : {"step", "linear", "cosine", "exponential"} or sequence of (float, float)
        Of a cooldown: one step at ``switch``, a steady fall (published as worse), or pairs (share of the steps,
        temperature from there on), the first at share 0.
    probabilities : array_like, shape (K,), optional
        Target shares of the domains, in the order of ``groups_``, in place of those of ``tau`` (for instance of
        :func:`unimax_probabilities`, or of sizes counted in tokens).
    n_iter : int
        Updates, each one call of ``partial_fit``.
    batch_size : int
        Rows of an update.
    stratified : bool
        Each batch holds of each domain its expected number of rows, rounded at random: less noise.
    learning_rate : {"constant", "cosine"}
        The rate's schedule; a change of temperature does not touch it.
    eta0 : float, optional
        First rate; default: the estimator's own.
    eta_min : float
    validation_fraction : float
        Share of each domain that is held out, in [0, 1).
    n_evaluations : int
        Looks at the held-out rows, equally spaced.
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    estimator_ : object
        Trained.
    groups_ : ndarray, shape (K,)
        Domains, sorted.
    classes_ : ndarray
        Of a classifier.
    history_ : DataFrame
        A row a look: steps done, temperature (NaN where ``probabilities`` are given), seconds of training, and mean
        held-out loss of each domain: log loss where the estimator has probabilities, else share of wrong labels;
        squared error of a regressor.
    best_step_ : ndarray of int, shape (K,)
        Step at which each domain's held-out loss was smallest: it is overfitted from there on.
    domain_counts_ : ndarray of int, shape (K,)
        Rows drawn of each domain.
    expected_passes_ : ndarray, shape (K,)
        Expected passes through each domain's training rows; more than 4 raise a warning.
    chi2_, p_value_ : float
        Of the realised counts against their probabilities, K - 1 degrees of freedom; NaN with ``stratified``.
    n_effective_ : float
        (sum w)^2 / sum w^2 over training rows for the weights of "scalarize"; else the number of rows.

    Notes
    -----
    "scalarize" wants an estimator that does not divide a batch's loss by the sum of its weights: multi-layer
    perceptrons do and are refused.

    ``estimate()`` gives each domain's held-out accuracy with its exact binomial interval, or mean squared error.

    References
    ----------
    .. [1] Li, T., Xu, H., Tan, W., Murray, K., Khashabi, D. (2025). Upsample or upweight? Balanced training on heavily
       imbalanced datasets. NAACL. arXiv:2410.04579.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import SGDClassifier
    >>> from mcstat.subsampling import BalancedSGD
    >>> rng = np.random.default_rng(0)
    >>> X, groups = rng.normal(size=(2000, 2)), np.repeat(["large", "small"], [1900, 100])
    >>> y = np.where(groups == "large", X[:, 0], X[:, 1]) > 0
    >>> model = BalancedSGD(SGDClassifier(loss="log_loss"), tau=3, n_iter=100, batch_size=8, random_state=0)
    >>> model.fit(X, y, groups).estimate().names
    ('accuracy[large]', 'accuracy[small]')
    """

    def __init__(
        self,
        estimator: Any,
        *,
        strategy: str = "temperature",
        tau: float = 5.0,
        tau_cold: float = 1.0,
        switch: float = 0.5,
        schedule: Any = "step",
        probabilities: ArrayLike | None = None,
        n_iter: int = 1000,
        batch_size: int = 32,
        stratified: bool = False,
        learning_rate: str = "constant",
        eta0: float | None = None,
        eta_min: float = 1e-4,
        validation_fraction: float = 0.1,
        n_evaluations: int = 20,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.strategy = strategy
        self.tau = tau
        self.tau_cold = tau_cold
        self.switch = switch
        self.schedule = schedule
        self.probabilities = probabilities
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.stratified = stratified
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.eta_min = eta_min
        self.validation_fraction = validation_fraction
        self.n_evaluations = n_evaluations
        self.random_state = random_state

    def fit(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array_like, data frame or (where the estimator takes it) CSR matrix, shape (n, d)
        y : array_like, shape (n,), or (n, k) where the estimator takes several outputs
        groups : array_like, shape (n,), optional
            Domain of each row; default: a classifier's labels, one domain for a regressor.
        sample_weight : array_like, shape (n,), optional
            Passed to ``partial_fit``, times the domains' weights.

        Returns
        -------
        BalancedSGD

        Raises
        ------
        TypeError
            An estimator without ``partial_fit``, or weights for one that takes none or normalises them.
        InvalidParameter, InvalidData

        Warns
        -----
        ReliabilityWarning
            A small domain will be passed more than 4 times.
        """
        self._forget()
        n_iter = check_integer("n_iter", self.n_iter, 1)
        batch_size = check_integer("batch_size", self.batch_size, 1)
        looks = np.linspace(0, n_iter, check_integer("n_evaluations", self.n_evaluations, 1) + 1)[1:].round()
        root, name = root_seed(self.random_state), type(self).__name__
        X, y, weight, kept = self._check_data(X, y, sample_weight)
        self.groups_, codes = self._domains(groups, y, kept)
        train, test = _hold_out_by_domain(codes, self.validation_fraction, root, name)
        domain_stream = DomainStream(codes[train], stream(root, name, Purpose.SAMPLE, 0), bool(self.stratified))
        taus, shares, factors = self._plan(domain_stream.sizes, n_iter)
        self._warn_of_passes(batch_size * shares.sum(axis=0) / domain_stream.sizes)
        learner = Learner(self.estimator, getattr(self, "classes_", None), self.eta0, root, name)
        rates = learning_rates(self.learning_rate, n_iter, learner.eta0, self.eta_min)

        self._history: list[dict[str, Any]] = []
        self.domain_counts_ = np.zeros(len(self.groups_), dtype=np.int64)
        held_out = (X[test], y[test], codes[test])
        start = perf_counter()
        try:
            with single_threaded(), progress_bar(n_iter, "BalancedSGD") as advance:
                for step in range(n_iter):
                    chosen, domains = domain_stream.draw(shares[step], batch_size)
                    rows = train[chosen]
                    learner.update(X[rows], y[rows], _row_weights(weight, rows, factors, domains), rates[step])
                    self.domain_counts_ += np.bincount(domains, minlength=len(self.groups_))
                    if step + 1 in looks:
                        self._look(learner.model, held_out, step + 1, taus[step], perf_counter() - start)
                    advance()
        finally:
            # After Ctrl-C too: the steps that are done answer.
            self._keep(learner.model, held_out, shares, root)
        return self

    def _domains(self, groups: ArrayLike | None, y: NDArray[Any], kept: NDArray[np.bool_]) -> tuple[Any, IntArray]:
        """Labels of the domains and the code of each row."""
        if groups is not None:
            labels = np.asarray(groups)
            if labels.shape != kept.shape:
                raise InvalidData(f"groups must hold one label for each of {len(kept)} rows, got shape {labels.shape}")
            if labels.dtype.kind in "fc" and not np.isfinite(labels).all():
                raise InvalidData("groups must be finite labels, got NaN or infinity")
            labels = labels[kept]
        elif not is_classifier(self.estimator):
            labels = np.full(len(y), "all")
        elif y.ndim == 1:
            labels = y
        else:
            raise InvalidParameter("groups must be given for a y of several outputs, got None")
        found, codes = np.unique(labels, return_inverse=True)
        return found, codes.astype(np.int64)

    def _plan(self, sizes: IntArray, n_iter: int) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Of each step the temperature (T,) and the domains' probabilities (T, K); and the domains' loss weights."""
        strategy = check_option("strategy", self.strategy, STRATEGIES)
        cold = temperatures(self.schedule, self.tau, self.tau_cold, self.switch, n_iter)
        taus = cold if strategy == "cooldown" else np.full(n_iter, check_tau("tau", self.tau))
        if self.probabilities is not None:
            if strategy == "cooldown":
                raise InvalidParameter("probabilities do not go with strategy='cooldown', which has a schedule of tau")
            target = np.tile(check_shares("probabilities", self.probabilities, len(sizes)), (n_iter, 1))
            taus = np.full(n_iter, np.nan)
        else:
            unique, which = np.unique(taus, return_inverse=True)
            target = np.array([temperature_probabilities(sizes, tau) for tau in unique])[which]
        self.n_effective_ = float(sizes.sum())
        if strategy != "scalarize":
            return taus, target, None
        if hasattr(self.estimator, "learning_rate_init"):
            name = type(self.estimator).__name__
            raise TypeError(f"strategy='scalarize' wants an estimator that keeps the scale of weights, not a {name}")
        if not takes_weights(self.estimator):
            raise TypeError("strategy='scalarize' wants an estimator that takes sample_weight in partial_fit")
        natural = temperature_probabilities(sizes, 1.0)
        factors = target[0] / natural
        self.n_effective_ /= float(natural @ factors**2)
        return taus, np.tile(natural, (n_iter, 1)), factors

    def _warn_of_passes(self, passes: FloatArray) -> None:
        self.expected_passes_ = passes
        many = passes > MANY_PASSES
        self._notes: list[str] = []
        # Drawing every domain in proportion passes them all alike: that is ordinary training for long.
        if many.any() and passes.max() > 1.01 * passes.min():
            listed = ", ".join(
                f"{group} {times:.1f}" for group, times in zip(self.groups_[many], passes[many], strict=True)
            )
            self._notes = [f"many expected passes may overfit ({listed}); lower tau or cool down"]
            warn(self._notes[0], ReliabilityWarning, stacklevel=3)

    def _look(self, model: Any, held_out: tuple[Any, Any, IntArray], step: int, tau: float, seconds: float) -> None:
        X, y, codes = held_out
        row = {"step": step, "tau": tau, "seconds": seconds}
        if len(codes):
            total = np.bincount(codes, weights=_row_losses(model, X, y), minlength=len(self.groups_))
            count = np.bincount(codes, minlength=len(self.groups_))
            mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
            row |= {f"loss[{group}]": float(value) for group, value in zip(self.groups_, mean, strict=True)}
        self._history.append(row)

    def _keep(self, model: Any, held_out: tuple[Any, Any, IntArray], shares: FloatArray, root: SeedSequence) -> None:
        import pandas as pd

        if not self._history:
            return
        self.history_ = pd.DataFrame(self._history)
        curves = self.history_.filter(like="loss[").to_numpy()
        self.best_step_ = self.history_["step"].to_numpy()[np.nan_to_num(curves, nan=np.inf).argmin(axis=0)]
        done = int(self.domain_counts_.sum()) // self.batch_size
        self.chi2_, self.p_value_ = np.nan, np.nan
        if not self.stratified:
            self.chi2_, self.p_value_ = _count_test(self.domain_counts_, shares[:done], self.batch_size)
        if done < self.n_iter:
            self._notes = [*self._notes, f"interrupted after {done} of {self.n_iter} steps"]
        X, y, codes = held_out
        self._losses, self._codes = (losses(model, X, y) if len(codes) else np.empty(0)), codes
        self._entropy = entropy_of(root)
        self.estimator_ = model

    def _make_estimate(self) -> Estimate:
        classifier = is_classifier(self.estimator_)
        what = "accuracy" if classifier else "mean squared error"
        by_domain = [self._losses[self._codes == code] for code in range(len(self.groups_))]
        known = [code for code, values in enumerate(by_domain) if len(values)] or [0]
        notes, labels = list(self._notes), [str(group) for group in self.groups_]
        if len(known) < len(labels):
            notes.append(f"{len(labels) - len(known)} domain(s) have no held-out row and are left out")
        return held_out_estimate(
            [by_domain[code] for code in known],
            [f"{what}[{labels[code]}]" for code in known],
            classifier,
            coords={"group": [labels[code] for code in known]},
            estimand=f"{what} of the trained model on new rows of each domain",
            method=type(self).__name__,
            warnings=tuple(notes),
            diagnostics={"steps": int(self.history_["step"].iloc[-1]), "chi2": self.chi2_, "p_value": self.p_value_},
            info={
                "parameters": self._settings(),
                "entropy": self._entropy,
                "seconds": float(self.history_["seconds"].iloc[-1]),
                "versions": {"mcstat": __version__, "numpy": np.__version__},
            },
        )


def _hold_out_by_domain(codes: IntArray, fraction: Any, root: SeedSequence, name: str) -> tuple[IntArray, IntArray]:
    """Rows to train on and rows held out, of each domain its share; a domain of one row is trained on."""
    train, test = [], []
    for code in range(int(codes.max()) + 1):
        members = np.flatnonzero(codes == code)
        inside, outside = hold_out(len(members), fraction, root, f"{name} domain {code}")
        train.append(members[inside])
        test.append(members[outside])
    return np.concatenate(train), np.concatenate(test)


def _row_weights(weight: Any, rows: IntArray, factors: FloatArray | None, domains: IntArray) -> FloatArray | None:
    if factors is None:
        return None if weight is None else np.asarray(weight[rows])
    return factors[domains] if weight is None else np.asarray(factors[domains] * weight[rows])


def _row_losses(model: Any, X: FloatArray, y: NDArray[Any]) -> FloatArray:
    """Log loss where there are probabilities of labels, else 0/1 loss; squared error of a regressor."""
    if not is_classifier(model):
        return losses(model, X, y)
    if not hasattr(model, "predict_proba") or y.ndim > 1:
        return 1 - losses(model, X, y)
    probability = model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return np.asarray(-np.log(np.maximum(probability, 1e-15)))


def _count_test(counts: IntArray, shares: FloatArray, batch_size: int) -> tuple[float, float]:
    """Wald statistic of the realised counts under independent draws, and its chi-squared p-value."""
    from scipy.special import chdtrc

    expected = batch_size * shares.sum(axis=0)
    cov = np.diag(expected) - batch_size * shares.T @ shares
    drawn = expected > 0
    df = int(drawn.sum()) - 1
    if df == 0:
        return 0.0, 1.0
    # The counts sum to a constant, so one domain follows from the others.
    off, cov = (counts - expected)[drawn][:-1], cov[np.ix_(drawn, drawn)][:-1, :-1]
    statistic = float(off @ np.linalg.solve(cov, off))
    return statistic, float(chdtrc(df, statistic))
