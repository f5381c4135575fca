"""
Two means and their ratio
=========================

The one result type, made by hand: how much larger are cell nuclei in malignant breast tumours?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from mcstat import Estimate

# %%
# Two groups of tumours, and the mean area of the cell nuclei in each. Every tumour is in one group only, so the
# two means are independent and their covariance is diagonal.

data = load_breast_cancer()
area = data.data[:, list(data.feature_names).index("mean area")]
groups = {name: area[data.target == code] for code, name in enumerate(data.target_names)}
means = Estimate(
    value=[group.mean() for group in groups.values()],
    cov=np.diag([group.var(ddof=1) / len(group) for group in groups.values()]),
    names=list(groups),
    estimand="mean nuclear area (square pixels)",
    method="sample mean",
)
means

# %%
# A function of the estimates is again an Estimate; its error follows by the delta method.

ratio = means.transform(lambda mean: mean[:1] / mean[1:], names=["malignant / benign"])
print(ratio)
print(ratio.conf_int(level=0.99))

# %%
# Tables and pictures are one call each.

fig, ax = plt.subplots(figsize=(6, 2))
means.plot(ax=ax)
fig.tight_layout()
