"""
View, click, buy
================

Of a hundred visitors one buys. A logit of buying learns from these few alone; but everybody who buys has clicked, and
clicks are plenty. PRESTO takes the slopes of clicking for those of buying, unless the data say otherwise.
"""

# %%
# A simulated shop whose truth is known: what makes people click makes them buy, but for the price.
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mcstat.datasets import make_funnel
from mcstat.ordinal import PRESTOClassifier, ProportionalOdds, RareLogit

shop = make_funnel(4000, random_state=1)
print(shop.X.head())
print(shop.y.value_counts())

# %%
# Estimators of mcstat are scikit-learn estimators: they stand at the end of a pipeline.
columns = ColumnTransformer(
    [
        ("labels", OneHotEncoder(drop="first", sparse_output=False), ["device", "source"]),
        ("numbers", StandardScaler(), ["price", "discount", "visits"]),
    ],
    verbose_feature_names_out=False,
).set_output(transform="pandas")
models = {
    "logit of buying": RareLogit(),
    "proportional odds": ProportionalOdds(),
    "PRESTO": PRESTOClassifier(penalize_first=False, random_state=0),
}
for name, model in models.items():
    pipeline = make_pipeline(columns, model).fit(shop.X, shop.y)
    chance = model.predict_rare_proba(pipeline[:-1].transform(shop.X))
    error = np.mean((chance - shop.rare_probability) ** 2)
    print(f"{name:18s} root mean squared error of the chance to buy: {np.sqrt(error):.5f}")

# %%
# Where did the two boundaries part? Only columns whose effect changes between click and purchase should show.
presto = models["PRESTO"]
for name, click, change in zip(presto.feature_names_in_, presto.psi_[0], presto.psi_[1], strict=True):
    print(f"{name:16s} slope at the click {click:+.2f}, change at the purchase {change:+.2f}")

# %%
# Twenty other data sets tell whether that was luck; with more visitors the logit has more to learn from.
runs = {name: [] for name in models}
for seed in range(20):
    other = make_funnel(10_000, random_state=seed)
    X = columns.fit_transform(other.X)
    for name, model in models.items():
        chance = model.fit(X, other.y).predict_rare_proba(X)
        runs[name].append(np.mean((chance - other.rare_probability) ** 2))
for name, errors in runs.items():
    print(f"{name:18s} median {np.sqrt(np.median(errors)):.5f}")

# %%
# A path of penalties shows how the slopes of buying leave those of clicking.
ax = presto.plot_path()
ax.set_title("view | click | buy")
