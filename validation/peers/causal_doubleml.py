"""Cross-fitting beside scikit-learn's LassoCV in cross_val_predict, which is DoubleML's route, and beside DoubleML.

    python -m validation.peers.causal_doubleml [--quick]

About three CPU minutes. Rows that need DoubleML (``python -m pip install doubleml``) are reported as not run where it
is missing. Peak memory is that of this process.
"""

from __future__ import annotations

import argparse
import resource
import warnings
from importlib.util import find_spec
from math import inf
from time import process_time

import numpy as np
from numpy.random import SeedSequence

from mcstat.causal import PanelDML
from mcstat.causal._approaches import prepare
from mcstat.causal._folds import given_folds
from mcstat.causal._learners import Task, make_learner
from mcstat.causal._panel_data import read_panel
from mcstat.core.errors import ReliabilityWarning
from mcstat.core.parallel import single_threaded
from mcstat.datasets import make_panel_cp, make_panel_fp
from mcstat.study import Claim, ClaimTable

# Covariates and units of 10 periods; correlated random effects double the columns.
SIZES = [(10, 100, 50.0), (30, 250, 50.0), (262, 100, 8.0)]


def lasso_route(model, data):
    """Theta and CPU seconds of LassoCV inside cross_val_predict on the same folds and features."""
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import cross_val_predict

    unit = data["unit"]
    means = np.array([np.bincount(unit, column) / np.bincount(unit) for column in data["X"].T]).T[unit]
    Z = np.hstack([data["X"], means])
    folds = model.folds_[0]
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(5)]
    started = process_time()
    e, v = (data[name] - cross_val_predict(LassoCV(), Z, data[name], cv=splits) for name in ("y", "d"))
    seconds = process_time() - started
    v = v - (np.bincount(unit, v) / np.bincount(unit))[unit]
    return v @ e / (v @ v), seconds


def our_route(model, data, times=5):
    """CPU seconds of cross-fitting y and d on the same folds and features, and of the whole fit."""
    seconds = []
    panel = read_panel(**data, z=None, weights=None, cluster=None, groups=None, missing="raise")
    ready = prepare(panel, "cre", "none", None)
    folds = given_folds(model.folds_[0], panel.n)
    task = Task(ready.for_y, np.column_stack([ready.y, ready.D]), ready.weights, folds, SeedSequence(0))
    learner = make_learner("learner_y", "lasso")
    for work in (lambda: learner.cross_fit(task), lambda: model.fit(**data)):
        started = process_time()
        for _ in range(times):
            work()
        seconds.append((process_time() - started) / times)
    return seconds


def lasso_rows(quick):
    """Speed of the lasso in turns with the other."""
    found = []
    for count, n_units, least in SIZES:
        results = []
        for seed in range(1 if quick else 7):
            data = make_panel_cp(n_units, 10, count, design=1, random_state=seed)
            data.pop("theta")
            with warnings.catch_warnings():
                # 524 features for 1000 rows are what the row is about.
                warnings.simplefilter("ignore", ReliabilityWarning)
                model = PanelDML("cre", "lasso", "lasso", random_state=seed).fit(**data)
                ours, whole = our_route(model, data)
            theta, other = lasso_route(model, data)
            results.append([other / ours, other / whole, float(model.estimate()) - theta, ours])
        table = np.array(results)
        shared = {
            "setting": f"n = {10 * n_units}, {2 * count} features, 5 folds, {len(table)} data sets in turns",
            "source": "issue, row 4",
        }
        found += [
            Claim(name="CPU time of LassoCV in cross_val_predict over that of our cross-fit (median)",
                  published="130 to 195, at 525 features 9 (prototype)", measured=np.median(table[:, 0]),
                  mcse=np.ptp(table[:, 0]) / 2, band=(least, inf), unit="times",
                  note=f"ours {1000 * np.median(table[:, 3]):.1f} ms for y and d", **shared),
            Claim(name="the same over that of our whole fit (median)", measured=np.median(table[:, 1]),
                  mcse=np.ptp(table[:, 1]) / 2, unit="times", **shared),
            Claim(name="difference of theta (inner folds are not the same)", measured=table[:, 2].mean(),
                  mcse=np.ptp(table[:, 2]) / 2, **shared),
        ]  # fmt: skip
    return found


