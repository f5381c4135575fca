"""The claims about lp sampling, measured again.

``python -m validation.subsampling.lp_sampler [--quick]``

Bands were set before measuring (card of the method and issue of the room).
"""

from __future__ import annotations

import argparse
from math import inf

import numpy as np
from scipy.optimize import brentq

from mcstat.study import Claim, ClaimTable
from mcstat.subsampling import LpRegressor, LpSampler, embedding_distortion, leverage_scores, lp_sensitivities

CARD = "card, claims row "


def spiky(rng: np.random.Generator) -> np.ndarray:
    """8000 x 6: Gaussian rows, 20 of them 50 times as long, and 12 along the axes with length 30."""
    matrix = rng.normal(size=(8000, 6))
    matrix[:20] *= 50
    matrix[20:32] = 30 * np.tile(np.eye(6), (2, 1))
    return matrix


def median_and_error(values: np.ndarray) -> tuple[float, float]:
    """Median of independent runs, and its standard error by the spread of the middle half."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(middle), float(1.2533 * (high - low) / 1.349 / np.sqrt(len(values)))


def distortions(make, p: float, score: str, n_samples: int, runs: int) -> np.ndarray:
    """Measured distortion (lower bound) of samples of fresh matrices."""
    values = []
    for k in range(runs):
        matrix = make(np.random.default_rng(k))
        sampler = LpSampler(p, score=score, n_samples=n_samples, random_state=k).fit(matrix)
        values.append(sampler.distortion(matrix).value)
    return np.array(values)


def where_uniform_fails(quick: bool) -> ClaimTable:
    """Distortion of uniform samples over that of ours on spiky data."""
    runs, claims = (2 if quick else 25), []
    for p, said in ((1.5, "uniform 0.68, leverage and Lewis 0.04"), (4.0, "uniform > 4")):
        uniform = distortions(spiky, p, "uniform", 1000, runs)
        for score in ("leverage", "lewis"):
            ratio, error = median_and_error(np.log(uniform / distortions(spiky, p, score, 1000, runs)))
            claims.append(
                Claim(
                    name=f"distortion of a uniform sample over that of {score}", published=said, band=(5.0, inf),
                    setting=f"spiky 8000 x 6, p = {p:g}, 1000 rows, {runs} runs", source=CARD + "2",
                    measured=float(np.exp(ratio)), mcse=float(np.exp(ratio) * error),
                )
            )  # fmt: skip
    return ClaimTable(claims)


def gaussian(quick: bool) -> ClaimTable:
    """On Gaussian rows every score gives the same distortion."""
    runs, claims = (2 if quick else 25), []
    for score in ("uniform", "leverage", "lewis"):
        values = distortions(lambda rng: rng.normal(size=(8000, 6)), 1.0, score, 1000, runs)
        middle, error = median_and_error(values)
        claims.append(
            Claim(
                name=f"distortion, score {score}", setting=f"Gaussian 8000 x 6, p = 1, 1000 rows, {runs} runs",
                source=CARD + "3", published="about 0.09", measured=middle, mcse=error, band=(0.05, 0.13),
            )
        )  # fmt: skip
    return ClaimTable(claims)


def sparse_rows(nonzeros: int, rng: np.random.Generator) -> np.ndarray:
    """1500 x 8 with so many Gaussian entries a row: total sensitivity about 8 nonzeros^(p/2 - 1)."""
    order = rng.random((1500, 8)).argsort(axis=1)
    return np.where(order < nonzeros, rng.normal(size=(1500, 8)), 0.0)


def poisson_sketch(matrix: np.ndarray, scores: np.ndarray, p: float, m: float, rng: np.random.Generator) -> np.ndarray:
    """Rows taken with probability min(1, c score), m of them to be expected, rescaled: LpSampler's default design."""
    c = brentq(lambda c: np.minimum(c * scores, 1.0).sum() - m, 0.0, len(scores) / scores.min())
    probability = np.minimum(c * scores, 1.0)
    taken = rng.random(len(scores)) < probability
    return matrix[taken] / probability[taken, None] ** (1 / p)


