"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcstat.core.registry import Case


def privacy_auditor() -> Case:
    """Members are called so with probability 0.6, others with 0.05: epsilon is log(0.6 / 0.05)."""
    from mcstat.privacy import PrivacyAuditor

    membership = np.repeat([0.0, 1.0], 1000)

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        called = rng.random(2000) < np.where(membership == 1, 0.6, 0.05)
        # Among those that are called members any threshold has the same ratio of rates.
        return {"scores": called + 0.3 * rng.random(2000), "membership": membership}

    return Case(
        estimator=PrivacyAuditor(delta=0.0, random_state=0),
        fit=draw(np.random.default_rng(0)),
        truth={"epsilon": float(np.log(12.0))},
        draw=draw,
    )


def gaussian_canary_audit() -> Case:
    """Scores N(1, 1) and N(0, 1): epsilon is that of Gaussian privacy with mu = 1."""
    from mcstat.privacy import GaussianCanaryAudit, gdp_to_eps

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {"scores_in": rng.normal(1.0, 1.0, 1000), "scores_out": rng.normal(0.0, 1.0, 1000)}

    return Case(
        estimator=GaussianCanaryAudit(delta=1e-5, n_draws=400, random_state=0),
        fit=draw(np.random.default_rng(0)),
        truth={"epsilon": float(gdp_to_eps(1.0, 1e-5))},
        draw=draw,
    )
