"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

import numpy as np

from mcstat.core.registry import Case


def privacy_auditor() -> Case:
    """Scores that answer right with probability 0.8 and are wrong otherwise: epsilon is log(0.8 / 0.2)."""
    from mcstat.privacy import PrivacyAuditor

    rng = np.random.default_rng(0)
    membership = np.repeat([0.0, 1.0], 1000)
    right = rng.random(2000) < 0.8
    # Among the answers "member" any threshold is as good as another, and among the others none is.
    scores = np.where(right, membership, 1 - membership) + 0.3 * rng.random(2000)
    return Case(
        estimator=PrivacyAuditor(delta=0.0, random_state=0),
        fit={"scores": scores, "membership": membership},
        truth={"epsilon": float(np.log(4.0))},
    )


def gaussian_canary_audit() -> Case:
    """Scores N(1, 1) and N(0, 1): epsilon is that of Gaussian privacy with mu = 1."""
    from mcstat.privacy import GaussianCanaryAudit, gdp_to_eps

    rng = np.random.default_rng(0)
    return Case(
        estimator=GaussianCanaryAudit(delta=1e-5, n_draws=400, random_state=0),
        fit={"scores_in": rng.normal(1.0, 1.0, 1000), "scores_out": rng.normal(0.0, 1.0, 1000)},
        truth={"epsilon": float(gdp_to_eps(1.0, 1e-5))},
    )
