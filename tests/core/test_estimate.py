"""Estimate against theory: uncertainty, intervals, algebra, display."""

import copy
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mcstat import Estimate
from mcstat.core.errors import DegenerateWeightsError, InvalidData, InvalidParameter, JointLawError
from mcstat.core.laws import Binomial

GOLDEN = Path(__file__).parent.parent / "golden"
COV = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, -0.02], [0.0, -0.02, 0.16]])


def three(**fields):
    return Estimate(**({"value": [1.0, 2.0, -3.0], "names": ["a", "b", "c"], "cov": COV} | fields))


def influences(n=200, q=2, seed=0):
    scores = np.random.default_rng(seed).normal(size=(n, q))
    return scores - scores.mean(axis=0)


class TestMaking:
    def test_scalars_become_one_quantity(self):
        est = Estimate(value=3.1, std_error=0.2)
        assert (float(est), len(est), est.names) == (3.1, 1, ("value",))
        assert est.std_error.shape == (1,)

    def test_error_follows_from_what_is_there(self):
        np.testing.assert_allclose(three().std_error, [0.2, 0.3, 0.4])
        scores = influences()
        est = Estimate(value=[0, 0], influence=scores)
        np.testing.assert_allclose(est.std_error, np.sqrt(np.sum(scores**2, axis=0)) / 200)
        assert np.isnan(Estimate(value=1.0).std_error[0])

    def test_mcse_is_the_error_of_monte_carlo_estimates_only(self):
        assert three(kind="monte_carlo").mcse.tolist() == three().std_error.tolist()
        assert np.isnan(three().mcse).all()

    def test_it_is_frozen_and_owns_its_arrays(self):
        value = np.array([1.0, 2.0])
        est = Estimate(value=value, std_error=[0.1, 0.1])
        value[0] = 99.0
        assert est.value[0] == 1.0
        with pytest.raises(FrozenInstanceError):
            est.value = 3.0
        with pytest.raises(ValueError, match="read-only"):
            est.value[0] = 3.0

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"value": []}, "value must hold at least one"),
            ({"value": [[1.0]]}, "value must have 1 dimension"),
            ({"value": ["x"]}, "value must hold real numbers"),
            ({"names": ["a", "a", "b"]}, "names must be unique, got 'a'"),
            ({"names": ["a"]}, r"names must be 3 string\(s\)"),
            ({"names": [1, 2, 3]}, "names must be 3"),
            ({"cov": np.eye(2)}, r"cov must have shape \(3, 3\)"),
            ({"cov": np.triu(np.ones((3, 3)))}, "cov must be symmetric"),
            ({"cov": -np.eye(3)}, "cov must have a non-negative diagonal"),
            ({"std_error": [1.0, 1.0, 1.0]}, "std_error must be the root of the diagonal of cov"),
            ({"cov": None, "std_error": [-1, 1, 1]}, "std_error must hold 3 non-negative"),
            ({"draws": np.zeros((2, 5, 4))}, r"draws must have shape \(chain, draw, 3\)"),
            ({"log_weights": np.zeros((2, 5))}, "log_weights must have the"),
            ({"influence": np.zeros((5, 2))}, r"influence must have shape \(n, 3\)"),
            ({"clusters": [1, 2]}, "clusters must have one code"),
            ({"law": "normal"}, "law must be a Law"),
            ({"kind": "bayesian"}, "kind must be one of"),
            ({"df": 0}, "df must be a number"),
            ({"coords": {"t": [1, 2]}}, r"coords\['t'\] must hold 3"),
            ({"mcse": [1.0]}, "mcse must hold 3"),
        ],
    )
    def test_bad_fields(self, fields, words):
        with pytest.raises((InvalidData, InvalidParameter, TypeError), match=words):
            three(**fields)


