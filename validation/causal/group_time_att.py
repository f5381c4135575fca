"""The claims about staggered difference in differences, measured again.

    python -m validation.causal.group_time_att [--quick] [--jobs N]

About ten CPU minutes. Bands were set before measuring (card of the method and issue of the room).
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from math import inf
from time import process_time

import numpy as np
from scipy.stats import binom

from mcstat.causal import GroupTimeATT
from mcstat.core.errors import ReliabilityWarning
from mcstat.core.parallel import map_tasks, single_threaded
from mcstat.datasets import make_did
from mcstat.study import Claim, ClaimTable

STAGES = ((400, 1e-2), (4000, 1e-4))


def study(learner, seed, covariates=True, n_units=500):
    """Event study with one learner for everything, its event times, and CPU seconds."""
    data = make_did(n_units, random_state=seed)
    del data["effect"]
    if not covariates:
        # Trends that are parallel without covariates.
        data["y"] = data["y"] - data["X"][:, 0] * data["time"]
        del data["X"]
    started = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReliabilityWarning)
        model = GroupTimeATT(learner_outcome=learner, learner_propensity=learner, random_state=seed).fit(**data)
    est = model.aggregate("dynamic")
    seconds = process_time() - started
    part = est[list(est.names[1:])]
    return part, np.array([float(name.removeprefix("e=")) for name in part.names]), seconds


def band_covers(seed):
    """Whether the joint band over all event times holds every true effect."""
    est, event, _ = study("ols", 400_000 + seed, covariates=False)
    band = est.conf_int(joint=True)
    truth = np.maximum(event + 1.0, 0.0)
    return bool(((band["lower"] <= truth) & (truth <= band["upper"])).all())


def errors(learner, n_units, seed):
    """Errors and standard errors at event times 0, 1, 2, and CPU seconds."""
    est, event, seconds = study(learner, 500_000 + seed, n_units=n_units)
    at = np.isin(event, [0, 1, 2])
    return np.r_[est.value[at] - (event[at] + 1.0), est.std_error[at], seconds]


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All rows."""
    found, start = [], 0
    with single_threaded():
        for stage, level in STAGES:
            wanted = max(4, stage // 100) if quick else stage
            hits = map_tasks(
                band_covers, range(start, start + wanted), n_jobs=n_jobs, prefer="processes", label="bands"
            )
            rate, start = float(np.mean(hits)), start + wanted
            band = tuple(float(binom.ppf(q, wanted, 0.95) / wanted) for q in (level / 2, 1 - level / 2))
            if quick or band[0] <= rate <= band[1]:
                break
        runs, n_units = (2, 200) if quick else (40, 500)
        tables = {
            learner: np.array(
                map_tasks(
                    partial(errors, learner, n_units), range(runs), n_jobs=n_jobs, prefer="processes", label=learner
                )
            )
            for learner in ("ols", "auto")
        }
    small = {"scale_ok": False, "note": "a first look"} if quick else {}
    found.append(
        Claim(
            name="coverage of the joint band over all event times, no covariates",
            setting=f"make_did(500), 95 %, {wanted} data sets",
            source="issue, row 8",
            measured=rate,
            mcse=float(np.sqrt(rate * (1 - rate) / wanted)),
            band=band,
            **small,
        )
    )
    auto, linear = tables["auto"], tables["ols"]
    shared = {"setting": f"make_did({n_units}), {runs} data sets", "source": "card did-dml, claims"}
    for e in range(3):
        allowed = 2 * auto[:, 3 + e].mean()
        found += [
            Claim(
                name=f"error of the effect at event time {e} with 'auto'",
                measured=auto[:, e].mean(),
                mcse=auto[:, e].std(ddof=1) / np.sqrt(runs),
                band=(-allowed, allowed),
                **shared,
            )
        ]
    found.append(
        Claim(name="standard error with 'auto' over that with 'ols', event time 1", unit="times",
              measured=np.median(auto[:, 4] / linear[:, 4]), band=(-inf, 1.3), **shared)
    )  # fmt: skip
    for learner, table in tables.items():
        found += [
            Claim(name=f"CPU time with '{learner}', 15 cells", measured=np.median(table[:, 6]), unit="s",
                  band=(-inf, 0.5), published="3.4 s (DoubleML, linear)", **shared)
        ]  # fmt: skip
    return ClaimTable(found)


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(claims(arguments.quick, arguments.jobs))


if __name__ == "__main__":
    main()
