"""ProportionalOdds beside statsmodels' OrderedModel: 10 000 rows, 20 columns, 4 classes, in turns.

    python -m validation.peers.ordinal_statsmodels [--quick]

OrderedModel runs by BFGS, its faster way here, and includes its covariance, as ours does. About half a CPU minute.
"""

from __future__ import annotations

import argparse
import warnings
from math import inf
from time import process_time

import numpy as np

from mcstat.core.extras import import_extra
from mcstat.core.parallel import single_threaded
from mcstat.ordinal import ProportionalOdds
from mcstat.study import Claim, ClaimTable

N_COLUMNS = 20


def rows(seed):
    """Normal columns, logistic noise, four classes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(10_000, N_COLUMNS))
    eta = X @ (0.4 * rng.normal(size=N_COLUMNS))
    return X, np.searchsorted([0.0, 1.5, 3.0], rng.logistic(size=10_000) - eta)


def ours(X, y):
    """Log-likelihood, slopes and their errors, cut-points and their errors, CPU seconds."""
    started = process_time()
    model = ProportionalOdds().fit(X, y)
    est = model.estimate()
    seconds = process_time() - started
    return model.loglik_, -model.coef_, est.std_error[4:], model.alpha_, est.std_error[1:4], seconds


def theirs(X, y):
    """The same; cut-points by the delta method, since it reports the first and the logs of the increments."""
    ordered = import_extra("statsmodels.miscmodels.ordinal_model", "stats")
    started = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ordered.OrderedModel(y, X, distr="logit")
        found = model.fit(method="bfgs", disp=0)
        found.bse  # noqa: B018  (computed when asked for)
        seconds = process_time() - started
        # BFGS stops early; agreement is judged where it has gone on, which is not timed.
        found = model.fit(method="bfgs", start_params=found.params, gtol=1e-8, disp=0)
        errors = np.asarray(found.bse)
    steps = np.exp(found.params[N_COLUMNS + 1 :])
    cuts = found.params[N_COLUMNS] + np.concatenate([[0.0], np.cumsum(steps)])
    jacobian = np.tril(np.concatenate([[1.0], steps]) * np.ones((3, 1)))
    cov = jacobian @ np.asarray(found.cov_params())[N_COLUMNS:, N_COLUMNS:] @ jacobian.T
    return found.llf, np.asarray(found.params[:N_COLUMNS]), errors[:N_COLUMNS], cuts, np.sqrt(np.diag(cov)), seconds


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Agreement and speed. Timed, so it runs in one process."""
    runs = 2 if quick else 7
    with single_threaded():
        ours(*rows(0))
        pairs = [(ours(*data), theirs(*data)) for data in map(rows, range(runs))]
    ratios = np.array([b[5] / a[5] for a, b in pairs])

    def worst(part, relative=False):
        return max(float(np.max(np.abs((a[part] - b[part]) / (b[part] if relative else 1.0)))) for a, b in pairs)

    shared = {"setting": f"n = 1e4, p = 20, K = 4, {runs} data sets in turns", "source": "issue, row 1"}
    return ClaimTable(
        [
            Claim(name="CPU time of OrderedModel (BFGS) over ours (median)", published="about 80 (prototype)",
                  measured=np.median(ratios), mcse=ratios.std(ddof=1), band=(60.0, inf), unit="times", **shared),
            Claim(name="CPU time of ProportionalOdds (median)", measured=np.median([a[5] for a, _ in pairs]), unit="s",
                  **shared),
            Claim(name="log-likelihood, largest relative difference", measured=worst(0, relative=True),
                  band=(-inf, 1e-9), **shared),
            Claim(name="standard errors of slopes, largest difference", measured=worst(2), band=(-inf, 1e-5), **shared),
            Claim(name="standard errors of cut-points, largest difference", measured=worst(4), band=(-inf, 1e-5),
                  **shared),
            Claim(name="slopes, largest difference", measured=worst(1), **shared),
        ]
    )  # fmt: skip


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
