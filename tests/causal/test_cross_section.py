"""PLR, PLIV, IRM and IIVM: exact checks, plain twins, bad input."""

import numpy as np
import pytest

from mcstat.causal import IIVM, IRM, PLIV, PLR
from mcstat.causal._cases import _draw_arms, _draw_encouraged, _draw_instrument, _draw_rows
from mcstat.core.errors import InvalidData, InvalidParameter, ReliabilityWarning
from tests.naive import double_ml as naive
from tests.stat_asserts import assert_mean_close, seed_for, two_stage_coverage


def drawn(make, seed=0, **size):
    return make(np.random.default_rng(seed), **size)


def everything(n):
    return [(np.arange(n), np.arange(n))]


def folds_of(n, seed=0):
    return np.random.default_rng(seed).permutation(n) % 5


def test_plr_without_cross_fitting_is_least_squares():
    data = drawn(_draw_rows)
    est = PLR("ols", "ols").fit(**data, folds=everything(300)).estimate()
    design = np.column_stack([data["d"], data["X"], np.ones(300)])
    assert float(est) == pytest.approx(np.linalg.lstsq(design, data["y"], rcond=None)[0][0], abs=1e-12)


def test_pliv_without_cross_fitting_is_two_stage_least_squares():
    data = drawn(_draw_instrument)
    est = PLIV("ols", "ols").fit(**data, folds=everything(300)).estimate()
    ones = np.ones((300, 1))
    R = np.hstack([data["d"][:, None], data["X"], ones])
    Z = np.hstack([data["z"][:, None], data["X"], ones])
    assert float(est) == pytest.approx(np.linalg.solve(Z.T @ R, Z.T @ data["y"])[0], abs=1e-12)


def test_irm_with_saturated_cells_is_cell_mean_standardisation():
    rng = np.random.default_rng(0)
    cell = rng.integers(0, 3, 400)
    d = (rng.random(400) < [0.3, 0.5, 0.6] @ (cell == np.arange(3)[:, None])).astype(float)
    y = d * cell + cell + rng.normal(size=400)
    X = (cell[:, None] == [1, 2]).astype(float)
    est = IRM("ols", "ols").fit(y, d, X, folds=everything(400)).estimate()
    gaps = [y[(cell == c) & (d == 1)].mean() - y[(cell == c) & (d == 0)].mean() for c in range(3)]
    assert float(est) == pytest.approx(np.bincount(cell) @ gaps / 400, abs=1e-12)


def test_irm_with_known_propensity_and_no_outcome_model():
    data = drawn(_draw_arms)
    y, d = data["y"], data["d"]
    zero = np.zeros(400)
    given = {"g1": zero, "g0": zero, "m": zero + 0.5}
    est = IRM().fit(y, d, data["X"], predictions=given).estimate()
    assert float(est) == pytest.approx(np.mean(2 * d * y) - np.mean(2 * (1 - d) * y), abs=1e-12)


def test_iivm_where_all_comply_is_irm():
    data = drawn(_draw_arms)
    folds = folds_of(400)
    late = IIVM("ols", "ols").fit(data["y"], data["d"], data["X"], z=data["d"], folds=folds).estimate()
    ate = IRM("ols", "ols").fit(data["y"], data["d"], data["X"], folds=folds).estimate()
    assert float(late) == pytest.approx(float(ate), abs=1e-10)
    assert late.std_error[0] == pytest.approx(ate.std_error[0], rel=1e-8)


@pytest.mark.parametrize("score", ["partialling_out", "iv"])
def test_plr_twin(score):
    data, folds = drawn(_draw_rows), folds_of(300)
    est = PLR("ols", "ols", score=score).fit(**data, folds=folds).estimate()
    assert (float(est), est.std_error[0]) == pytest.approx(naive.plr(**data, folds=folds, score=score), rel=1e-9)


def test_pliv_twin_and_its_first_stage():
    data, folds = drawn(_draw_instrument), folds_of(300)
    model = PLIV("ols", "ols", small_sample=False).fit(**data, folds=folds)
    theta, error = naive.pliv(**data, folds=folds)
    est = model.estimate()
    assert float(est) == pytest.approx(theta, rel=1e-10)
    assert est.std_error[0] == pytest.approx(error * np.sqrt(299 / 300), rel=1e-9)
    v = model.residuals_d_[:, 0]
    r = model.predictions_d_[:, 0] * -1 + data["d"]
    slope = v @ r / (v @ v)
    wanted = slope**2 / (np.sum((v * (r - slope * v)) ** 2) / (v @ v) ** 2)
    assert model.first_stage_f_ == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize(("estimand", "normalize"), [("ate", False), ("ate", True), ("att", False)])
