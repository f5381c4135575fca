"""PaRIS beside ``particles`` 0.4: CPU time and estimate, in turns.

``particles`` needs numpy < 2, so it lives in an environment of its own (see :mod:`validation.peers.particles_filter`):

    python -m validation.peers.particles_paris --python ENV/bin/python [--quick]

``claims()`` reads the interpreter from the environment variable MCSTAT_PARTICLES_PYTHON. The peer would take half an
hour at T = 1000, so it runs the first few steps of the same series and **its time is scaled by the number of steps**;
ours runs all of them. Both use N = 1000, M = 2, rejection, and systematic resampling at every step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from math import inf
from time import process_time

import numpy as np

from mcstat.core.errors import MissingExtraError
from mcstat.core.parallel import single_threaded
from mcstat.state_space import LinearGaussian, ParisSmoother, StochasticVolatility
from mcstat.study import Claim, ClaimTable

N_TIMES, N_PARTICLES, WANTED = 1000, 1000, 1000.0
VARIABLE = "MCSTAT_PARTICLES_PYTHON"
MODELS = {"LG": LinearGaussian(), "SV": StochasticVolatility()}

PEER = """
import json, sys, time
import numpy as np
import particles
from particles import collectors, distributions as dists, state_space_models as ssms

class LG(ssms.StateSpaceModel):
    def PX0(self): return dists.Normal(scale=1.0 / np.sqrt(1 - 0.9 ** 2))
    def PX(self, t, xp): return dists.Normal(loc=0.9 * xp, scale=1.0)
    def PY(self, t, xp, x): return dists.Normal(loc=x, scale=0.5)
    def upper_bound_log_pt(self, t): return -0.5 * np.log(2 * np.pi)

class SV(LG):
    def PX0(self): return dists.Normal(loc=-1.0, scale=0.2 / np.sqrt(1 - 0.95 ** 2))
    def PX(self, t, xp): return dists.Normal(loc=-1.0 + 0.95 * (xp + 1.0), scale=0.2)
    def PY(self, t, xp, x): return dists.Normal(scale=np.exp(x / 2))
    def upper_bound_log_pt(self, t): return -0.5 * np.log(2 * np.pi) - np.log(0.2)

MODELS = {"LG": LG(), "SV": SV()}
for line in sys.stdin:
    task = json.loads(line)
    np.random.seed(task["seed"])
    model = MODELS[task["model"]]
    fk = ssms.Bootstrap(ssm=model, data=np.array(task["y"]))
    fk.add_func = lambda t, xp, x, model=model: 0.0 * x if xp is None else xp * x
    started = time.process_time()
    run = particles.SMC(fk=fk, N=task["n"], resampling="systematic", ESSrmin=1.0, collect=[collectors.Paris(Nparis=2)])
    run.run()
    print(json.dumps([time.process_time() - started, float(np.ravel(run.summaries.paris[-1])[0])]), flush=True)
"""


class Peer:
    """The other interpreter, asked one pass at a time; its clock runs inside it."""

    def __init__(self, python: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, model: str, y: np.ndarray, seed: int) -> tuple[float, float]:
        """CPU seconds and estimate."""
        task = {"model": model, "y": y.tolist(), "n": N_PARTICLES, "seed": seed}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        seconds, value = json.loads(self.process.stdout.readline())
        return seconds, value


def ours(name: str, y: np.ndarray, seed: int) -> tuple[float, float]:
    """CPU seconds and estimate."""
    smoother = ParisSmoother(
        MODELS[name], "sum_cross", N_PARTICLES, ess_threshold=1.0, random_state=seed, verbose=False
    )
    started = process_time()
    smoother.fit(y)
    return process_time() - started, float(smoother.running_estimate_[-1, 0])


def compare(python: str, quick: bool) -> list[Claim]:
    """Ratio of CPU times a step, rounds in turns."""
    peer, found = Peer(python), []
    n_steps, rounds = (3, 2) if quick else (9, 3)
    with single_threaded():
        for name, model in MODELS.items():
            y = model.simulate(N_TIMES, random_state=0)[1]
            # Compiled and warm, both.
            ours(name, y[:50], 0)
            peer(name, y[:2], 0)
            ratios, theirs, same = [], [], []
            for seed in range(rounds):
                seconds, value = peer(name, y[: n_steps + 1], seed)
                theirs.append(value)
                same.append(ours(name, y[: n_steps + 1], seed)[1])
                ratios.append(seconds / n_steps * (N_TIMES - 1) / ours(name, y, seed)[0])
            found.append(
                Claim(
                    name="CPU time of particles 0.4, scaled, over ours",
                    setting=f"{name}, N = T = 1000, M = 2; the peer ran {n_steps} steps, {rounds} rounds",
                    source="issue of the room",
                    published=None,
                    measured=float(np.median(ratios)),
                    mcse=float(np.std(ratios)),
                    band=(WANTED, inf),
                    note=f"estimates of the same {n_steps + 1} times: {np.mean(theirs):.3f} and {np.mean(same):.3f}",
                )
            )
    peer.process.stdin.close()
    peer.process.wait()
    return found


def claims(quick: bool = False, n_jobs: int = 1) -> ClaimTable:
    """The comparison, if the environment variable names the peer's interpreter."""
    if VARIABLE not in os.environ:
        raise MissingExtraError(f"set {VARIABLE}: an interpreter that has particles 0.4 and numpy < 2")
    return ClaimTable(tuple(compare(os.environ[VARIABLE], quick)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=os.environ.get(VARIABLE), required=VARIABLE not in os.environ)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(ClaimTable(tuple(compare(options.python, options.quick))))


if __name__ == "__main__":
    main()
