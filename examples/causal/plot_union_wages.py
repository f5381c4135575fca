"""
Do unions raise wages?
======================

545 young men over eight years: those in a union earn more. But the more able may join, or be hired, more often. Double
machine learning takes out what differs between persons and what experience, marriage and health do, in any form.
"""

# %%
# The unit effect is a person's ability; it may well be correlated with the covariates. ``"cre"`` gives each
# covariate's mean over the years to the learners and demeans the residual of the treatment by person.
import warnings

import matplotlib.pyplot as plt
import numpy as np

from mcstat.causal import PanelDML
from mcstat.datasets import load_wage_panel

wages = load_wage_panel()
columns = {
    "outcome": "log_wage",
    "treatment": "union",
    "covariates": ["experience", "schooling", "married", "poor_health", "black", "hispanic"],
    "unit": "person",
    "time": "year",
}
model = PanelDML("cre", "series", "series", n_rep=5, time_effects="dummies", random_state=0)
model.fit(data=wages, **columns)
print(model.estimate().summary())

# %%
# The authors' advice: look at other approaches, and at linear fixed effects. Pooling the rows, which takes persons for
# alike, doubles the premium.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # first differences and deviations drop what never changes, and say so
    table = model.compare(["cre", "cre_mundlak", "fd", "within", "pooled"])
print(table.round(3))

order = ["linear FE", "within", "cre", "cre_mundlak", "fd", "pooled"]
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
rows = np.arange(len(order))
ax.hlines(rows, table.loc[order, "conf_low"], table.loc[order, "conf_high"], color="C0")
ax.plot(table.loc[order, "estimate"], rows, "o", color="C0")
ax.axvline(0.0, color="0.8", linewidth=0.8)
ax.set_yticks(rows, order)
ax.invert_yaxis()
ax.set_xlabel("effect of union membership on the log wage, 95 % intervals")

# %%
# Is it the same for all? ``groups`` interacts the effect; both come from one fit, so their difference has an error.
education = np.where(wages["schooling"] > 12, "college", "school")
by_group = model.fit(data=wages.assign(education=education), groups="education", **columns).estimate()
print(by_group)
print(by_group.transform(lambda theta: theta[0] - theta[1], names=["difference"]))

# %%
# How strong a confounder within persons would it take to make the effect nothing? The robustness value says: one that
# explains this share of what is left of the wage and of union membership. Marriage is far weaker.
model.fit(data=wages, **columns)
print(model.robustness_value().round(3))
print(model.robustness_value(level=0.95).round(3))
print(model.benchmark(["married"]).round(4))
