"""The room's demo: logistic regressions trained with differential privacy, attacked and audited."""

from __future__ import annotations

import numpy as np

from mcstat.core._svg import forest
from mcstat.core.page import Section
from mcstat.datasets import make_dp_sgd_attack
from mcstat.privacy import GaussianCanaryAudit, PrivacyAuditor, attack_metrics

_DELTA, _LEVEL = 1e-5, 0.9


def run() -> Section:
    """About 5 CPU seconds once compiled."""
    attack = make_dp_sgd_attack(n_models=100, n_canaries=10, random_state=0)
    promised = attack.epsilon(_DELTA)
    auditor = PrivacyAuditor(delta=_DELTA, level=_LEVEL, random_state=0).fit(attack.scores, attack.membership)
    audit = auditor.estimate()
    audits = {"joint-beta": audit}
    for method in ("clopper-pearson", "jeffreys", "joint-exact"):
        audits[method] = PrivacyAuditor(_DELTA, method=method).fit_counts(**auditor.counts_).estimate()
    inside, outside = attack.scores[attack.membership], attack.scores[~attack.membership]
    audits["two normal laws"] = GaussianCanaryAudit(_DELTA, random_state=0).fit(inside, outside).estimate()
    ends = np.array([one.conf_int(_LEVEL).iloc[0] for one in audits.values()])

    text = (
        "A hundred logistic regressions on scikit-learn's 1797 digits, trained by DP-SGD (noise 1, a tenth of the "
        f"data a step, 200 steps; accuracy {attack.accuracy.mean():.3f}), each with ten canaries, in by a fair coin. "
        "An attack reads from the finished model how much it believes in a canary's label."
        "\n\n"
        f"The accountant promises epsilon {promised:.2f} at delta {_DELTA:g}. The attack's errors show at least "
        f"{ends[0, 0]:.2f} (credible) or {ends[1, 0]:.2f} (exact), 90 % intervals: the promise is kept, and this "
        "attack at one threshold does not reach it."
    )
    return Section(
        title="Privacy: does DP-SGD leak less than its accountant promises?",
        text=text,
        items=[
            attack_metrics(attack.scores, attack.membership, random_state=0),
            audit.summary(_LEVEL),
            forest(
                list(audits),
                [float(one) for one in audits.values()],
                ends[:, 0],
                ends[:, 1],
                caption="Epsilon of the attack with 90 % intervals by method, and the accountant's epsilon.",
                xlabel="epsilon at delta = 1e-5",
                reference=[promised] * len(audits),
                reference_label="accountant",
            ),
        ],
    )