class TestFromDraws:
    def test_equal_weights(self):
        draws = np.random.default_rng(0).normal([1.0, 5.0], [1.0, 3.0], size=(4, 500, 2))
        est = Estimate.from_draws(draws, names=["a", "b"])
        flat = draws.reshape(-1, 2)
        np.testing.assert_allclose(est.value, flat.mean(axis=0))
        np.testing.assert_allclose(est.cov, np.cov(flat, rowvar=False))
        # Batch means with 84 batches have a relative sd of 1 / sqrt(168) = 0.08.
        np.testing.assert_allclose(est.mcse, flat.std(axis=0) / np.sqrt(2000), rtol=0.45)

    def test_batch_means_see_the_dependence_of_a_chain(self):
        # AR(1) with coefficient 0.9: the error of the mean is sqrt(1.9 / 0.1) = 4.4 times that of independent draws.
        rng = np.random.default_rng(1)
        chain = np.empty(100_000)
        chain[0] = 0.0
        for i, shock in enumerate(rng.normal(size=99_999)):
            chain[i + 1] = 0.9 * chain[i] + shock
        est = Estimate.from_draws(chain)
        true = np.sqrt(1 / 0.01 / 100_000)
        # 316 batches: relative sd 0.04, and batches of 316 draws lose 3 % of the long-run variance.
        assert abs(est.mcse[0] / true - 1) < 0.25

    def test_weights(self):
        rng = np.random.default_rng(0)
        draws, log_weights = rng.normal(size=4000), rng.normal(size=4000) * 0.3
        est = Estimate.from_draws(draws, log_weights=log_weights + 500.0)
        weights = np.exp(log_weights) / np.exp(log_weights).sum()
        np.testing.assert_allclose(est.value, weights @ draws)
        np.testing.assert_allclose(est.mcse, np.sqrt(np.sum(weights**2 * (draws - weights @ draws) ** 2)))
        ends = est.conf_int(0.9)
        np.testing.assert_allclose(ends.to_numpy()[0], [-1.645, 1.645], atol=0.15)

    def test_replicates_of_a_monte_carlo_estimate(self):
        replicates = np.random.default_rng(0).normal(3.0, 0.5, size=16)
        est = Estimate.from_draws(replicates, kind="monte_carlo", df=15)
        np.testing.assert_allclose(est.std_error, replicates.std(ddof=1) / 4)
        low, high = stats.t.interval(0.95, 15, replicates.mean(), replicates.std(ddof=1) / 4)
        np.testing.assert_allclose(est.conf_int().to_numpy()[0], [low, high])

    def test_bad_weights(self):
        with pytest.raises(DegenerateWeightsError):
            Estimate.from_draws([1.0, 2.0], log_weights=[-np.inf, -np.inf])
        with pytest.raises(InvalidData, match="NaN"):
            Estimate.from_draws([1.0, 2.0], log_weights=[np.nan, 0.0])
        with pytest.raises(InvalidData, match="at least 2 draws"):
            Estimate.from_draws([1.0])


