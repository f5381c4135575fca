"""
Does DP-SGD leak less than its accountant promises?
===================================================

Logistic regressions on real digits are trained with differential privacy, and attacked: is this canary, an image with
one odd pixel under a random label, in the training set? How often the attack is wrong bounds the privacy parameter
epsilon from below; the accountant bounds it from above. A bug in the training would show as a lower bound that is
higher than the upper one.
"""

# %%
# One hundred models, ten canaries each, every canary in or out by a fair coin: 1000 challenges. The training takes
# noise as large as the clipping norm, a tenth of the data a step, and 200 steps.
import numpy as np

from mcstat import Estimate
from mcstat.datasets import make_dp_sgd_attack
from mcstat.privacy import (
    EpsilonPosterior,
    GaussianCanaryAudit,
    PrivacyAuditor,
    attack_metrics,
    one_run_pvalue,
    plot_posterior,
    plot_roc,
    plot_tradeoff,
)

attack = make_dp_sgd_attack(n_models=100, n_canaries=10, random_state=0)
promised = attack.epsilon(delta=1e-5)
print(f"accuracy {attack.accuracy.mean():.3f}, epsilon of the accountant {promised:.2f}")

# %%
# How good is the attack?
print(attack_metrics(attack.scores, attack.membership, random_state=0))

# %%
# The audit. Half of the challenges choose the threshold, the other half are counted.
auditor = PrivacyAuditor(delta=1e-5, level=0.95, random_state=0).fit(attack.scores, attack.membership)
print(auditor.estimate().summary())

# %%
# The same counts by the other methods, all at 90 %. The interval of the posterior is the narrowest; all of them lie
# below the accountant, as they should. They speak of this attack at this threshold, and a better attack may find more.
methods = ("joint-beta", "clopper-pearson", "jeffreys", "joint-exact")
counts = auditor.counts_
audits = {method: PrivacyAuditor(delta=1e-5, method=method).fit_counts(**counts).estimate() for method in methods}
print(Estimate.compare(audits, level=0.9).round(2).to_string())

# %%
# If the scores are normal, their two laws say more than one threshold does.
scores_in, scores_out = attack.scores[attack.membership], attack.scores[~attack.membership]
gaussian = GaussianCanaryAudit(delta=1e-5, random_state=0).fit(scores_in, scores_out).estimate()
audits["two normal laws"] = gaussian
print(gaussian)

# %%
# When one model is all there is: a thousand canaries in it, guesses for the 50 highest and the 50 lowest scores, and
# the test of any epsilon that one may ask about. The number of guesses was set before the scores were seen.
one = make_dp_sgd_attack(n_models=1, n_canaries=1000, random_state=1)
order = np.argsort(one.scores)
n_correct = int(one.membership[order[-50:]].sum() + (~one.membership[order[:50]]).sum())
for epsilon in (0.5, 1.0, 2.0):
    p = one_run_pvalue(n_canaries=1000, n_guesses=100, n_correct=n_correct, epsilon=epsilon, delta=1e-5)
    print(f"{n_correct} of 100 right; p-value of ({epsilon:g}, 1e-5)-privacy: {p:.2g}")

# %%
# All intervals, and the accountant's epsilon as the dashed line.
ends = np.array([audit.conf_int(0.9).iloc[0] for audit in audits.values()])
values = np.array([float(audit) for audit in audits.values()])
rows = np.arange(len(audits))

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
ax.hlines(rows, ends[:, 0], ends[:, 1], color="C0")
ax.plot(values, rows, "o", color="C0", markersize=4)
ax.axvline(promised, color="C1", linestyle="--", label="accountant")
ax.set_yticks(rows, list(audits))
ax.invert_yaxis()
ax.set_xlabel("epsilon at delta = 1e-5, 90 % intervals")
ax.legend()

# %%
# The posterior of epsilon.
posterior = EpsilonPosterior(**counts, delta=1e-5)
plot_posterior(posterior, level=0.9)

# %%
# The attack's ROC curve. An algorithm with epsilon 1.5 would keep every attack inside the shaded region: this one
# leaves it. Then the same on logarithmic axes with the accountant's epsilon, where the few false positives are that a
# careful attacker allows.
plot_roc(attack.scores, attack.membership, eps=1.5)

# %%
plot_roc(attack.scores, attack.membership, eps=promised, log=True)

# %%
# What one threshold says of the whole trade-off between the two error rates.
plot_tradeoff(posterior, level=0.9)