def rows_needed(problems: list[tuple[np.ndarray, np.ndarray]], p: float, draws: int) -> tuple[float, float]:
    """Find log m at which the median distortion is 0.5, and its error; D falls like m^(-1/2)."""
    log_m, rng = np.log(200.0), np.random.default_rng(1)
    for _ in range(3):
        values = np.array(
            [
                embedding_distortion(matrix, poisson_sketch(matrix, scores, p, np.exp(log_m), rng), p).value
                for matrix, scores in problems
                for _ in range(draws)
            ]
        )
        middle, error = median_and_error(np.log(values))
        log_m = log_m + 2 * (middle - np.log(0.5))
    return log_m, 2 * error


def exponents() -> ClaimTable:
    """Slope of log m on log S at distortion 0.5, for sampling by sensitivities and by these and leverage scores.

    A sensitivity is an optimisation of its own, so the matrices have 1500 rows, and each of 4 is sampled 6 times.
    """
    claims = []
    for p, score, bound, formula in (
        (1.0, "sensitivity", 1.0, "d^(1 - p/2) S"),
        (1.5, "sensitivity", 1.0, "d^(1 - p/2) S"),
        (4.0, "sensitivity", 1.5, "S^(2 - 2/p)"),
        (4.0, "sensitivity + leverage", 1.0, "d^(2/p) S^(2 - 4/p)"),
    ):
        totals, needed = [], []
        for nonzeros in (1, 2, 4, 8):
            matrices = [sparse_rows(nonzeros, np.random.default_rng(k)) for k in range(4)]
            problems = [(matrix, lp_sensitivities(matrix, p)) for matrix in matrices]
            totals.append(np.log(np.mean([scores.sum() for _, scores in problems])))
            if score != "sensitivity":
                problems = [(matrix, s / s.sum() + leverage_scores(matrix) / 8) for matrix, s in problems]
            needed.append(rows_needed(problems, p, 6))
        x = totals - np.mean(totals)
        slope = float(x @ [log_m for log_m, _ in needed] / (x @ x))
        error = float(np.sqrt((x**2) @ [e**2 for _, e in needed]) / (x @ x))
        pairs = zip(np.exp(totals), needed, strict=True)
        found = ", ".join(f"{np.exp(log_m):.0f} rows at S = {total:.1f}" for total, (log_m, _) in pairs)
        claims.append(
            Claim(
                name="slope of log m on log S at distortion 0.5", source=CARD + "1", published=f"rows {formula}",
                setting=f"p = {p:g}, {score}, 1500 x 8 with 1 to 8 entries a row, 24 samples",
                measured=slope, mcse=error,
                band=(-inf, bound), note=f"an upper bound: the slope may be smaller; {found}",
            )
        )  # fmt: skip
    return ClaimTable(claims)


def real_data() -> ClaimTable:
    """Total sensitivity of scikit-learn's diabetes data against the worst case."""
    from sklearn.datasets import load_diabetes

    matrix, claims = load_diabetes().data, []
    d = matrix.shape[1]
    for p in (1.0, 3.0):
        total = lp_sensitivities(matrix, p, method="exact").sum()
        worst = max(d, d ** (p / 2))
        claims.append(
            Claim(
                name="total sensitivity over its worst case", setting=f"diabetes 442 x 10, p = {p:g}",
                source=CARD + "4", published="far under 1", measured=float(total / worst), band=(-inf, 1.0),
                note=f"S = {total:.2f}, worst case {worst:.1f}",
            )
        )  # fmt: skip
    return ClaimTable(claims)


def regression(quick: bool) -> ClaimTable:
    """Certified gap of lp regression on all rows."""
    n, claims = (20_000 if quick else 100_000), []
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = X @ np.arange(10) + rng.standard_t(5, size=n)
    for p in (1.0, 1.5, 3.0, 4.0):
        model = LpRegressor(p).fit(X, y)
        claims.append(
            Claim(
                name="certified gap", setting=f"p = {p:g}, {n} x 10, {model.n_iter_} steps", source="issue, row 4",
                measured=model.gap_, band=(-inf, 1e-8),
            )
        )  # fmt: skip
    return ClaimTable(claims)


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Every claim of the card."""
    # What the slopes need is out of a quick run's reach.
    slopes = ClaimTable() if quick else exponents()
    table = slopes + where_uniform_fails(quick) + gaussian(quick) + real_data() + regression(quick)
    return table.first_look() if quick else table


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(claims(parser.parse_args().quick))


if __name__ == "__main__":
    main()