class TestIntervals:
    @pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
    def test_normal_and_t(self, level):
        z, t = stats.norm.ppf((1 + level) / 2), stats.t.ppf((1 + level) / 2, 7)
        for est, critical in ((three(), z), (three(df=7), t)):
            ends = est.conf_int(level)
            np.testing.assert_allclose(ends["lower"], est.value - critical * est.std_error)
            np.testing.assert_allclose(ends["upper"], est.value + critical * est.std_error)
        np.testing.assert_allclose(three(df=7).conf_int(level, how="normal"), three().conf_int(level))

    def test_one_sided(self):
        lower, upper = three().conf_int(0.95, sides="lower"), three().conf_int(0.95, sides="upper")
        np.testing.assert_allclose(lower["lower"], three().value - 1.6448536 * three().std_error)
        assert np.isposinf(lower["upper"]).all()
        np.testing.assert_allclose(upper["upper"], three().value + 1.6448536 * three().std_error)
        assert np.isneginf(upper["lower"]).all()

    def test_quantiles_of_draws(self):
        draws = np.random.default_rng(0).exponential(size=(2, 1000))[:, :, None]
        ends = Estimate.from_draws(draws).conf_int(0.8)
        np.testing.assert_allclose(ends.to_numpy()[0], np.quantile(draws, [0.1, 0.9]))

    def test_law(self):
        est = Estimate(value=0.3, law=Binomial(3, 10))
        ends = stats.binomtest(3, 10).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose(est.conf_int().to_numpy()[0], [ends.low, ends.high])

    def test_the_way_used_is_printed(self):
        assert three().conf_int().columns.name == "95 % confidence (normal)"
        assert "credible (quantile)" in Estimate.from_draws([1.0, 2.0, 3.0]).conf_int().columns.name
        assert "(t)" in three(df=3).conf_int().columns.name
        assert list(three().conf_int().index) == ["a", "b", "c"]

    @pytest.mark.parametrize("df", [None, 6])
    def test_joint_band_of_independent_quantities(self, df):
        # For the normal law Sidak's value is exact; the simulated quantile has an error of about 0.003 (z = 6: 0.02).
        q = 5
        est = Estimate(value=np.zeros(q), cov=np.eye(q), df=df)
        if df is None:
            critical = stats.norm.ppf((1 + 0.95 ** (1 / q)) / 2)
        else:
            deviations = np.random.default_rng(1).standard_normal((10**6, q))
            deviations /= np.sqrt(np.random.default_rng(2).chisquare(df, size=(10**6, 1)) / df)
            critical = np.quantile(np.abs(deviations).max(axis=1), 0.95)
        band = est.conf_int(joint=True)
        np.testing.assert_allclose(band["upper"], critical, atol=0.02 if df is None else 0.06)
        np.testing.assert_array_equal(band, est.conf_int(joint=True))

    def test_joint_band_of_equal_quantities_is_the_single_one(self):
        est = Estimate(value=[0.0, 0.0], cov=np.ones((2, 2)))
        np.testing.assert_allclose(est.conf_int(joint=True)["upper"], 1.96, atol=0.02)

    def test_joint_bands_on_one_side(self):
        draws = np.random.default_rng(0).exponential(size=(1, 20_000, 2))
        est = Estimate.from_draws(draws)
        lower = est.conf_int(0.9, joint=True, sides="lower")["lower"].to_numpy()
        assert abs(np.mean(np.all(draws[0] >= lower, axis=1)) - 0.9) < 1e-3
        upper = est.conf_int(0.9, joint=True, sides="upper")["upper"].to_numpy()
        assert abs(np.mean(np.all(draws[0] <= upper, axis=1)) - 0.9) < 1e-3

    @pytest.mark.parametrize("level", [0, 1, 95, -0.1, np.nan, "95", None, True])
    def test_bad_levels(self, level):
        with pytest.raises(InvalidParameter, match="level must be a number in"):
            three().conf_int(level)

    def test_ways_that_are_not_there(self):
        for how in ("law", "quantile", "t"):
            with pytest.raises(InvalidParameter, match=how):
                three().conf_int(how=how)
        with pytest.raises(InvalidParameter, match="sides must be one of"):
            three().conf_int(sides="both")
        with pytest.raises(JointLawError, match=r"Estimate\.concat"):
            Estimate(value=[1, 2], std_error=[1, 1]).conf_int(joint=True)


