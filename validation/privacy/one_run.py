"""One-run audits: the card's figures, validity, power on DP-SGD, and the coverage of Gaussian canaries.

    python -m validation.privacy.one_run [--quick] [--n-jobs N]

In full about five CPU minutes, quick five seconds.
"""

from __future__ import annotations

import sys
from functools import partial
from math import inf, sqrt

import numpy as np

from mcstat.core.parallel import map_tasks
from mcstat.core.rng import Purpose, root_seed, stream
from mcstat.datasets import make_dp_sgd_attack
from mcstat.privacy import GaussianCanaryAudit, gdp_to_eps
from mcstat.privacy._one_run import count_guesses, one_run_lower, one_run_mu
from mcstat.privacy._scores import Challenges
from mcstat.study import Claim, ClaimTable

LEVEL, DELTA = 0.95, 1e-5


def exact_figures() -> list[Claim]:
    """Check 9 of the card."""
    mu = one_run_mu(1000, 100, 100, LEVEL)
    figures = (
        ("bound of 100 right of 100, m = 1000, delta 1e-5", one_run_lower(1000, 100, 100, 1e-5, LEVEL), 3.46538, 1e-5),
        ("the same, delta 0: logit(.05^.01)", one_run_lower(1000, 100, 100, 0.0, LEVEL), 3.492965, 1e-6),
        ("bound of 600 right of 1000, delta 0", one_run_lower(1000, 1000, 600, 0.0, LEVEL), 0.29747, 1e-5),
        ("mu of 100 right of 100 (f-DP), m = 1000", mu, 1.225533, 1e-6),
        ("its epsilon at delta 1e-5", float(gdp_to_eps(mu, 1e-5)), 5.549028, 1e-6),
    )
    return [
        Claim(
            name=name,
            setting="95 %",
            source="card, exact check 9",
            published=f"{wanted}",
            measured=value,
            band=(wanted - room, wanted + room),
        )
        for name, value, wanted, room in figures
    ]


def gaussian_run(mu: float, k: int) -> tuple[bool, bool]:
    """Whether both bounds hold in run k: 1000 canaries with scores N(mu, 1) and N(0, 1), 100 guesses."""
    rng = stream(root_seed(2), "one_run", Purpose.REPLICATES, k)
    member = rng.random(1000) < 0.5
    challenges = Challenges(rng.standard_normal(1000) + mu * member, member)
    _, right = count_guesses(challenges, 100, rng)
    holds = one_run_lower(1000, 100, right, DELTA, LEVEL) <= gdp_to_eps(mu, DELTA)
    return bool(holds), one_run_mu(1000, 100, right, LEVEL) <= mu


def canary_run(spread: str, k: int) -> bool:
    """Whether the 90 % interval of GaussianCanaryAudit holds the truth with 200 canaries a side and mu = 1."""
    rng = stream(root_seed(3), "one_run", Purpose.REPLICATES, k)
    audit = GaussianCanaryAudit(DELTA, spread=spread, n_draws=400, random_state=k)
    ends = audit.fit(rng.normal(1.0, 1.0, 200), rng.normal(0.0, 1.0, 200)).estimate().conf_int(0.9).iloc[0]
    return bool(ends["lower"] <= gdp_to_eps(1.0, DELTA) <= ends["upper"])


def proportion(name: str, setting: str, held: np.ndarray, level: float, two_sided: bool) -> Claim:
    """A coverage, within 3.3 standard errors of its level (above it where only that is promised)."""
    error = sqrt(level * (1 - level) / len(held))
    return Claim(
        name=name,
        setting=f"{setting}, {len(held)} runs",
        source="issue: guarantees hold",
        measured=float(np.mean(held)),
        mcse=error,
        band=(level - 3.3 * error, level + 3.3 * error if two_sided else inf),
    )


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """All figures."""
    found = exact_figures()
    runs = range(40 if quick else 2000)
    spread = partial(map_tasks, n_jobs=n_jobs, prefer="processes")
    for mu in (0.5, 1.5):
        holds = np.array(spread(partial(gaussian_run, mu), runs))
        setting = f"1000 Gaussian canaries, mu {mu:g}, 100 guesses"
        found.append(proportion("coverage of the 95 % bound, any algorithm", setting, holds[:, 0], LEVEL, False))
        found.append(proportion("coverage of the 95 % bound, f-DP", setting, holds[:, 1], LEVEL, False))
    for kind in ("common", "separate"):
        held = np.array(spread(partial(canary_run, kind), runs))
        claim = proportion(f"coverage of 90 %, Gaussian canaries, {kind} spread", "200 a side, mu 1", held, 0.9, True)
        if kind == "separate":
            # Known to fail where both spreads are equal: reported, not promised.
            claim = Claim(
                name=claim.name, setting=claim.setting, source="none", measured=claim.measured, mcse=claim.mcse
            )
        found.append(claim)
    return ClaimTable(found + dp_sgd_bounds(2 if quick else 20))


def dp_sgd_bounds(runs: int) -> list[Claim]:
    """Bounds from one model with 1000 canaries, against the accountant's epsilon."""
    bounds = []
    for k in range(runs):
        attack = make_dp_sgd_attack(1, 1000, random_state=k)
        rng = stream(root_seed(4), "one_run", Purpose.REPLICATES, k)
        _, right = count_guesses(Challenges(attack.scores, attack.membership), 100, rng)
        mu = one_run_mu(1000, 100, right, LEVEL)
        bounds.append((one_run_lower(1000, 100, right, DELTA, LEVEL), float(gdp_to_eps(mu, DELTA))))
    promised, values = attack.epsilon(DELTA), np.array(bounds)
    return [
        Claim(
            name=f"95 % bound from one DP-SGD run, {name}",
            setting=f"digits, 1000 canaries, 100 guesses, accountant {promised:.2f}, {runs} runs",
            source="issue: under the accountant's epsilon",
            measured=float(values[:, j].mean()),
            mcse=float(values[:, j].std(ddof=1) / sqrt(runs)),
            band=(0.0, promised),
        )
        for j, name in enumerate(("any algorithm", "f-DP"))
    ]


def main() -> None:
    """Print the table."""
    n_jobs = int(sys.argv[sys.argv.index("--n-jobs") + 1]) if "--n-jobs" in sys.argv else 1
    print(claims("--quick" in sys.argv, n_jobs))


if __name__ == "__main__":
    main()
