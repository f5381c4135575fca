"""
A small group that must not be forgotten
========================================

Handwritten digits, but the eights are rare: 40 of them beside 1600 other digits. A model trained on all rows alike
sees an eight every fortieth time. One can draw small classes more often (*temperature sampling*), weigh them more
(*scalarization*; the same objective), or draw them more often only in the first half of training (*cooldown*).
``BalancedSGD`` does all three around any scikit-learn estimator with ``partial_fit``.
"""

# %%
# The classes are the domains here; any labels may be, such as languages, hospitals or years.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from mcstat.subsampling import BalancedSGD, RS2Estimator, compare_selection, variance_inflation

X, y = load_digits(return_X_y=True)
X /= 16
eights = np.flatnonzero(y == 8)
kept = np.setdiff1d(np.arange(len(y)), eights[40:])
train_X, train_y, extra_X = X[kept], y[kept], X[eights[40:]]
print("eights to learn from:", np.sum(train_y == 8), "of", len(train_y), "rows; kept to test on:", len(extra_X))

# %%
# A temperature of 1 draws classes in proportion to their size, a high one draws all classes alike. The alarm says how
# often the few eights will come round: many passes invite overfitting, which is what the cooldown is for. Training is
# too short to overfit here, so that cooling down only unlearns some of the eights again.
ways = {
    "in proportion": {"tau": 1.0},
    "temperature 3": {"tau": 3.0},
    "weights of temperature 3": {"tau": 3.0, "strategy": "scalarize"},
    "cooldown from 3 to 1": {"tau": 3.0, "strategy": "cooldown"},
}
models = {}
for name, settings in ways.items():
    base = SGDClassifier(loss="log_loss", alpha=1e-4)
    model = BalancedSGD(base, eta0=0.05, n_iter=400, batch_size=8, validation_fraction=0.3, random_state=0, **settings)
    models[name] = model.fit(train_X, train_y)
    found = np.mean(model.predict(extra_X) == 8)
    others = model.estimate().value[[0, 1, 2, 3, 4, 5, 6, 7, 9]].mean()
    passes = model.expected_passes_[8]
    print(f"{name:26} passes of the eights {passes:4.1f}, eights found {found:.2f}, other digits right {others:.3f}")

# %%
# The price of weights: a row's gradient has this much more second moment than under temperature sampling, if gradients
# are of one size in all classes. ``gradient_variance_gap`` takes measured sizes, and then the sign is not certain.
print("variance inflation:", round(variance_inflation(np.bincount(train_y), tau=3.0), 3))

# %%
# The history has the held-out loss of every class.
fig, ax = plt.subplots(layout="constrained")
for name, model in models.items():
    ax.plot(model.history_["step"], model.history_["loss[8]"], label=name)
ax.set(xlabel="update", ylabel="held-out log loss of the eights")
ax.legend()

# %%
# ``estimate()`` gives the accuracy in each class with its exact binomial interval: with twelve eights held out, it is a
# wide one.
print(models["temperature 3"].estimate().to_frame()[["term", "estimate", "conf_low", "conf_high"]].round(3))

# %%
# When the question is not balance but time, a fresh random twentieth of the rows each round (*RS2*) is as good as all
# rows for the same number of updates, and much better than a fixed one. The comparison always shows the full data on a
# schedule of equal length: without it, cutting a long schedule short makes any subset look good.
print(
    compare_selection(
        SGDClassifier(loss="log_loss"), X, y, ratio=0.05, n_rounds=40, batch_size=16, eta0=0.05, target=0.9,
        random_state=0,
    )
)  # fmt: skip
model = RS2Estimator(SGDClassifier(loss="log_loss"), ratio=0.05, n_rounds=40, batch_size=16, eta0=0.05, random_state=0)
print(model.fit(X, y).estimate())