class TestAlgebra:
    def test_wald_test(self):
        R, r = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), [3.0, -2.0]
        gap = R @ [1, 2, -3] - r
        wald = gap @ np.linalg.solve(R @ COV @ R.T, gap)
        assert three().test(R, r).p_value == pytest.approx(stats.chi2.sf(wald, 2))
        assert three(df=9).test(R, r).p_value == pytest.approx(stats.f.sf(wald / 2, 2, 9))
        assert "chi2(3)" in repr(three().test())
        with pytest.raises(InvalidData, match="singular"):
            three().test([[1.0, 0, 0], [2.0, 0, 0]])
        with pytest.raises(InvalidParameter, match="posterior"):
            three(kind="posterior").test()

    def test_transform_is_the_delta_method(self):
        est = three().transform(lambda v: [np.exp(v[0]), v[1] / v[2]], ["exp a", "b / c"])
        slopes = np.array([[np.e, 0, 0], [0, -1 / 3, -2 / 9]])
        np.testing.assert_allclose(est.cov, slopes @ COV @ slopes.T, rtol=1e-8)
        np.testing.assert_allclose(est.value, [np.e, -2 / 3])
        scores = influences()
        moved = Estimate(value=[1.0, 2.0], influence=scores).transform(lambda v: v**2)
        np.testing.assert_allclose(moved.influence, scores * [2.0, 4.0], rtol=1e-8)

    def test_transform_goes_draw_by_draw(self):
        draws = np.random.default_rng(0).normal(size=(2, 300, 2))
        est = Estimate.from_draws(draws, names=["a", "b"]).transform(lambda v: np.exp(v[0]), "exp a")
        np.testing.assert_allclose(est.value, np.exp(draws[:, :, 0]).mean())
        np.testing.assert_allclose(est.std_error, np.exp(draws[:, :, 0]).std(ddof=1))

    def test_numbers_and_arrays(self):
        est = 2 * three() - [1.0, 1.0, 1.0]
        np.testing.assert_allclose(est.value, [1, 3, -7])
        np.testing.assert_allclose(est.cov, 4 * COV)
        np.testing.assert_allclose((10 - three()).value, [9, 8, 13])
        np.testing.assert_allclose((np.array([1.0, 2.0, 3.0]) * three()).std_error, [0.2, 0.6, 1.2])
        with pytest.raises(InvalidData, match="shape"):
            three() - np.array([1.0])
        with pytest.raises(TypeError):
            three() + "x"

    def test_differences_on_one_sample_know_their_covariance(self):
        scores = influences()
        mine = Estimate(value=[1.0], influence=scores[:, :1], sample_id="s")
        other = Estimate(value=[0.5], influence=scores[:, :1] * 0.9, sample_id="s")
        gap = mine - other
        np.testing.assert_allclose(gap.std_error, 0.1 * mine.std_error, rtol=1e-10)
        np.testing.assert_allclose(gap.std_error, np.sqrt(np.sum(gap.influence**2)) / 200)
        with pytest.raises(JointLawError, match="independent=True"):
            mine - Estimate(value=[0.5], influence=scores[:, :1], sample_id="another")

    def test_recluster(self):
        scores, clusters = influences(q=1), np.repeat(np.arange(20), 10)
        est = Estimate(value=0.0, influence=scores).recluster(clusters)
        # The same from the start.
        assert Estimate(value=0.0, influence=scores, clusters=clusters).std_error == est.std_error
        sums = scores[:, 0].reshape(20, 10).sum(axis=1)
        np.testing.assert_allclose(est.std_error**2, 20 / 19 * np.sum(sums**2) / 200**2)
        with pytest.raises(InvalidData, match="clusters must have shape"):
            est.recluster([1, 2])
        with pytest.raises(JointLawError, match="influence"):
            three().recluster([1])

    def test_concat_and_select(self):
        a, b = three(), Estimate(value=7.0, std_error=2.0)
        apart = Estimate.concat({"x": a, "y": b})
        assert apart.names == ("x.a", "x.b", "x.c", "y.value")
        assert apart.cov is None
        joint = Estimate.concat([a, b], independent=True)
        np.testing.assert_allclose(joint.cov[3], [0, 0, 0, 4.0])
        np.testing.assert_allclose(joint[["b", "value"]].value, [2.0, 7.0])
        assert float(a["c"]) == -3.0
        with pytest.raises(KeyError, match="no quantity"):
            a["d"]
        scores = influences()
        parts = [Estimate(value=0.0, names=[n], influence=scores[:, [i]], sample_id="s") for i, n in enumerate("ab")]
        np.testing.assert_allclose(Estimate.concat(parts).cov, scores.T @ scores / 200**2)
        with pytest.raises(InvalidParameter, match="one kind"):
            Estimate.concat([a, Estimate(value=1.0, std_error=1.0, kind="posterior")])

    def test_laws_do_not_add(self):
        with pytest.raises(JointLawError):
            Estimate(value=0.3, law=Binomial(3, 10)) * 2


