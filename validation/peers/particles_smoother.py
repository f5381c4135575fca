"""Backward simulation beside ``particles`` 0.4: CPU time and means, in turns.

``particles`` needs numpy < 2, so it lives in an environment of its own (see :mod:`validation.peers.particles_filter`):

    python -m validation.peers.particles_smoother --python ENV/bin/python [--quick]

``claims()`` reads the interpreter from the environment variable MCSTAT_PARTICLES_PYTHON. Both draw 1000 paths over 1000
particles of 100 times; the time is of the way back for the peer, and of the whole fit, filter included, for ours.
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
from mcstat.state_space import LinearGaussian, ParticleSmoother, StochasticVolatility
from mcstat.study import Claim, ClaimTable

N_TIMES, N_PARTICLES = 100, 1000
VARIABLE = "MCSTAT_PARTICLES_PYTHON"
MODELS = {"LG": LinearGaussian(), "SV": StochasticVolatility()}
# Pass marks, set before: no slower than half the peer's time.
WANTED = 2.0

PEER = """
import json, sys, time
import numpy as np
import particles
from particles import distributions as dists, state_space_models as ssms

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

for one in (LG, SV):
    one.upper_bound_trans = one.upper_bound_log_pt
MODELS = {"LG": LG(), "SV": SV()}
for line in sys.stdin:
    task = json.loads(line)
    np.random.seed(task["seed"])
    fk = ssms.Bootstrap(ssm=MODELS[task["model"]], data=np.array(task["y"]))
    run = particles.SMC(fk=fk, N=task["n"], resampling=task["resampling"], store_history=True)
    run.run()
    started = time.process_time()
    if task["backward"] == "mcmc":
        paths = run.hist.backward_sampling_mcmc(task["n"])
    else:
        paths = run.hist.backward_sampling_reject(task["n"])
    seconds = time.process_time() - started
    print(json.dumps([seconds, float(np.mean([np.mean(x) for x in paths]))]), flush=True)
"""


class Peer:
    """The other interpreter, asked one pass at a time; its clock runs inside it."""

    def __init__(self, python: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, model: str, backward: str, y: np.ndarray, seed: int) -> tuple[float, float]:
        """CPU seconds, and the mean of all states of all paths."""
        resampling = "multinomial" if backward == "mcmc" else "systematic"
        task = {"model": model, "backward": backward, "y": y.tolist(), "n": N_PARTICLES, "seed": seed}
        self.process.stdin.write(json.dumps(task | {"resampling": resampling}) + "\n")
        self.process.stdin.flush()
        seconds, value = json.loads(self.process.stdout.readline())
        return seconds, value


def ours(name: str, backward: str, y: np.ndarray, seed: int) -> tuple[float, float]:
    """CPU seconds, and the mean of all states of all paths."""
    smoother = ParticleSmoother(MODELS[name], "ffbsi", N_PARTICLES, backward=backward, random_state=seed, verbose=False)
    started = process_time()
    smoother.fit(y)
    return process_time() - started, float(smoother.paths_.mean())


def compare(python: str, quick: bool) -> list[Claim]:
    """Ratio of CPU times, rounds in turns."""
    peer, found = Peer(python), []
    rounds = 3 if quick else 10
    with single_threaded():
        for name, model in MODELS.items():
            y = model.simulate(N_TIMES, random_state=0)[1]
            for backward in ("hybrid", "mcmc"):
                # Compiled and warm, both.
                ours(name, backward, y, 0)
                peer(name, backward, y[:5], 0)
                pairs = [(peer(name, backward, y, seed), ours(name, backward, y, seed)) for seed in range(rounds)]
                times, means = np.array(pairs).transpose(2, 1, 0)
                ratios = times[0] / times[1]
                found.append(
                    Claim(
                        name="CPU time of particles 0.4 over ours",
                        setting=f"{name}, {backward}, N = P = 1000, T = 100, {rounds} rounds",
                        source="issue of the room",
                        published=None,
                        measured=float(np.median(ratios)),
                        mcse=float(np.std(ratios)),
                        band=(WANTED, inf),
                        note=f"means of all states: {means[0].mean():.4f} +- {means[0].std() / rounds**0.5:.4f} and "
                        f"{means[1].mean():.4f} +- {means[1].std() / rounds**0.5:.4f}",
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
