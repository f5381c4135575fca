"""Ctrl-C in a long series: back within half a second, and the estimator says what is finished."""

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import sys, time, warnings
import numpy as np
from mcstat.state_space import LinearGaussian, ParticleFilter
y = np.zeros(5_000)
estimator = ParticleFilter(LinearGaussian(), 2000, n_replicates=2000, n_jobs=int(sys.argv[1]), random_state=0)
estimator.set_params(n_particles=10).fit(y[:10])
estimator.set_params(n_particles=2000)
warnings.simplefilter("ignore")
print("ready", flush=True)
try:
    estimator.fit(y)
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
    print("warnings", estimator.estimate().warnings[0], flush=True)
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_back_within_half_a_second(n_jobs):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(n_jobs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("ready")
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    sent = time.time()
    output, _ = process.communicate(timeout=60)
    lines = dict(line.split(" ", 1) for line in output.splitlines())
    assert float(lines["interrupted"]) - sent < 0.5
    assert "of 2000 replicates" in lines["warnings"]
