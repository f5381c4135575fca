"""Reference moments of the logistic posterior: a long Hamiltonian Monte Carlo run, one JSON file.

Run from the root of the repository: ``python -m validation.importance.reference_logistic`` (arviz must be
installed; a few minutes on one core). It writes ``mcstat/datasets/data/logistic_reference.json``.

The sampler is the plain one (Neal 2011, "MCMC using Hamiltonian dynamics", section 5.3.2) and shares no code with
mcstat's importance samplers. It moves in coordinates z with coefficients = mode + factor @ z, where factor @ factor.T
is the inverse Hessian at the mode. That is HMC with the Hessian as mass matrix.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import arviz
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from threadpoolctl import threadpool_limits

from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.datasets._logistic import _design

FloatArray = NDArray[np.float64]
Potential = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

SCRIPT = "validation/importance/reference_logistic.py"
OUT = Path(__file__).resolve().parents[2] / "mcstat" / "datasets" / "data" / "logistic_reference.json"
SEED = 20240607
N_CHAINS, N_WARMUP, N_DRAWS = 32, 500, 10_000
STEP_SIZE = 0.25
# Lengths of 1 to 2.25 posterior sds: about a quarter of a period, jittered so that no direction returns to its start.
MIN_STEPS, MAX_STEPS = 4, 9
LARGEST_MCSE = 0.003
LARGEST_RHAT = 1.001


def laplace(signed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mode (d,) by Newton's method, and lower factor (d, d) of the inverse Hessian there."""
    d = signed.shape[1]
    mode = np.zeros(d)
    for _ in range(50):
        wrong = expit(-signed @ mode)
        hessian = (signed.T * (wrong * (1 - wrong))) @ signed + np.eye(d)
        move = cho_solve(cho_factor(hessian), signed.T @ wrong - mode)
        mode = mode + move
        if np.abs(move).max() < 1e-10:
            return mode, np.linalg.cholesky(np.linalg.inv(hessian))
    raise RuntimeError("Newton's method did not find the mode")


def log_posterior(signed: FloatArray, mode: FloatArray, factor: FloatArray) -> Potential:
    """Log posterior of z, (chain, d) to (chain,), with its gradient (chain, d)."""
    design, offset = signed @ factor, signed @ mode

    def value_and_gradient(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        margins = z @ design.T + offset
        coefficients = mode + z @ factor.T
        value = -np.logaddexp(0.0, -margins).sum(axis=1) - 0.5 * np.sum(coefficients**2, axis=1)
        return value, expit(-margins) @ design - coefficients @ factor

    return value_and_gradient


def hmc(target: Potential, z: FloatArray, rng: Generator) -> tuple[FloatArray, float]:
    """Draws (chain, draw, d) after the warm-up, from starts z (chain, d), and the mean acceptance rate."""
    draws = np.empty((len(z), N_DRAWS, z.shape[1]))
    accepted = 0
    value, gradient = target(z)
    for t in range(-N_WARMUP, N_DRAWS):
        momentum = rng.standard_normal(z.shape)
        energy = 0.5 * np.sum(momentum**2, axis=1) - value
        new_z, new_value, new_gradient = z, value, gradient
        # One number of steps for all chains: each keeps its law given that number, so they stay uncorrelated.
        for _ in range(rng.integers(MIN_STEPS, MAX_STEPS, endpoint=True)):
            momentum = momentum + 0.5 * STEP_SIZE * new_gradient
            new_z = new_z + STEP_SIZE * momentum
            new_value, new_gradient = target(new_z)
            momentum = momentum + 0.5 * STEP_SIZE * new_gradient
        new_energy = 0.5 * np.sum(momentum**2, axis=1) - new_value
        accept = rng.standard_exponential(len(z)) > new_energy - energy
        z = np.where(accept[:, None], new_z, z)
        value = np.where(accept, new_value, value)
        gradient = np.where(accept[:, None], new_gradient, gradient)
        if t >= 0:
            draws[:, t] = z
            accepted += int(accept.sum())
    return draws, accepted / (len(z) * N_DRAWS)


def main() -> None:
    design, signs, names = _design()
    signed = design * signs[:, None]
    mode, factor = laplace(signed)
    rng = stream(root_seed(SEED), "reference_logistic", Purpose.CHAINS, 0)
    starts = 2.0 * rng.standard_normal((N_CHAINS, len(mode)))
    with threadpool_limits(1):
        z, acceptance = hmc(log_posterior(signed, mode, factor), starts, rng)
    draws = mode + z @ factor.T

    columns = [draws[:, :, k] for k in range(len(names))]
    split_rhat = [float(arviz.rhat(x, method="rank")) for x in columns]
    mcse = [float(np.squeeze(arviz.mcse(x, method="mean"))) for x in columns]
    if max(mcse) > LARGEST_MCSE or max(split_rhat) > LARGEST_RHAT:
        raise RuntimeError(f"the run is too short: largest mcse {max(mcse):.2g}, largest R-hat {max(split_rhat):.5f}")
    packages = ("numpy", "scipy", "scikit-learn", "arviz")
    report = {
        "names": names,
        "mean": draws.mean(axis=(0, 1)).tolist(),
        "sd": draws.std(axis=(0, 1), ddof=1).tolist(),
        "mcse": mcse,
        "split_rhat": split_rhat,
        "ess": [float(arviz.ess(x, method="mean")) for x in columns],
        "script": SCRIPT,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "settings": {
            "sampler": "HMC, Hessian at the mode as mass matrix",
            "n_chains": N_CHAINS,
            "n_warmup": N_WARMUP,
            "n_draws": N_DRAWS,
            "step_size": STEP_SIZE,
            "n_steps": [MIN_STEPS, MAX_STEPS],
            "acceptance": acceptance,
            "rhat": "rank-normalised, split",
            "ess_and_mcse": "of the mean",
        },
        "seed": SEED,
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"largest mcse {max(mcse):.2g}, R-hat {max(split_rhat):.5f}, smallest ess {min(report['ess']):.0f}")


if __name__ == "__main__":
    main()
