"""Folds, Gram matrices and the linear learners, against slow and obvious ways."""

import numpy as np
import pytest
from numpy.random import SeedSequence
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import Lasso as SkLasso
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from mcstat.causal import PLR
from mcstat.causal._folds import Folds, given_folds, make_folds
from mcstat.causal._grams import block_moments
from mcstat.causal._learners import Design, Lasso, Stack, Task, make_learner
from mcstat.causal._linear import cross_fit, lasso, least_squares, ridge
from mcstat.causal._series import main_columns
from mcstat.causal._stacking import stacked
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.datasets import make_plr


def rows(n=200, p=6, seed=0, m=2):
    rng = np.random.default_rng(seed)
    Z = 3.0 + rng.normal(size=(n, p)) * np.arange(1, p + 1)
    targets = Z[:, :m] * [1.0, -2.0][:m] + 10.0 + rng.normal(size=(n, m))
    unit = np.repeat(np.arange(n // 5), 5)
    return Z, targets, unit


def plain(Z):
    return Z


def design_of(Z, unit, linear=None):
    flags = np.zeros(Z.shape[1], dtype=bool)
    return Design(Z, tuple(f"z{j}" for j in range(Z.shape[1])), flags if linear is None else linear, flags, unit)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("splitter", ["unit", "nlo", "two_way"])
def test_least_squares_of_every_fold(splitter, weighted):
    Z, targets, unit = rows()
    rng = np.random.default_rng(0)
    K = 10 if splitter == "nlo" else 3
    folds = make_folds(splitter, K, unit, np.arange(200) % 20, rng)
    weights = rng.integers(0, 3, 200).astype(float) if weighted else np.ones(200)
    found = cross_fit(plain, Z, targets, weights, folds, least_squares)
    for k in range(folds.n_folds):
        train, test = folds.training_rows(k), folds.of_row == k
        model = LinearRegression().fit(Z[train], targets[train], sample_weight=weights[train])
        np.testing.assert_allclose(found[test], model.predict(Z[test]), atol=1e-10)


def test_least_squares_where_columns_repeat_or_are_constant():
    Z, targets, unit = rows()
    folds = make_folds("unit", 4, unit, unit * 0, np.random.default_rng(0))
    wanted = cross_fit(plain, Z, targets, np.ones(200), folds, least_squares)
    wide = np.column_stack([Z, Z[:, 0], np.full(200, 7.0), np.zeros(200)])
    np.testing.assert_allclose(cross_fit(plain, wide, targets, np.ones(200), folds, least_squares), wanted, atol=1e-8)


def test_two_way_cells_train_on_neither_their_units_nor_their_periods():
    unit, period = np.repeat(np.arange(30), 12), np.tile(np.arange(12), 30)
    folds = make_folds("two_way", 3, unit, period, np.random.default_rng(0))
    assert folds.n_folds == 9
    for k in range(9):
        test, train = folds.of_row == k, folds.training_rows(k)
        assert not set(unit[test]) & set(unit[train])
        assert not set(period[test]) & set(period[train])


def test_neighbours_are_left_out():
    period = np.tile(np.arange(40), 5)
    folds = make_folds("nlo", 10, np.repeat(np.arange(5), 40), period, np.random.default_rng(0))
    for k in range(10):
        assert set(period[folds.training_rows(k)] // 4) == set(range(10)) - {k - 1, k, k + 1}


def test_unit_folds_balance_rows_of_unequal_units():
    sizes = np.r_[np.full(10, 30), np.full(100, 3)]
    unit = np.repeat(np.arange(110), sizes)
    folds = make_folds("unit", 5, unit, unit * 0, np.random.default_rng(0))
    counts = np.bincount(folds.of_row)
    assert counts.max() - counts.min() <= 6


def test_given_folds_as_labels_and_as_pairs_are_the_same():
    labels = np.arange(30) % 3
    pairs = [(np.flatnonzero(labels != k), np.flatnonzero(labels == k)) for k in range(3)]
    one, other = given_folds(labels, 30), given_folds(pairs, 30)
    assert isinstance(one, Folds)
    for k in range(3):
        assert np.array_equal(one.training_rows(k), other.training_rows(k))
    with pytest.raises(InvalidData, match="exactly once"):
        given_folds([pairs[0], pairs[0], pairs[1]], 30)


def test_gram_matrices_of_blocks_add_up():
    Z, targets, unit = rows()
    blocks = unit % 4
    weights = np.random.default_rng(1).random(200)
    moments = block_moments(plain, Z, targets, weights, blocks, 4)
    at = moments.standardised(np.array([0, 2]))
    part = np.isin(blocks, [0, 2])
    w = weights[part] / weights[part].sum()
    mean, z = w @ Z[part], Z[part] - w @ Z[part]
    scale = np.sqrt(w @ z**2)
    np.testing.assert_allclose(at.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(at.gram, (z / scale).T @ (z / scale * w[:, None]), atol=1e-12)
    np.testing.assert_allclose(at.cross, (z / scale * w[:, None]).T @ targets[part], atol=1e-11)


def test_lasso_chooses_and_solves_as_loops_over_rows_do():
    Z, targets, unit = rows(p=8)
    folds = make_folds("unit", 4, unit, unit * 0, np.random.default_rng(0))
    found = cross_fit(plain, Z, targets, np.ones(200), folds, lasso)
    scale_all = Z.std(axis=0)
    for target in range(2):
        y = targets[:, target]
        top = np.abs((Z - Z.mean(axis=0)).T @ (y - y.mean()) / 200 / scale_all).max()
        grid = top * np.geomspace(1.0, 1e-3, 100)
        for k in range(4):
            train, errors = folds.of_row != k, np.zeros(100)

            def fit(part, penalty, y=y):
                scale = Z[part].std(axis=0)
                model = SkLasso(alpha=penalty, tol=1e-10, max_iter=100_000).fit(Z[part] / scale, y[part])
                return lambda Z: model.predict(Z / scale)

            for j in set(range(4)) - {k}:
                part, out = train & (folds.of_row != j), folds.of_row == j
                errors += [np.sum((y[out] - fit(part, lam)(Z[out])) ** 2) for lam in grid]
            wanted = fit(train, grid[np.argmin(errors)])(Z[~train])
            # A penalty next to the best one may be chosen where both are as good.
            near = [fit(train, grid[i])(Z[~train]) for i in np.argsort(errors)[:3]]
            gaps = [np.abs(found[~train, target] - other).max() for other in (wanted, *near)]
            assert min(gaps) < 1e-4


def test_ridge_is_generalised_cross_validation():
    Z, targets, unit = rows(m=1)
    folds = make_folds("unit", 3, unit, unit * 0, np.random.default_rng(0))
    factors = np.array([1.0, 1.0, 0.1, 1.0, 0.01, 1.0])

    def solver(moments, folds):
        return ridge(moments, folds, None, factors)

    found = cross_fit(plain, Z, targets, np.ones(200), folds, solver)
    for k in range(3):
        train = folds.of_row != k
        n, mean, scale = train.sum(), Z[train].mean(axis=0), Z[train].std(axis=0)
        z = (Z - mean) / scale / np.sqrt(factors)
        best, best_error = None, np.inf
        for lam in np.logspace(-9, 1, 40):
            model = Ridge(alpha=n * lam).fit(z[train], targets[train, 0])
            hat = z[train] @ np.linalg.solve(z[train].T @ z[train] + n * lam * np.eye(6), z[train].T)
            error = np.mean((targets[train, 0] - model.predict(z[train])) ** 2) / (1 - (1 + np.trace(hat)) / n) ** 2
            if error < best_error:
                best, best_error = model, error
        np.testing.assert_allclose(found[~train, 0], best.predict(z[~train]), atol=1e-8)


def test_series_basis_holds_its_budget_and_the_functions_it_promises():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(2000, 3))
    Z[:, 2] = Z[:, 2] > 0
    none = np.zeros(3, dtype=bool)
    basis = main_columns(Z, none, none, np.ones(2000), 200)
    columns = basis(Z)
    assert columns.shape[1] == basis.n_main <= 200
    for wanted in (Z[:, 0] ** 3, np.maximum(Z[:, 1] * 0.5, Z[:, 1]), Z[:, 2]):
        fitted = columns @ np.linalg.lstsq(columns, wanted - wanted.mean(), rcond=None)[0]
        assert np.var(wanted - wanted.mean() - fitted + (fitted.mean())) < 1e-3 * np.var(wanted)
    # A far row does not reach beyond six deviations.
    far = basis(np.array([[1e6, 0.0, 0.0]]))
    assert np.abs(far).max() <= 6.0**3 + 1e-9


@pytest.mark.parametrize("n_features", [4, 40])
def test_series_finds_products(n_features):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(3000, n_features))
    mean = Z[:, 0] * Z[:, 1] + np.abs(Z[:, 2])
    y = mean + 0.3 * rng.normal(size=3000)
    unit = np.arange(3000)
    folds = make_folds("unit", 3, unit, unit * 0, rng)
    task = Task(design_of(Z, unit), y[:, None], np.ones(3000), folds, SeedSequence(0))
    predicted = make_learner("learner_y", "series").cross_fit(task).predictions[:, 0]
    assert 1 - np.mean((mean - predicted) ** 2) / np.var(mean) > 0.9


def test_a_stack_is_non_negative_least_squares_of_its_members():
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    Z = rng.normal(size=(300, 2))
    y = (Z[:, 0] > 0) + 0.5 * Z[:, 1] + 0.2 * rng.normal(size=300)
    unit = np.arange(300)
    folds = make_folds("unit", 3, unit, unit * 0, rng)
    task = Task(design_of(Z, unit), y[:, None], np.ones(300), folds, SeedSequence(0))
    fitted = make_learner("learner_y", "auto").cross_fit(task)
    parts = [make_learner("learner_y", name).cross_fit(task).predictions[:, 0] for name in ("series", "lasso", "hgb")]
    columns = np.column_stack(parts)
    weights = nnls(columns - columns.mean(axis=0), y - y.mean())[0]
    np.testing.assert_allclose(list(fitted.stack[0].values()), weights, atol=1e-10)
    best = min(np.mean((y - part) ** 2) for part in parts)
    assert np.mean((y - fitted.predictions[:, 0]) ** 2) < 1.01 * best


def test_plug_in_lasso_is_a_loop_of_lassos():
    Z, targets, unit = rows(n=300, p=8)
    rng = np.random.default_rng(3)
    weights = rng.integers(0, 3, 300).astype(float)
    folds = make_folds("unit", 3, unit, unit * 0, rng)
    task = Task(design_of(Z, unit), targets, weights, folds, SeedSequence(0))
    found = Lasso("bch").cross_fit(task).predictions
    for k in range(3):
        train = (folds.of_row != k) & (weights > 0)
        w = weights[train] / weights[train].mean()
        centre = w @ Z[train] / w.sum()
        scale = np.sqrt(w @ (Z[train] - centre) ** 2 / w.sum())
        z, n = (Z - centre) / scale, train.sum()
        for target in range(2):
            level = w @ targets[train, target] / w.sum()
            y, b = targets[train, target] - level, np.zeros(8)
            for _ in range(15):
                pulls = z[train] * (w * (y - z[train] @ b))[:, None]
                sums = np.array([pulls[unit[train] == i].sum(axis=0) for i in np.unique(unit)])
                phi = np.sqrt((sums**2).sum(axis=0) / n)
                penalty = 1.1 * norm.ppf(1 - 0.1 / np.log(n) / 16) * phi / np.sqrt(n)
                model = SkLasso(alpha=1.0, fit_intercept=False, tol=1e-12, max_iter=100_000)
                b = model.fit(z[train] / penalty, y, sample_weight=w).coef_ / penalty
            np.testing.assert_allclose(found[folds.of_row == k, target], (level + z @ b)[folds.of_row == k], atol=1e-3)


def test_plug_in_lasso_keeps_noise_out():
    # gamma = 0.1 / log n bounds the chance that a column of noise enters a fold by 1.4 %; of 150 models 15 or more
    # would be a chance below 1e-8.
    entered = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        Z, y, unit = rng.normal(size=(1500, 40)), rng.normal(size=(1500, 1)), np.arange(1500)
        folds = make_folds("unit", 3, unit, unit * 0, rng)
        predicted = (
            Lasso("bch").cross_fit(Task(design_of(Z, unit), y, np.ones(1500), folds, SeedSequence(0))).predictions
        )
        entered += sum(np.ptp(predicted[folds.of_row == k]) > 0 for k in range(3))
    assert entered < 15


@pytest.mark.parametrize("how", ["nnls", "simplex"])
def test_stack_weights_are_the_best_there_are(how):
    rng = np.random.default_rng(0)
    for scale in (0.5, 1.0, 2.0):
        columns = rng.normal(size=(200, 3)) + rng.normal(size=(200, 1))
        y, w = scale * columns @ [0.7, -0.2, 0.5] + rng.normal(size=200), rng.uniform(0.5, 2.0, 200)
        predicted, weights = stacked(columns, y, w, how)
        centred, level = columns - w @ columns / w.sum(), w @ y / w.sum()
        np.testing.assert_allclose(predicted, level + centred @ weights, atol=1e-12)

        def loss(x, centred=centred, level=level, y=y, w=w):
            return w @ (y - level - centred @ x) ** 2

        assert weights.min() >= 0
        start = np.full(3, 1 / 3)
        limits = {"constraints": {"type": "eq", "fun": lambda x: x.sum() - 1}} if how == "simplex" else {}
        other = minimize(loss, start, bounds=[(0, None)] * 3, method="SLSQP", options={"ftol": 1e-12}, **limits)
        np.testing.assert_allclose(weights, other.x, atol=1e-4)
        assert how == "nnls" or abs(weights.sum() - 1) < 1e-12


def test_stack_of_what_one_likes():
    Z, targets, unit = rows()
    folds = make_folds("unit", 4, unit, unit * 0, np.random.default_rng(0))
    task = Task(design_of(Z, unit), targets, np.ones(200), folds, SeedSequence(0))
    fitted = Stack(["ols", Lasso("bch"), Ridge(), Ridge(10.0)], weights="simplex").cross_fit(task)
    assert list(fitted.stack[0]) == ["ols", "lasso (bch)", "Ridge 1", "Ridge 2"]
    assert sum(fitted.stack[1].values()) == pytest.approx(1)
    np.testing.assert_array_equal(
        Stack().cross_fit(task).predictions, make_learner("x", "auto").cross_fit(task).predictions
    )
    alone = Stack(["ols"], weights="simplex").cross_fit(task).predictions
    ols = make_learner("x", "ols").cross_fit(task).predictions
    np.testing.assert_allclose(alone, ols + (targets - ols).mean(axis=0), atol=1e-10)


@pytest.mark.parametrize("learner", [Stack(["hgb", Lasso("bch")]), DecisionTreeRegressor(max_features=1)])
def test_clones_share_and_draw_alike(learner):
    data = make_plr(200, 5, random_state=0)
    columns = data["y"], data["d"], data["X"]
    model = PLR(learner, learner, random_state=1)
    wanted = model.fit(*columns).estimate().value
    np.testing.assert_array_equal(clone(model).fit(*columns).estimate().value, wanted)


def test_learners_refuse_what_they_cannot_do():
    data = make_plr(100, 3, random_state=0)
    for learner, words in (
        (Lasso("aic"), "penalty of learner_y must be one of"),
        (Stack(weights="sum"), "weights of learner_y must be one of"),
        (Stack("lasso"), "members of learner_y must be a sequence of learners"),
        (Stack([]), "members of learner_y must be a sequence of learners"),
        (Stack(["lasso", "trees"]), "members of learner_y must be a learner with fit and predict or one of"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            PLR(learner).fit(data["y"], data["d"], data["X"])


@pytest.mark.parametrize("given", [None, 3, KFold(3)])
def test_searches_leave_out_whole_units_unless_told_how(given):
    # Neighbours with the same covariate are rows of the same unit: one of them is best, if it may be looked at.
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(100), 10)
    Z, y = rng.normal(size=(100, 1))[unit], rng.normal(size=(100, 1))[unit] + 0.1 * rng.normal(size=(1000, 1))
    order = rng.permutation(1000)
    Z, y, unit = Z[order], y[order], unit[order]
    folds = make_folds("unit", 2, unit, unit * 0, rng)
    search = GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [3, 200]}, cv=given)
    task = Task(design_of(Z, unit), y, np.ones(1000), folds, SeedSequence(0), store=True)
    models = make_learner("learner_y", search).cross_fit(task).models
    wanted = 3 if isinstance(given, KFold) else 200
    assert [model.best_params_["n_neighbors"] for model in models.values()] == [wanted, wanted]


def test_a_search_for_a_binary_treatment_keeps_the_arms_in_all_folds():
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(40), 5)
    X, d = rng.normal(size=(200, 2)), (rng.random(200) < 0.2).astype(float)
    search = RandomizedSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, n_iter=2, cv=4)
    task = Task(
        design_of(X, unit), d[:, None], np.ones(200), make_folds("unit", 2, unit, unit * 0, rng), SeedSequence(0),
        probabilities=True, store=True,
    )  # fmt: skip
    fitted = make_learner("learner_d", search).cross_fit(task)
    assert isinstance(fitted.models[0, 0].cv, StratifiedGroupKFold)
    assert fitted.models[0, 0].cv.n_splits == 4
    assert ((fitted.predictions > 0) & (fitted.predictions < 1)).all()
