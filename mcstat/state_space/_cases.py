"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

from mcstat.core.registry import Case


def particle_filter() -> Case:
    """A linear Gaussian model: its observations are jointly normal."""
    import numpy as np

    from mcstat.state_space import LinearGaussian, ParticleFilter

    y = np.array([0.4, -0.3, 0.8, 2.1, 1.7, 0.2, -1.1, -2.4, -1.9, -2.2, -0.6, 0.3])
    lags = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    cov = 0.9**lags / (1 - 0.9**2) + 0.5**2 * np.eye(12)
    loglik = -0.5 * (y @ np.linalg.solve(cov, y) + np.linalg.slogdet(2 * np.pi * cov)[1])
    return Case(
        estimator=ParticleFilter(LinearGaussian(), n_particles=2000, n_replicates=8, random_state=0),
        fit={"y": y},
        truth={"loglik": float(loglik)},
    )


def kalman_filter() -> Case:
    """Two points of a random walk from N(0, 1) seen through N(0, 1) noise."""
    import numpy as np

    from mcstat.state_space import KalmanFilter, LocalLevel

    return Case(estimator=KalmanFilter(LocalLevel()), fit={"y": np.array([0.0, 3.0])}, truth={"x[0]": 0.6, "x[1]": 1.8})


def forward_backward() -> Case:
    """Two symbols of a chain of two states, by Bayes' rule over the four paths."""
    import numpy as np

    from mcstat.state_space import DiscreteHMM, ForwardBackward

    paths = {(0, 0): 0.45 * 0.8 * 0.8, (0, 1): 0.05 * 0.8 * 0.3, (1, 0): 0.1 * 0.3 * 0.8, (1, 1): 0.4 * 0.3 * 0.3}
    truth = (paths[0, 0] + paths[0, 1]) / sum(paths.values())
    return Case(estimator=ForwardBackward(DiscreteHMM()), fit={"y": np.array([0.0, 0.0])}, truth={"P(x[0]=0)": truth})
