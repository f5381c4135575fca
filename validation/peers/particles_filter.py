"""Bootstrap particle filters beside ``particles`` 0.4: CPU time and log-likelihood, in turns.

``particles`` needs numpy < 2, so it lives in an environment of its own and answers as a subprocess:

    python -m venv ENV && ENV/bin/python -m pip install particles==0.4 "numpy<2"
    python -m validation.peers.particles_filter --python ENV/bin/python [--quick]

``claims()`` reads the interpreter from the environment variable MCSTAT_PARTICLES_PYTHON. Both sides run the linear
Gaussian and the stochastic volatility model at T = 1000 with systematic resampling below half of the particles,
compiled and warm; the median of the rounds counts. About two CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from functools import partial
from math import inf
from time import process_time

import numpy as np
from scipy.special import stdtrit

from mcstat.core.errors import MissingExtraError, ReliabilityWarning
from mcstat.core.parallel import single_threaded
from mcstat.state_space import LinearGaussian, ParticleFilter, StateSpaceModel, StochasticVolatility
from mcstat.study import Claim, ClaimTable

N_TIMES = 1000
# Model, particles -> smallest ratio of CPU times that the issue of the room wants, built-in and user's own.
WANTED = {1000: (10.0, 8.0), 10_000: (4.0, 3.0)}
VARIABLE = "MCSTAT_PARTICLES_PYTHON"
LOG_ROOT_2_PI = 0.5 * np.log(2 * np.pi)

PEER = """
import json, sys, time
import numpy as np
import particles
from particles import distributions as dists, state_space_models as ssms

class LG(ssms.StateSpaceModel):
    def PX0(self): return dists.Normal(scale=1.0 / np.sqrt(1 - 0.9 ** 2))
    def PX(self, t, xp): return dists.Normal(loc=0.9 * xp, scale=1.0)
    def PY(self, t, xp, x): return dists.Normal(loc=x, scale=0.5)

class SV(ssms.StateSpaceModel):
    def PX0(self): return dists.Normal(loc=-1.0, scale=0.2 / np.sqrt(1 - 0.95 ** 2))
    def PX(self, t, xp): return dists.Normal(loc=-1.0 + 0.95 * (xp + 1.0), scale=0.2)
    def PY(self, t, xp, x): return dists.Normal(scale=np.exp(x / 2))

MODELS = {"LG": LG(), "SV": SV()}
for line in sys.stdin:
    task = json.loads(line)
    np.random.seed(task["seed"])
    fk = ssms.Bootstrap(ssm=MODELS[task["model"]], data=np.array(task["y"]))
    started = time.process_time()
    run = particles.SMC(fk=fk, N=task["n"], resampling="systematic", ESSrmin=0.5)
    run.run()
    print(json.dumps([time.process_time() - started, float(run.logLt)]), flush=True)