def test_irm_twin(estimand, normalize):
    data, folds = drawn(_draw_arms), folds_of(400)
    est = IRM("ols", "ols", estimand=estimand, normalize=normalize).fit(**data, folds=folds).estimate()
    wanted = naive.irm(**data, folds=folds, estimand=estimand, normalize=normalize)
    assert (float(est), est.std_error[0]) == pytest.approx(wanted, rel=1e-9)


def test_iivm_twin():
    data, folds = drawn(_draw_encouraged), folds_of(600)
    est = IIVM("ols", "ols").fit(**data, folds=folds).estimate()
    assert (float(est), est.std_error[0]) == pytest.approx(naive.iivm(**data, folds=folds), rel=1e-8)


def test_anderson_rubin_sets():
    strong = PLIV("ols", "ols", random_state=0).fit(**drawn(_draw_instrument))
    pieces = strong.anderson_rubin()
    assert len(pieces) == 1
    assert strong.first_stage_f_ > 100
    # An interval that nearly is the usual one.
    np.testing.assert_allclose(pieces.to_numpy()[0], strong.estimate().conf_int().to_numpy()[0], atol=0.05)
    weak = drawn(_draw_instrument)
    weak["z"] = np.random.default_rng(7).normal(size=300)
    model = PLIV("ols", "ols", random_state=0).fit(**weak)
    assert model.first_stage_f_ < 10
    unbounded = model.anderson_rubin()
    assert not np.isfinite(unbounded.to_numpy()).all()
    # By its definition, on a grid.
    score, z = model._scores[0][0], 1.959963984540054
    for theta in np.linspace(-20, 20, 81):
        s = score.V[:, 0] * (score.e - theta * score.R[:, 0])
        inside = ((unbounded["lower"] <= theta) & (theta <= unbounded["upper"])).any()
        assert inside == (s.sum() ** 2 <= z**2 * (s @ s))


def test_group_effects_and_projection_agree():
    data = drawn(_draw_arms, n=1000)
    group = np.where(data["X"][:, 1] > 0, "up", "down")
    folds = folds_of(1000)
    by_group = IRM("ols", "ols").fit(**data, groups=group, folds=folds).estimate()
    model = IRM("ols", "ols").fit(**data, folds=folds)
    dummies = (group[:, None] == ["down", "up"]).astype(float)
    projected = model.project(dummies)
    np.testing.assert_allclose(by_group.value, projected.value, atol=1e-12)
    np.testing.assert_allclose(by_group.cov, projected.cov, atol=1e-12)
    assert_mean_close(by_group.value, [0.5, 1.5], by_group.std_error)
    total = projected.transform(lambda b: dummies.mean(axis=0) @ b)
    assert float(total) == pytest.approx(float(model.estimate()), abs=1e-12)


def test_clusters_and_weights():
    data = drawn(_draw_rows)
    cluster = np.arange(300) // 10
    model = PLR("ols", "ols", random_state=0).fit(**data, cluster=cluster)
    assert all(len(set(model.folds_[0][cluster == c])) == 1 for c in range(30))
    sums = np.bincount(cluster, model.scores_[:, 0])
    v = model.residuals_d_[:, 0]
    assert model.estimate().std_error[0] == pytest.approx(np.sqrt(sums @ sums * 30 / 29) / (v @ v), rel=1e-12)
    weights = np.random.default_rng(0).integers(1, 4, 300)
    again = np.repeat(np.arange(300), weights)
    folds = folds_of(300)
    one = PLR("ols", "ols", small_sample=False).fit(**data, weights=weights, folds=folds).estimate()
    other = PLR("ols", "ols", small_sample=False).fit(
        **{k: v[again] for k, v in data.items()}, folds=folds[again], cluster=again
    )
    assert float(one) == pytest.approx(float(other.estimate()), abs=1e-10)
    assert one.std_error[0] == pytest.approx(other.estimate().std_error[0], rel=1e-9)


