"""One small problem with a known answer for each method of the room; the contract tests run on them."""

from __future__ import annotations

from typing import Any

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


def _sum_of_states() -> tuple[dict[str, Any], dict[str, float]]:
    """Twelve observations of a linear Gaussian model, and the expected sum of its states by the joint normal law."""
    import numpy as np

    y = np.array([0.4, -0.3, 0.8, 2.1, 1.7, 0.2, -1.1, -2.4, -1.9, -2.2, -0.6, 0.3])
    lags = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    prior = 0.9**lags / (1 - 0.9**2)
    return {"y": y}, {"sum_x": float(np.sum(prior @ np.linalg.solve(prior + 0.5**2 * np.eye(12), y)))}


def paris_smoother() -> Case:
    """With so many particles that the bias is far below the standard error."""
    from mcstat.state_space import LinearGaussian, ParisSmoother

    fit, truth = _sum_of_states()
    smoother = ParisSmoother(LinearGaussian(), "sum_x", n_particles=1000, n_replicates=8, random_state=0)
    return Case(estimator=smoother, fit=fit, truth=truth)


def particle_smoother() -> Case:
    """Twelve observations of a linear Gaussian model: the first and the last mean by the joint normal law."""
    import numpy as np

    from mcstat.state_space import LinearGaussian, ParticleSmoother

    y = np.array([0.4, -0.3, 0.8, 2.1, 1.7, 0.2, -1.1, -2.4, -1.9, -2.2, -0.6, 0.3])
    lags = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    prior = 0.9**lags / (1 - 0.9**2)
    mean = prior @ np.linalg.solve(prior + 0.5**2 * np.eye(12), y)
    smoother = ParticleSmoother(LinearGaussian(), n_particles=1000, n_replicates=8, random_state=0)
    return Case(estimator=smoother, fit={"y": y}, truth={"x[0]": float(mean[0]), "x[11]": float(mean[11])})


def parisian_particle_gibbs() -> Case:
    """Few particles: the sweeps remove the bias."""
    from mcstat.state_space import LinearGaussian, ParisianParticleGibbs

    fit, truth = _sum_of_states()
    gibbs = ParisianParticleGibbs(LinearGaussian(), "sum_x", n_particles=30, n_iter=60, random_state=0)
    return Case(estimator=gibbs, fit=fit, truth=truth)


def _one_spread() -> tuple[dict[str, Any], dict[str, float]]:
    """Six observations of a local level whose observation noise is unknown: its posterior mean by quadrature."""
    import numpy as np

    y = np.array([0.4, -0.3, 0.8, 1.1, 1.7, 0.2])
    # Given sigma_y = s the observations are normal with covariance s^2 I + 1 + 0.25 min(i, j).
    place = np.arange(6)
    level = 1.0 + 0.25 * np.minimum.outer(place, place)
    grid = np.linspace(0.005, 6.0, 1200)
    log_density = np.empty(len(grid))
    for k, s in enumerate(grid):
        cov = level + s**2 * np.eye(6)
        log_density[k] = -0.5 * (y @ np.linalg.solve(cov, y) + np.linalg.slogdet(cov)[1] + s**2)
    weights = np.exp(log_density - log_density.max())
    return {"y": y}, {"sigma_y": float(weights @ grid / weights.sum())}


def pmmh() -> Case:
    """One unknown spread under a half-normal prior, and one known."""
    from scipy.stats import halfnorm

    from mcstat.state_space import PMMH, LocalLevel

    fit, truth = _one_spread()
    sampler = PMMH(LocalLevel(sigma_level=0.5), {"sigma_y": halfnorm()}, 30, 150, 100, n_chains=2, random_state=0)
    return Case(estimator=sampler, fit=fit, truth=truth)


def particle_gibbs() -> Case:
    """One unknown spread under a half-normal prior, and one known."""
    from scipy.stats import halfnorm

    from mcstat.state_space import LocalLevel, ParticleGibbs

    fit, truth = _one_spread()
    model, prior = LocalLevel(sigma_level=0.5), {"sigma_y": halfnorm()}
    sampler = ParticleGibbs(model, prior, 10, 100, 50, n_chains=2, n_steps=2, random_state=0)
    return Case(estimator=sampler, fit=fit, truth=truth)


def particle_mle() -> Case:
    """The spread of the noise around a level that hardly moves, and its maximum likelihood over a grid."""
    import numpy as np

    from mcstat.state_space import LocalLevel, ParticleMLE

    y = np.array([0.4, -0.3, 0.8, 1.1, 1.7, 0.2, 0.9, -0.8, 0.1, 1.4])
    place = np.arange(10)
    level = 1.0 + 0.04 * np.minimum.outer(place, place)
    grid = np.linspace(0.3, 2.0, 3401)
    loglik = np.empty(len(grid))
    for k, s in enumerate(grid):
        cov = level + s**2 * np.eye(10)
        loglik[k] = -0.5 * (y @ np.linalg.solve(cov, y) + np.linalg.slogdet(cov)[1])
    model = LocalLevel(sigma_level=0.2)
    search = ParticleMLE(model, ["sigma_y"], "gradient", 10, 30, 10, 2, n_information=15, random_state=0)
    return Case(estimator=search, fit={"y": y}, truth={"sigma_y": float(grid[np.argmax(loglik)])})
