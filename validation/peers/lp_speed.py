"""Leverage, Lewis weights and lp regression beside what people use today: CPU seconds of one thread, interleaved.

``python -m validation.peers.lp_speed [--quick]``
"""

from __future__ import annotations

import argparse
from math import inf
from time import process_time

import numpy as np
from scipy.linalg import qr
from threadpoolctl import threadpool_limits

from mcstat.core.extras import import_extra
from mcstat.study import Claim, ClaimTable
from mcstat.subsampling import LpRegressor, LpSampler, leverage_scores, lewis_weights


def seconds(*functions, rounds: int = 3) -> np.ndarray:
    """CPU seconds (rounds, functions), one thread, taken in turns."""
    times = np.empty((rounds, len(functions)))
    with threadpool_limits(1):
        for row in times:
            for column, function in enumerate(functions):
                start = process_time()
                function()
                row[column] = process_time() - start
    return times


def time_claim(name: str, setting: str, times: np.ndarray, limit: float, source: str) -> Claim:
    """Median CPU seconds, with the spread of the rounds."""
    return Claim(
        name=name, setting=setting, source=source, measured=float(np.median(times)), mcse=float(np.ptp(times) / 2),
        band=(-inf, limit), unit="CPU s",
    )  # fmt: skip


def leverage(quick: bool) -> ClaimTable:
    """Leverage scores against QR factorisations, and the error of the two-pass way."""
    n, d = (100_000, 20) if quick else (1_000_000, 50)
    X = np.random.default_rng(0).normal(size=(n, d))
    times = seconds(
        lambda: leverage_scores(X), lambda: leverage_scores(X, method="cholesky"), lambda: np.linalg.qr(X),
        lambda: qr(X, mode="economic"), rounds=2 if quick else 3,
    )  # fmt: skip
    setting, source = f"{n} x {d}", "issue, row 1"
    table = [
        time_claim("leverage, one whitening pass", setting, times[:, 0], 0.5, source),
        time_claim("leverage, two whitening passes", setting, times[:, 1], 1.0, source),
    ]
    for column, name in ((2, "numpy's QR"), (3, "SciPy's QR")):
        ratios = times[:, column] / times[:, 1]
        table.append(
            Claim(
                name=f"{name} over two passes", setting=setting, source=source, measured=float(np.median(ratios)),
                mcse=float(np.ptp(ratios) / 2), band=(10.0, inf), unit="times", scale_ok=not quick,
                note="quick: a small matrix" if quick else "",
            )
        )  # fmt: skip
    u, v = np.linalg.qr(np.random.default_rng(1).normal(size=(20_000, d)))[0], np.linalg.qr(X[:d])[0]
    hard = u * np.geomspace(1, 1e-7, d) @ v.T
    error = np.abs(leverage_scores(hard) / (u**2).sum(axis=1) - 1).max()
    table.append(
        Claim(name="largest relative error", setting=f"condition 1e7, 20000 x {d}", source=source,
              measured=float(error), band=(-inf, 1e-8))
    )  # fmt: skip
    return ClaimTable(table)


def lewis(quick: bool) -> ClaimTable:
    """Lewis weights to 1e-3."""
    n = 100_000 if quick else 1_000_000
    X = np.random.default_rng(0).normal(size=(n, 20))
    rows = []
    for p, limit in ((1.0, 2.0), (1.5, 1.0)):
        times = seconds(lambda p=p: lewis_weights(X, p, tol=1e-3))
        rows.append(time_claim(f"Lewis weights, p = {p:g}", f"{n} x 20, to 1e-3", times, limit, "issue, row 2"))
    return ClaimTable(rows)


def least_absolute(quick: bool) -> ClaimTable:
    """l1 regression against statsmodels."""
    statsmodels = import_extra("statsmodels.api", "stats")
    n = 20_000 if quick else 100_000
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    X[:, 0] = 1.0
    y = X @ np.arange(10) + rng.standard_t(3, size=n)
    ours, theirs = LpRegressor(1, fit_intercept=False), statsmodels.QuantReg(y, X)
    times = seconds(lambda: ours.fit(X, y), lambda: theirs.fit(q=0.5), rounds=3 if quick else 15)
    ratios = times[:, 1] / times[:, 0]
    loss = np.abs(y - X @ theirs.fit(q=0.5).params).sum()
    setting, source = f"{n} x 10, median", "issue, row 5"
    return ClaimTable(
        [
            Claim(name="statsmodels QuantReg over LpRegressor", setting=setting, source=source, unit="times",
                  measured=float(np.median(ratios)), mcse=float(1.25 * np.std(ratios) / np.sqrt(len(ratios))),
                  band=(5.0, inf)),
            Claim(name="our loss over theirs, less one", setting=setting, source=source,
                  measured=float(ours.objective_ / loss - 1), band=(-inf, 1e-8)),
        ]
    )  # fmt: skip


def sample_then_certify(quick: bool) -> ClaimTable:
    """A sampled fit with one certified pass against the full solve."""
    n = 50_000 if quick else 1_000_000
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = X @ np.arange(10) + rng.standard_t(5, size=n)
    rows = []
    for p in (1.5, 3.0, 4.0):
        sampled = LpRegressor(p, sampler=LpSampler(score="leverage", n_samples=20_000, random_state=0))
        full = LpRegressor(p, tol=1e-8)
        times = seconds(lambda s=sampled: s.fit(X, y), lambda f=full: f.fit(X, y), rounds=2)
        ratios = times[:, 1] / times[:, 0]
        rows.append(
            Claim(
                name="full solve over sample-then-certify", setting=f"{n} x 10, p = {p:g}, 20000 rows",
                source="issue, row 4", measured=float(np.median(ratios)), mcse=float(np.ptp(ratios) / 2),
                band=(1.0, inf), unit="times", scale_ok=not quick,
                note=f"gap of the sampled fit {sampled.gap_:.1e}" + ("; quick: a small matrix" if quick else ""),
            )
        )  # fmt: skip
    return ClaimTable(rows)


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Every comparison; one process, since CPU seconds are compared."""
    return leverage(quick) + lewis(quick) + least_absolute(quick) + sample_then_certify(quick)


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