class TestReading:
    def test_frame(self):
        frame = three(coords={"time": [1, 2, 3]}).to_frame()
        columns = ["term", "estimate", "std_error", "mcse", "statistic", "p_value", "conf_low", "conf_high", "time"]
        assert list(frame) == columns
        np.testing.assert_allclose(frame["p_value"], 2 * stats.norm.sf(np.abs(frame["statistic"])))
        np.testing.assert_allclose(three(df=5).to_frame()["p_value"], 2 * stats.t.sf(np.abs(frame["statistic"]), 5))
        for kind in ("posterior", "monte_carlo"):
            assert three(kind=kind).to_frame()["p_value"].isna().all()

    def test_compare(self):
        table = Estimate.compare({"one": three(), "two": three()[["a", "c"]]})
        assert table.loc["b", ("one", "estimate")] == 2.0
        assert np.isnan(table.loc["b", ("two", "estimate")])

    @pytest.mark.parametrize("q", [1, 4, 5, 100])
    def test_repr_has_at_most_eight_lines(self, q):
        est = Estimate(
            value=np.arange(q), std_error=np.ones(q), warnings=["one", "two"], method="M", estimand="e" * 200
        )
        assert len(repr(est).splitlines()) <= 8

    def test_golden(self):
        shown = {
            "frequentist": three(df=12, method="Method", estimand="effects", info={"n": 40}, warnings=["a < b"]),
            "posterior": Estimate(value=[0.1234, 1e-9], std_error=[0.05, 3e-10], mcse=[1e-3, 1e-12], kind="posterior"),
            "monte_carlo": Estimate(value=123456.789, std_error=12.3, kind="monte_carlo", method="Sampler"),
            "law": Estimate(value=0.3, law=Binomial(3, 10)),
        }
        for name, est in shown.items():
            text = f"{est!r}\n\n{est.summary()}\n\n{est._repr_html_()}\n"
            assert text == (GOLDEN / f"estimate_{name}.txt").read_text(), name

    def test_float_wants_one_quantity(self):
        with pytest.raises(TypeError, match="3"):
            float(three())

    def test_plot(self):
        import matplotlib as mpl

        before = dict(mpl.rcParams)
        ax = three().plot()
        assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
        assert three().plot(ax=ax) is ax
        assert dict(mpl.rcParams) == before
        mpl.pyplot.close("all")

    @pytest.mark.filterwarnings("ignore::FutureWarning:arviz")
    def test_arviz(self):
        rng = np.random.default_rng(0)
        draws = rng.normal(size=(2, 500, 1))
        data = Estimate.from_draws(draws, names=["a"]).to_arviz()
        np.testing.assert_array_equal(data["posterior"]["a"].values, draws[:, :, 0])
        weighted = Estimate.from_draws(draws, names=["a"], log_weights=draws[:, :, 0])
        resampled = weighted.to_arviz(random_state=3)["posterior"]["a"].values
        # Exponential tilting of the standard normal moves its mean to 1; 1000 draws with an ESS near 370.
        assert abs(resampled.mean() - 1.0) < 6 / np.sqrt(370)
        with pytest.raises(InvalidData, match="draws"):
            three().to_arviz()

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda est: pickle.loads(pickle.dumps(est))])  # noqa: S301  (our own bytes)
    def test_copies_are_equal(self, again):
        est = again(three(info={"n": 3}))
        np.testing.assert_array_equal(est.cov, COV)
        assert est.info == {"n": 3}
