"""Effects on those whom a binary instrument moves."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from mcstat.causal._approaches import Prepared
from mcstat.causal._cross_section import read_rows
from mcstat.causal._folds import Folds
from mcstat.causal._interactive import Interactive, check_binary
from mcstat.causal._nuisance import Learnt
from mcstat.causal._panel_data import Panel
from mcstat.causal._solve import Score
from mcstat.causal._weak import Instrumented
from mcstat.core.errors import InvalidData
from mcstat.core.parallel import single_threaded
from mcstat.core.rng import RandomState

__all__ = ["IIVM"]

FloatArray = NDArray[np.float64]


class IIVM(Instrumented, Interactive):
    """Local average effect: of a binary treatment on those whom a binary instrument moves (compliers).

    Parameters
    ----------
    learner_y, learner_d : str or object with fit and predict
        Learners of the outcome, and of treatment and instrument; names as in :class:`PLR`.
    normalize : bool
        Scale inverse-propensity weights to mean one (Hajek).
    clip : float
        P(z = 1 | x) is kept inside [clip, 1 - clip]; their number is told.
    n_folds, n_rep : int
    dml : {"dml2", "dml1"}
    aggregate : {"median", "mean", "doubleml"}
    small_sample : bool
    dist : {"normal", "t"}
    missing : {"raise", "drop"}
    n_jobs : int, optional
    random_state : None, int, SeedSequence or Generator

    Attributes
    ----------
    nuisance_r2_, nuisance_rmse_, stack_weights_ : dict
        Of ``g1``, ``g0`` (outcome by instrument), ``r1``, ``r0`` (treatment by instrument) and ``m``.
    theta_reps_, se_reps_ : ndarray, shape (n_rep, 1)

    References
    ----------
    .. [1] Chernozhukov, V., Chetverikov, D., Demirer, M., Duflo, E., Hansen, C., Newey, W. and Robins, J. (2018).
       Double/debiased machine learning for treatment and structural parameters. Econometrics Journal 21, C1-C68.
       arXiv:1608.00060.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.causal import IIVM
    >>> rng = np.random.default_rng(0)
    >>> X, z = rng.normal(size=(2000, 2)), rng.integers(0, 2, 2000).astype(float)
    >>> d = z * (rng.random(2000) < 0.7)
    >>> y = d + X[:, 0] + rng.normal(size=2000)
    >>> est = IIVM("ols", "ols", random_state=0).fit(y, d, X, z=z).estimate()
    >>> bool(abs(float(est) - 1) < 0.4)
    True
    """

    def __init__(
        self,
        learner_y: Any = "auto",
        learner_d: Any = "auto",
        *,
        normalize: bool = False,
        clip: float = 0.01,
        n_folds: int = 5,
        n_rep: int = 1,
        dml: str = "dml2",
        aggregate: str = "median",
        small_sample: bool = True,
        dist: str = "normal",
        missing: str = "raise",
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.learner_y = learner_y
        self.learner_d = learner_d
        self.normalize = normalize
        self.clip = clip
        self.n_folds = n_folds
        self.n_rep = n_rep
        self.dml = dml
        self.aggregate = aggregate
        self.small_sample = small_sample
        self.dist = dist
        self.missing = missing
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        y: ArrayLike,
        d: ArrayLike,
        X: ArrayLike | None = None,
        *,
        z: ArrayLike,
        weights: Any = None,
        cluster: Any = None,
        folds: Any = None,
        predictions: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """Learn outcome and treatment in both arms of the instrument out of fold.

        Parameters
        ----------
        y : array_like, shape (n,)
        d, z : array_like, shape (n,)
            0 or 1.
        X : array_like or data frame, shape (n, p), optional
        weights, cluster : array_like, shape (n,), optional
        folds : array_like, shape (n,), or list of (train, test), optional
        predictions : mapping, optional
            Out-of-fold predictions of ``"g1"``, ``"g0"``, ``"r1"``, ``"r0"`` or ``"m"`` made elsewhere.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument; also where z is constant in a training fold.
        """
        started = perf_counter()
        self._forget()
        self._check()
        if z is None:
            raise InvalidData("z must be given; without an instrument use IRM")
        with single_threaded():
            panel = read_rows(y, d, X, z=z, weights=weights, cluster=cluster, groups=None, missing=self.missing)
            check_binary("d", panel.D)
            check_binary("z", panel.Z)
            self._run(panel, folds, predictions, started, "effect on those whom z moves")
        self._warn()
        return self

    def _score(
        self, panel: Panel, prepared: Prepared, folds: Folds, seed: SeedSequence, given: Mapping[str, FloatArray]
    ) -> tuple[Score, Learnt]:
        assert panel.Z is not None  # noqa: S101
        y, d, z, w = panel.y, panel.D[:, 0], panel.Z[:, 0], panel.weights
        wanted = {"g": ("learner_y", self.learner_y, y), "r": ("learner_d", self.learner_d, d)}
        means, m, learnt = self._learn_arms(z, wanted, prepared, folds, seed, given)
        moved, unmoved = self._inverse_weights(z, m, w)
        e = means["g1"] - means["g0"] + moved * (y - means["g1"]) - unmoved * (y - means["g0"])
        R = means["r1"] - means["r0"] + moved * (d - means["r1"]) - unmoved * (d - means["r0"])
        return Score(e, R[:, None], np.ones((panel.n, 1)), w), learnt
