"""
How sure were the tasters?
==========================

185 people tasted packet soup, 1847 samples in all, and said of each whether it was the reference product, on a scale
from 1 (reference, sure) to 6 (not reference, sure). How probable is each answer, given the product and the person?
Slopes that are free at each step of the scale cost too much variance, slopes that are common to all may be wrong;
PRESTO shrinks the differences between neighbouring steps and lets cross-validation say how far.
"""

# %%
# The rating is an ordered categorical, so nobody has to say which label comes first. Here the *first* class,
# "reference, sure", is the one of interest: ``reverse`` builds the boundaries from that end.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from mcstat.datasets import load_soup
from mcstat.ordinal import (
    PRESTOClassifier,
    ProportionalOdds,
    RareLogit,
    calibration_error,
    calibration_table,
    plot_calibration,
)

soup = load_soup()
rating = soup["SURENESS"]
factors = soup.drop(columns=["SURENESS", "RESP", "PRODID"]).assign(EASY=soup["EASY"].astype(float))
X = pd.get_dummies(factors, drop_first=True).astype(float)
print(rating.value_counts(sort=False))

# %%
# Tuned by the Brier score over five folds that hold every class, twenty penalties each.
presto = PRESTOClassifier(reverse=True, n_draws=200, random_state=0).fit(X, rating)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
presto.plot_cv(left)
presto.plot_path(right)

# %%
# The estimate says where its uncertainty comes from: here a bootstrap at the tuned penalty. It takes ratings for
# independent; with ten ratings a person the intervals are too narrow, and tell only the least that is uncertain.
print(presto.estimate().summary())

# %%
# Are the slopes common? The score test says that some are not. The penalty lets some of them differ.
odds = ProportionalOdds().fit(X, rating)
print(odds.parallel_lines_test().sort_values("p_value").head(6).round(4))
changes = presto.psi_[1:]
print("neighbouring slopes that differ:", np.count_nonzero(changes), "of", changes.size)

# %%
# Predictions for people who were not in the fit: folds keep a person's ratings together.
models = {
    "PRESTO": PRESTOClassifier(presto.lambda_, reverse=True),
    "proportional odds": ProportionalOdds(),
    "logit": RareLogit(rare=1),
}
first = np.asarray(rating == 1)
predicted = {name: np.empty(len(X)) for name in models}
for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(X, rating, groups=soup["RESP"]):
    for name, model in models.items():
        model.fit(X.iloc[train], rating.iloc[train])
        predicted[name][test] = model.predict_proba(X.iloc[test])[:, 0]
for name, p in predicted.items():
    print(f"{name:18s} Brier {np.mean((p - first) ** 2):.5f}   calibration error {calibration_error(p, first):.5f}")

# %%
# Bins of equal numbers of rows: predicted probability against what happened.
ax = plot_calibration(predicted["PRESTO"], first, n_bins=10)
ax.set_title('"reference, sure", people outside the fit')
print(calibration_table(predicted["PRESTO"], first, n_bins=10).round(3))
