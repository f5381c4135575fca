"""Ctrl-C in a long fit: back within half a second, finished work answers, ``extend`` goes on."""

import signal
import subprocess
import sys
import time

import pytest

from tests.contract.cases import methods_where

SCRIPT = """
import sys, time, warnings
from mcstat.core.registry import methods
warnings.simplefilter("ignore")
card = next(card for card in methods() if card.name == sys.argv[1])
case = card.load_case()
case.estimator.fit(**case.fit)  # compiles
estimator = case.estimator.set_params(**case.long, n_jobs=int(sys.argv[2]))
print("ready", flush=True)
try:
    estimator.fit(**case.fit)
    print("finished", flush=True)
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
    est = estimator.estimate()
    print("warnings", " | ".join(est.warnings), flush=True)
    if hasattr(estimator, "extend"):
        estimator.set_params(n_jobs=1)
        estimator.extend(200_000)
        more = estimator.estimate()
        print("errors", est.std_error.max(), more.std_error.max(), more.value.tolist(), flush=True)
"""


@methods_where(lambda case: case.long)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("seconds", [0.9, 2.3])
def test_back_within_half_a_second(card, n_jobs, seconds):
    arguments = [card.name, str(n_jobs)]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("ready")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    sent = time.time()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    lines = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    assert "interrupted" in lines, output
    assert float(lines["interrupted"]) - sent < 0.5
    assert "interrupted" in lines["warnings"]