def test_coverage_of_plr():
    # Right intervals fail with probability below 1e-6.
    def covered(start, n):
        count = 0
        for k in range(start, start + n):
            data = drawn(_draw_rows, seed=seed_for(f"plr {k}"))
            lower, upper = PLR("ols", "ols", random_state=k).fit(**data).estimate().conf_int().to_numpy()[0]
            count += lower <= 0.5 <= upper
        return count

    two_stage_coverage(covered)


def test_bad_input():
    arms, moved = drawn(_draw_arms), drawn(_draw_encouraged)
    for call, word in (
        (lambda: IRM("ols", "ols").fit(arms["y"], arms["d"] + 1, arms["X"]), "d must be"),
        (lambda: IRM("ols", "ols").fit(arms["y"], np.ones(400), arms["X"]), "d must be"),
        (lambda: IIVM("ols", "ols").fit(**(moved | {"z": np.ones(600)})), "z must be"),
        (lambda: IIVM("ols", "ols").fit(**(moved | {"z": None})), "z must be given"),
        (lambda: PLIV("ols", "ols").fit(**(drawn(_draw_instrument) | {"z": None})), "z must be given"),
        (lambda: PLIV("ols", "ols").fit(**(drawn(_draw_instrument) | {"z": np.ones(300)})), "nothing is left"),
        (lambda: IRM("ols", "ols").fit(**arms, predictions={"m": np.ones(3)}), "predictions"),
        (lambda: IRM("ols", "ols", estimand="late").fit(**arms), "estimand"),
        (lambda: PLR("ols", "ols").fit(**drawn(_draw_rows), cluster=np.arange(300) % 4), "n_folds"),
        (lambda: PLR("ols", "ols").fit(**drawn(_draw_rows)).benchmark(["income"]), "covariates"),
        (lambda: PLR("ols", "ols").fit(**drawn(_draw_rows)).sensitivity(1.0, 0.1), "cf_y"),
        (lambda: PLR("ols", "ols").fit(**drawn(_draw_rows)).sensitivity(0.1, 0.1, rho=2.0), "rho"),
        (lambda: PLR("ols", "ols", score="iv").fit(**drawn(_draw_rows)).sensitivity(0.1, 0.1), "score"),
    ):
        with pytest.raises((InvalidData, InvalidParameter), match=word):
            call()
    d = np.zeros(400)
    d[:3] = 1.0
    with pytest.raises(InvalidData, match="every training fold"):
        IRM("ols", "ols").fit(arms["y"], d, arms["X"], folds=np.r_[np.zeros(3), np.ones(397)])
    with pytest.warns(ReliabilityWarning, match=r"propensities were moved"):
        IRM("ols", "ols", clip=0.4, random_state=0).fit(**arms)


def test_adjusted_p_values():
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(0)
    d = rng.normal(size=(500, 6))
    y = d @ [0.5, 0.2, 0.1, 0.0, 0.0, 0.0] + rng.normal(size=500)
    model = PLR("ols", "ols", random_state=0).fit(y, d, rng.normal(size=(500, 2)))
    table = model.p_adjust("bh")
    np.testing.assert_allclose(table["p_adjusted"], false_discovery_control(table["p_value"]), rtol=1e-12)
    np.testing.assert_allclose(table["p_value"], model.estimate().to_frame()["p_value"], rtol=1e-9)
    holm, wolf = (model.p_adjust(how)["p_adjusted"] for how in ("holm", "romano_wolf"))
    # Independent effects: the step-down comes to 1 - (1 - p)^k, a little less than Holm's k p.
    ranked = np.sort(table["p_value"])
    sidak = np.maximum.accumulate(1 - (1 - ranked) ** np.arange(6, 0, -1))
    np.testing.assert_allclose(np.sort(wolf), sidak, atol=0.03)
    assert np.all(np.sort(holm) >= sidak - 1e-12)
    for name in ("romano_wolf", "holm", "bh"):
        one = PLR("ols", "ols", random_state=0).fit(y, d[:, 0]).p_adjust(name)
        assert one["p_adjusted"].iloc[0] == pytest.approx(one["p_value"].iloc[0], abs=2e-4)


def test_overlap_plot_counts_every_row():
    arms = drawn(_draw_arms)
    ax = IRM("ols", "ols", random_state=0).fit(**arms).plot_overlap()
    heights = np.array([bar.get_height() for bar in ax.patches])
    assert heights[heights > 0].sum() == arms["d"].sum()
    assert -heights[heights < 0].sum() == (1 - arms["d"]).sum()
