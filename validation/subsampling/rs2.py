"""The claims about repeated random sampling, measured again.

``python -m validation.subsampling.rs2 [--quick] [--n-jobs N]``

Bands were set before measuring (card of the method). ImageNet cannot be trained here; what is looked at is the shape
of the claim, on a problem whose design is the card's.
"""

from __future__ import annotations

import argparse
from math import inf, nan
from time import process_time

import numpy as np
from sklearn.neural_network import MLPClassifier

from mcstat.core.rng import root_seed
from mcstat.study import Claim, ClaimTable
from mcstat.subsampling import RS2Estimator, compare_selection
from mcstat.subsampling._rounds import MODES, Rounds

CARD = "card, claims row "
PROTOTYPE = {
    (0.01, 100): "static .510, with .661, without .666",
    (0.05, 60): "static .594, with .676, without .677",
    (0.1, 60): "static .612, with .686, without .688; full, 60 epochs .729",
}


def teacher(n: int) -> tuple[np.ndarray, np.ndarray]:
    """20 Gaussian inputs, 10 classes from a random 20-32-10 tanh network with noisy logits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 20))
    first, second = 3 * rng.normal(size=(20, 32)) / np.sqrt(20), 3 * rng.normal(size=(32, 10)) / np.sqrt(32)
    return X, (np.tanh(X @ first) @ second + 0.3 * rng.normal(size=(n, 10))).argmax(axis=1)


def network() -> MLPClassifier:
    """64 hidden units, trained as in the paper: Nesterov's momentum 0.9 and weight decay."""
    return MLPClassifier((64,), solver="sgd", momentum=0.9, nesterovs_momentum=True, alpha=5e-4)


def equal_updates(quick: bool, n_jobs: int) -> ClaimTable:
    """A static subset, RS2 in both modes and the full data, all with the same number of updates."""
    X, y = teacher(25_000)
    replicates = 2 if quick else 5
    claims = []
    for (ratio, n_rounds), said in list(PROTOTYPE.items())[: 1 if quick else 3]:
        found = compare_selection(
            network(), X, y, ratio=ratio, n_rounds=n_rounds, batch_size=128, eta0=0.1, eta_min=1e-4,
            n_replicates=replicates, n_jobs=n_jobs, random_state=0,
        ).scores  # fmt: skip
        setting = f"20000 rows, r = {ratio:g}, {n_rounds} rounds, {replicates} splits"
        full, static, without, with_ = 0, 1, 2, 3
        for name, one, other, band in (
            ("RS2 with replacement over a static subset, accuracy", with_, static, (0.05, inf)),
            ("RS2 without replacement over with", without, with_, (-0.01, 0.02)),
            ("RS2 without replacement over the full data, equal updates", without, full, None),
        ):
            gain = found.transform(lambda score, i=one, j=other: score[i] - score[j], names=["gain"])
            claims.append(
                Claim(
                    name=name, setting=setting, source=CARD + "2", published=f"prototype {said}", band=band,
                    measured=float(gain), mcse=float(gain.std_error[0]),
                )
            )  # fmt: skip
        for k, label in enumerate(found.names):
            claims.append(
                Claim(
                    name=f"accuracy, {label}", setting=setting, source=CARD + "2", published=f"prototype {said}",
                    measured=float(found.value[k]), mcse=float(found.std_error[k]),
                )
            )  # fmt: skip
    return ClaimTable(claims)


def seen_shares(quick: bool) -> ClaimTable:
    """Share of the data that was used at least once, with replacement across rounds."""
    claims, runs = [], 5 if quick else 50
    for (ratio, n_rounds), prototype in zip(PROTOTYPE, (0.635, 0.954, 0.998), strict=True):
        n = 20_000
        m = round(ratio * n)
        exact = 1 - (1 - ratio) ** n_rounds
        shares = []
        for seed in range(runs):
            rounds = Rounds(n, m, MODES[1], root_seed(seed))
            shares.append(len(np.unique([rounds.rows(k) for k in range(n_rounds)])) / n)
        error = np.sqrt(exact * (1 - exact) / n / runs)
        claims.append(
            Claim(
                name="share of rows seen", setting=f"N = {n}, r = {ratio:g}, {n_rounds} rounds, {runs} seeds",
                source="card, exact checks", published=f"{exact:.3f} by formula, prototype {prototype}",
                measured=float(np.mean(shares)), mcse=float(error), band=(exact - 4 * error, exact + 4 * error),
            )
        )  # fmt: skip
    return ClaimTable(claims)


def overhead(quick: bool) -> ClaimTable:
    """Share of the time that goes into choosing rows."""
    n = 30_000 if quick else 1_000_000
    X, y = teacher(n)
    claims = []
    for mode in MODES:
        model = RS2Estimator(network(), mode=mode, n_rounds=10, batch_size=128, validation_fraction=0, random_state=0)
        # The first fit of a process loads the compiled shuffle.
        model.fit(X[:1000], y[:1000])
        last = model.fit(X, y).history_.iloc[-1]
        share = last["selection_seconds"] / (last["selection_seconds"] + last["training_seconds"])
        claims.append(
            Claim(
                name=f"share of time in selection, {mode}", setting=f"N = {n}, m = {n // 10}, network of 64 units",
                source=CARD + "3", published="about 0", measured=100 * float(share), mcse=nan, band=(0.0, 1.0),
                unit="%",
            )
        )  # fmt: skip
    return ClaimTable(claims)


def speed(quick: bool) -> ClaimTable:
    """CPU time of a round beside NumPy's ways to draw one, in turns."""
    n, m, turns = 1_000_000, 100_000, 2 if quick else 30
    rng, identity = np.random.default_rng(0), [Rounds(n, m, mode, root_seed(0)) for mode in MODES]
    ways = {
        "round without replacement": lambda k: identity[0].rows(k),
        "round with replacement": lambda k: identity[1].rows(k),
        "numpy choice": lambda k: rng.choice(n, m, replace=False),
        "numpy permutation": lambda k: rng.permutation(n)[:m],
    }
    times = np.empty((turns + 1, len(ways)))
    for k, row in enumerate(times):
        for j, way in enumerate(ways.values()):
            start = process_time()
            way(k)
            row[j] = 1e3 * (process_time() - start)
    times = times[1:]  # the first turn compiles
    claims = []
    for j, name in enumerate(ways):
        # A pass without replacement is paid for at once, in one round of ten: the mean counts.
        middle = times[:, j].mean() if j == 0 else np.median(times[:, j])
        claims.append(
            Claim(
                name=name, setting=f"N = {n}, m = {m}, one thread", source="card, peers", published="< 5 ms",
                measured=float(middle), mcse=float(times[:, j].std() / np.sqrt(turns)),
                band=(0.0, 5.0) if j < 2 else None, unit="ms",
            )
        )  # fmt: skip
    return ClaimTable(claims)


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Every claim."""
    table = equal_updates(quick, n_jobs) + seen_shares(quick) + overhead(quick) + speed(quick)
    return table.first_look() if quick else table


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    options = parser.parse_args()
    print(claims(options.quick, options.n_jobs))


if __name__ == "__main__":
    main()