def doubleml_fit(data, approach):
    """Theta, standard error, folds (n,) and CPU seconds of DoubleML with least squares, on folds of its own drawing."""
    import doubleml as dml
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    frame = pd.DataFrame(data["X"], columns=[f"x{j}" for j in range(data["X"].shape[1])])
    frame = frame.assign(y=data["y"], d=data["d"], unit=data["unit"], time=data["time"])
    columns = {"y_col": "y", "d_cols": "d", "t_col": "time", "id_col": "unit", "static_panel": True}
    table = dml.DoubleMLPanelData(frame, **columns)
    model = dml.DoubleMLPLPR(table, LinearRegression(), LinearRegression(), approach=approach, n_folds=5)
    started = process_time()
    model.fit()
    seconds, folds = process_time() - started, np.empty(len(frame), dtype=int)
    for k, (_, test) in enumerate(model.smpls[0]):
        folds[test] = k
    return float(model.coef[0]), float(model.se[0]), folds, seconds


def doubleml_rows(quick):
    """Least squares at N = 4000, T = 10: speed and agreement."""
    runs = 1 if quick else 15
    shared = {"setting": f"OLS learners, cre, N = 4000, T = 10, J = 3, {runs} times in turns", "source": "issue, row 5"}
    names = [
        "CPU time of DoubleML over ours (median)",
        "largest difference of theta",
        "largest difference of its error",
    ]
    if find_spec("doubleml") is None:
        note = "DoubleML is not installed"
        return [Claim(name=name, measured=np.nan, scale_ok=False, note=note, **shared) for name in names]
    ratios, gaps = [], []
    for seed in range(runs):
        data = make_panel_fp(4000, 10, 3, random_state=seed)
        data.pop("theta")
        theta, error, folds, other = doubleml_fit(data, "cre_general")
        model = PanelDML("cre", "ols", "ols", small_sample=False, random_state=seed).fit(**data, folds=folds)
        started = process_time()
        for _ in range(3):
            model.fit(**data, folds=folds)
        seconds = (process_time() - started) / 3
        est = model.estimate()
        ratios.append(other / seconds)
        gaps.append([abs(float(est) - theta), abs(est.std_error[0] - error)])
    worst = np.max(gaps, axis=0)
    return [
        Claim(name=names[0], measured=np.median(ratios), mcse=np.ptp(ratios) / 2, band=(20.0, inf), unit="times",
              **shared),
        Claim(name=names[1], measured=worst[0], band=(-inf, 1e-10), **shared),
        Claim(name=names[2], measured=worst[1], band=(-inf, 1e-10), **shared),
    ]  # fmt: skip


def large_rows(quick):
    """A million rows."""
    n_units = 2_000 if quick else 100_000
    rng = np.random.default_rng(0)
    unit, time = np.repeat(np.arange(n_units), 10), np.tile(np.arange(10), n_units)
    effect = rng.normal(size=n_units)[unit]
    X = rng.normal(size=(len(unit), 20)) + effect[:, None]
    d = X[:, 0] ** 2 + 0.5 * X[:, 1] * X[:, 2] + effect + rng.normal(size=len(unit))
    y = d + X[:, 0] ** 2 + np.sin(X[:, 3]) + effect + rng.normal(size=len(unit))
    found = []
    for learner in ("lasso", "series"):
        started = process_time()
        est = PanelDML("cre", learner, learner, random_state=0).fit(y, d, X, unit=unit, time=time).estimate()
        seconds = process_time() - started
        setting = f"cre, '{learner}', n = {len(y)}, 20 covariates"
        why = {"scale_ok": False, "note": "20 000 rows"} if quick else {"note": f"theta {float(est):.4f}, truth 1"}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found += [
            Claim(name="CPU time of one fit", setting=setting, source="issue, row 6", measured=seconds,
                  band=(-inf, 60.0), unit="s", **why),
            Claim(name="peak memory of the process", setting=setting, source="issue, row 6", measured=memory,
                  band=(-inf, 4.0), unit="GB", **why),
        ]  # fmt: skip
    return found


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Agreement, speed and memory. Timed, so it runs in one process."""
    with single_threaded():
        return ClaimTable([*large_rows(quick), *lasso_rows(quick), *doubleml_rows(quick)])


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