"""


def _lg_initial(noise, theta):
    return theta[1] / np.sqrt(1.0 - theta[0] ** 2) * noise


def _lg_transition(t, x_prev, noise, theta):
    return theta[0] * x_prev + theta[1] * noise


def _lg_density(t, x, y, theta):
    return -0.5 * ((y - x) / theta[2]) ** 2 - np.log(theta[2]) - LOG_ROOT_2_PI


def _sv_initial(noise, theta):
    return theta[0] + theta[2] / np.sqrt(1.0 - theta[1] ** 2) * noise


def _sv_transition(t, x_prev, noise, theta):
    return theta[0] + theta[1] * (x_prev - theta[0]) + theta[2] * noise


def _sv_density(t, x, y, theta):
    return -LOG_ROOT_2_PI - 0.5 * x - 0.5 * y * y * np.exp(-x)


MODELS = {
    "LG": (LinearGaussian(), StateSpaceModel(_lg_initial, _lg_transition, _lg_density, theta=[0.9, 1.0, 0.5])),
    "SV": (StochasticVolatility(), StateSpaceModel(_sv_initial, _sv_transition, _sv_density, theta=[-1.0, 0.95, 0.2])),
}


class Peer:
    """The other interpreter, asked one filter at a time; its clock runs inside it, around the filter alone."""

    def __init__(self, python: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, model: str, y: np.ndarray, n: int, seed: int) -> tuple[float, float]:
        """CPU seconds and log-likelihood."""
        task = {"model": model, "y": y.tolist(), "n": n, "seed": seed}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        seconds, loglik = json.loads(self.process.stdout.readline())
        return seconds, loglik


def ours(model, y, n, seed):
    """CPU seconds and log-likelihood of one fit."""
    with warnings.catch_warnings():
        # Both have moments with few effective particles.
        warnings.simplefilter("ignore", ReliabilityWarning)
        started = process_time()
        found = ParticleFilter(model, n, random_state=seed, verbose=False).fit(y).loglik_
        return process_time() - started, found


def compare(peer: Peer, name: str, n: int, rounds: int) -> np.ndarray:
    """(rounds, 3, 2): built-in, user's model and peer; seconds and log-likelihood."""
    built_in, own = MODELS[name]
    y = built_in.simulate(N_TIMES, random_state=0)[1]
    players = (partial(ours, built_in), partial(ours, own), partial(peer, name))
    for play in players:
        play(y, n, 0)  # warm
    return np.array([[play(y, n, seed) for play in players] for seed in range(1, 1 + rounds)])


def claims(quick: bool, n_jobs: int = 1, python: str | None = None) -> ClaimTable:
    """Ratios of CPU times, and the difference of the log-likelihoods. Timed, so it runs in one process."""
    python = python or os.environ.get(VARIABLE)
    if not python:
        raise MissingExtraError(f"give --python or set {VARIABLE}: an interpreter that has particles 0.4 and numpy < 2")
    rounds = 4 if quick else 15
    peer, found = Peer(python), []
    with single_threaded():
        for name in MODELS:
            for n, wanted in WANTED.items():
                runs = compare(peer, name, n, rounds)
                setting = f"{name}, T = {N_TIMES}, N = {n}, {rounds} rounds in turns"
                found += [_speed(runs, k, wanted[k], setting) for k in (0, 1)]
                found.append(_agreement(runs, setting))
    peer.process.terminate()
    return ClaimTable(found)


def _speed(runs: np.ndarray, player: int, wanted: float, setting: str) -> Claim:
    ratios = runs[:, 2, 0] / runs[:, player, 0]
    nanoseconds = np.median(runs[:, player, 0]) / N_TIMES * 1e9 / int(setting.split("N = ")[1].split(",")[0])
    return Claim(
        name=f"particles' CPU time over ours, {('built-in', 'user')[player]} model (median)",
        setting=setting,
        source="issue of the room",
        published=f"at least {wanted:g} times",
        measured=float(np.median(ratios)),
        mcse=float(np.std(ratios, ddof=1)),
        band=(wanted, inf),
        unit="times",
        note=f"ours {nanoseconds:.1f} ns a particle-step",
    )


def _agreement(runs: np.ndarray, setting: str) -> Claim:
    difference = runs[:, 0, 1] - runs[:, 2, 1]
    error = float(np.std(difference, ddof=1) / np.sqrt(len(runs)))
    limit = float(stdtrit(len(runs) - 1, 1 - 1e-6))
    return Claim(
        name="log-likelihood minus that of particles, in standard errors",
        setting=setting,
        source="same answer",
        measured=float(difference.mean() / error),
        mcse=1.0,
        # Student's t of the rounds at 1e-6.
        band=(-limit, limit),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help=f"interpreter with particles 0.4; default: {VARIABLE}")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    table = claims(arguments.quick, python=arguments.python)
    print(table)
    return int(any(claim.verdict == "not reproduced" for claim in table))


if __name__ == "__main__":
    sys.exit(main())
