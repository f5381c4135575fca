"""How good an attack is: area under the curve, true positives at few false ones, advantage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcstat.core.checks import check_integer, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.privacy._rates import check_delta
from mcstat.privacy._scores import Challenges

__all__ = ["attack_metrics", "membership_advantage", "roc"]

FloatArray = NDArray[np.float64]


def attack_metrics(
    scores: ArrayLike,
    membership: ArrayLike,
    *,
    fpr: Sequence[float] = (0.001, 0.01, 0.1),
    n_draws: int = 500,
    random_state: RandomState = None,
) -> Estimate:
    """Area under the ROC curve, largest advantage, and true positive rates at low false positive rates.

    Parameters
    ----------
    scores, membership : array_like, shape (n,)
        As for :class:`PrivacyAuditor`.
    fpr : sequence of float
        False positive rates that the threshold may not exceed on these challenges.
    n_draws : int
        Bootstrap samples, of members and of non-members apart.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    Estimate
        Of kind ``"bootstrap"``: ``auc``, ``advantage`` (largest TPR - FPR, biased upwards because the threshold is
        chosen on the same scores) and one ``tpr[fpr=...]`` for each rate.

    Examples
    --------
    >>> import numpy as np
    >>> from mcstat.privacy import attack_metrics
    >>> rng = np.random.default_rng(0)
    >>> membership = np.repeat([0, 1], 500)
    >>> found = attack_metrics(rng.normal(size=1000) + membership, membership, random_state=0)
    >>> bool(abs(found["auc"].value[0] - 0.76) < 0.03)  # Phi(1 / sqrt(2)) = 0.760
    True
    """
    challenges = Challenges.checked(scores, membership)
    rates = [check_real("fpr", rate, 0.0, 1.0) for rate in fpr]
    root = root_seed(random_state)
    rng = stream(root, "attack_metrics", Purpose.BOOTSTRAP, 0)
    members, others = challenges.scores[challenges.member], challenges.scores[~challenges.member]
    draws = [
        _metrics(rng.choice(members, len(members)), rng.choice(others, len(others)), rates)
        for _ in range(check_integer("n_draws", n_draws, 2))
    ]
    return Estimate.from_draws(
        np.array(draws),
        value=_metrics(members, others, rates),
        names=("auc", "advantage", *(f"tpr[fpr={rate:g}]" for rate in rates)),
        kind="bootstrap",
        estimand="what the attack achieves",
        method="attack_metrics",
        info={"entropy": entropy_of(root), "members": len(members), "non_members": len(others)},
    )


def membership_advantage(eps: ArrayLike, delta: ArrayLike = 1e-5) -> FloatArray:
    """Largest TPR - FPR of any attack on an (eps, delta)-private algorithm, (e^eps - 1 + 2 delta) / (e^eps + 1).

    Parameters
    ----------
    eps, delta : array_like
        eps >= 0 and delta in [0, 1); they broadcast.

    Returns
    -------
    ndarray
    """
    epsilon, delta = np.asarray(eps, dtype=np.float64), check_delta(delta)
    if not np.all(epsilon >= 0):
        raise InvalidParameter(f"eps must be at least 0, got {eps!r}")
    # (e^eps - 1) / (e^eps + 1) without overflow.
    return np.asarray(np.tanh(epsilon / 2) + delta * (1 - np.tanh(epsilon / 2)))


def roc(challenges: Challenges) -> tuple[FloatArray, FloatArray]:
    """False and true positive rates at all thresholds, from (0, 0) to (1, 1)."""
    members, others = np.sort(challenges.scores[challenges.member]), np.sort(challenges.scores[~challenges.member])
    at = np.append(np.unique(challenges.scores), np.inf)[::-1]
    tpr, fpr = (1 - np.searchsorted(group, at, side="left") / len(group) for group in (members, others))
    return np.asarray(fpr), np.asarray(tpr)


def _metrics(members: FloatArray, others: FloatArray, rates: list[float]) -> FloatArray:
    fpr, tpr = roc(Challenges(np.concatenate([members, others]), np.arange(len(members) + len(others)) < len(members)))
    auc = np.sum(np.diff(fpr) * 0.5 * (tpr[1:] + tpr[:-1]))
    # The last threshold that keeps to the rate, with a little room for rounding of k / n.
    at = np.searchsorted(fpr, np.array(rates) * (1 + 1e-12), side="right") - 1
    return np.array([auc, np.max(tpr - fpr), *tpr[at]])
