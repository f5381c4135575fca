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

from mcstat.datasets import make_dp_sgd_attack
from mcstat.privacy import (
    GaussianCanaryAudit,
    PrivacyAuditor,
    attack_metrics,
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
# The audit. Half of the models choose the threshold, the challenges of the other half are counted. Ten challenges of
# one model share its luck, so the audit is told which belong together.
auditor = PrivacyAuditor(delta=1e-5, level=0.9, random_state=0)
auditor.fit(attack.scores, attack.membership, groups=attack.models)
print(auditor.estimate().summary(level=0.9))

# %%
# The same evidence by all methods. The interval of the posterior is the narrowest that assumes nothing of the attack's
# scores; "gdp" assumes that the trade-off between the two error rates is that of a Gaussian mechanism.
audits = auditor.compare()
print(audits.round(2).to_string())

# %%
# A threshold chosen on all challenges, with a correction for the choice, gives a lower bound and no upper end. (These
# bounds take the challenges for independent.)
for threshold in ("multisplit", "bonferroni", "dkw"):
    chosen = PrivacyAuditor(delta=1e-5, method="clopper-pearson", threshold=threshold, level=0.9, random_state=0)
    low, high = chosen.fit(attack.scores, attack.membership).estimate().conf_int(0.9).iloc[0]
    audits.loc[threshold, ["epsilon", "lower", "upper"]] = [np.nan, low, high]

# %%
# If the scores are normal, their two laws say more than one threshold does.
scores_in, scores_out = attack.scores[attack.membership], attack.scores[~attack.membership]
gaussian = GaussianCanaryAudit(delta=1e-5, random_state=0).fit(scores_in, scores_out).estimate()
audits.loc["two normal laws", ["epsilon", "lower", "upper"]] = [float(gaussian), *gaussian.conf_int(0.9).iloc[0]]
print(gaussian)

# %%
# When one model is all there is: a thousand canaries in it, and guesses for the 50 highest and the 50 lowest scores.
# The number of guesses was set before the scores were seen. Only a lower bound is known.
one = make_dp_sgd_attack(n_models=1, n_canaries=1000, random_state=1)
for method in ("one-run", "one-run-fdp"):
    single = PrivacyAuditor(delta=1e-5, method=method, n_guesses=100, level=0.9, random_state=0)
    low, high = single.fit(one.scores, one.membership).estimate().conf_int(0.9).iloc[0]
    audits.loc[method, ["epsilon", "lower", "upper"]] = [np.nan, low, high]

# %%
# All intervals, and the accountant's epsilon as the dashed line. Bounds without an upper end are arrows.
import matplotlib.pyplot as plt

rows, open_end = np.arange(len(audits)), np.isinf(audits["upper"])
figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
ax.hlines(rows[~open_end], audits["lower"][~open_end], audits["upper"][~open_end], color="C0")
ax.plot(audits["lower"][open_end], rows[open_end], ">", color="C0")
ax.plot(audits["epsilon"], rows, "o", color="C0", markersize=4)
ax.axvline(promised, color="C1", linestyle="--", label="accountant")
ax.set_yticks(rows, list(audits.index))
ax.invert_yaxis()
ax.set_xlabel("epsilon at delta = 1e-5: 90 % intervals and lower bounds")
ax.legend()

# %%
# The posterior of epsilon.
posterior = auditor.posterior_
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
