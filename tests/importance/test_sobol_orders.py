"""Second orders, groups and method "iscv" of SobolIndices: closed forms, slow twins, budgets, bad input."""

import pickle
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm, poisson

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.rng import root_seed
from mcstat.datasets import make_cantilever_beam, make_g_function, make_ishigami, make_linear
from mcstat.importance import SobolIndices
from mcstat.importance._iscv import PILOT, PickFreezeRow, index_values
from mcstat.importance._pick_freeze import Randomisation, indices
from tests.naive import sobol as naive
from tests.stat_asserts import assert_mean_close, two_stage_coverage

A = np.array([0.0, 1.0, 4.5])
PROBLEMS = {"ishigami": make_ishigami(), "g": make_g_function(A), "linear": make_linear([1.0, -2.0, 3.0])}
GROUPS = {"both": ["x1", "x3"], "last": ["x2", "x3"]}


def g_share(members):
    """Closed index of a group of the g-function's inputs."""
    alone = 1 / (3 * (1 + A) ** 2)
    return (np.prod(1 + alone[list(members)]) - 1) / (np.prod(1 + alone) - 1)


def truth(name):
    """First, total, second, closed indices of the two groups, and their totals."""
    problem = PROBLEMS[name]
    pairs = {
        "ishigami": [0.0, problem.total[2], 0.0],
        "g": [g_share(pair) - g_share(pair[:1]) - g_share(pair[1:]) for pair in combinations(range(3), 2)],
        "linear": [0.0, 0.0, 0.0],
    }[name]
    closed = [problem.first[0] + problem.first[2] + pairs[1], problem.first[1] + problem.first[2] + pairs[2]]
    return np.concatenate([problem.first, problem.total, pairs, closed, 1 - problem.first[[1, 0]]])


def fitted(problem, n_base=256, n_randomisations=64, second_order=True, groups=GROUPS, **settings):
    """64 randomisations: Student's t with 63 degrees of freedom exceeds 6 with probability 1e-7."""
    d = len(problem.law)
    calls = 2 + d + len(groups or ()) + (d if second_order else 0)
    sobol = SobolIndices(
        problem.law,
        budget=n_base * n_randomisations * calls,
        n_randomisations=n_randomisations,
        second_order=second_order,
        groups=groups,
        random_state=0,
        **settings,
    )
    return sobol.fit(problem.model)


@pytest.mark.parametrize("name", PROBLEMS)
def test_indices_of_known_models(name):
    # Card, exact check 10: S13 of Ishigami is 0.2437, the g-function's are products, a linear model has none.
    estimate = fitted(PROBLEMS[name]).estimate()
    assert_mean_close(estimate.value, truth(name), estimate.std_error + 1e-12)
    assert estimate.std_error.max() < 0.01


def test_published_interaction_of_ishigami():
    assert fitted(PROBLEMS["ishigami"], n_base=1024).estimate()["S[x1, x3]"].value[0] == pytest.approx(0.2437, abs=5e-3)


def test_names_and_coordinates():
    estimate = fitted(PROBLEMS["g"], n_base=64, n_randomisations=2).estimate()
    singles = [f"{kind}[x{i}]" for kind in ("S", "ST") for i in (1, 2, 3)]
    groups = ["S[both]", "S[last]", "ST[both]", "ST[last]"]
    assert list(estimate.names) == [*singles, "S[x1, x2]", "S[x1, x3]", "S[x2, x3]", *groups]
    assert (
        list(estimate.coords["index"])
        == ["first"] * 3 + ["total"] * 3 + ["second"] * 3 + ["closed"] * 2 + ["total"] * 2
    )
    assert estimate.coords["input"][7] == "x1, x3"


def test_a_group_of_one_is_its_input():
    estimate = fitted(PROBLEMS["ishigami"], groups={"only": ["x2"]}, second_order=False, n_base=64).estimate()
    assert estimate["S[only]"].value == estimate["S[x2]"].value
    assert estimate["ST[only]"].value == estimate["ST[x2]"].value


def test_second_orders_sharpen_the_others():
    problem = PROBLEMS["g"]
    both = fitted(problem, groups=None).estimate().std_error[:6]
    one = fitted(problem, groups=None, second_order=False).estimate().std_error
    # Twice the information a point: the errors shrink on average; one of 6 ratios of sd from 64 each errs by 13 %.
    assert np.mean(both / one) < 0.95


@pytest.mark.parametrize("name", PROBLEMS)
def test_equals_the_naive_twin(name):
    problem = PROBLEMS[name]
    randomisation = Randomisation(problem.model, tuple(problem.law), 64, root_seed(3), ((0, 2),), True)
    u = randomisation.points(0)
    y = randomisation.outputs(u)
    assert len(y) * 64 == randomisation.n_calls
    found = indices(y, u, ((0, 2),), True)
    plain, swapped = y[:5], np.vstack([y[1], y[0], y[6:]])
    first = naive.indices(plain.tolist(), u.tolist())
    again = naive.indices(swapped.tolist(), np.hstack([u[:, 3:], u[:, :3]]).tolist())
    np.testing.assert_allclose(found[:6], np.mean([first, again], axis=0), rtol=1e-10, atol=1e-12)
    pairs = naive.second_orders([*y[:5].tolist(), *y[6:].tolist()], u.tolist())
    np.testing.assert_allclose(found[6:9], pairs, rtol=1e-10, atol=1e-12)


def test_the_matrices_are_mixed_as_they_should():
    law = PROBLEMS["g"].law
    for column in range(3):
        randomisation = Randomisation(lambda x, j=column: x[:, j], law, 64, root_seed(0), ((0, 2),), True)
        u = randomisation.points(0)
        y = randomisation.outputs(u)
        np.testing.assert_array_equal(y[5], u[:, 3 + column] if column in (0, 2) else u[:, column])
        for j in range(3):
            np.testing.assert_array_equal(y[6 + j], u[:, column] if j == column else u[:, 3 + column])


@pytest.mark.parametrize(("second_order", "groups", "calls"), [(True, None, 8), (False, GROUPS, 7), (True, GROUPS, 10)])
@pytest.mark.parametrize("budget", [8_000, 65_536])
def test_budget_is_counted_call_by_call(second_order, groups, calls, budget):
    problem, made = PROBLEMS["ishigami"], []

    def counted(x):
        made.append(len(x))
        return problem.model(x)

    sobol = SobolIndices(problem.law, budget=budget, second_order=second_order, groups=groups, random_state=0)
    sobol.fit(counted)
    assert sum(made) == sobol.n_calls_ == 8 * calls * sobol.n_base_
    assert budget / 2 < sum(made) <= budget


@pytest.mark.slow
def test_intervals_of_second_orders_cover():
    @cache
    def hits(start, n):
        inside = []
        for seed in range(start, start + n):
            sobol = SobolIndices(PROBLEMS["g"].law, budget=16_384, second_order=True, random_state=seed, verbose=False)
            ends = sobol.fit(PROBLEMS["g"].model).estimate().conf_int().to_numpy()
            inside.append((ends[:, 0] <= truth("g")[:9]) & (truth("g")[:9] <= ends[:, 1]))
        return np.sum(inside, axis=0)

    for j in range(9):
        two_stage_coverage(lambda start, n, j=j: hits(start, n)[j], 0.95)


class TestImportanceSampling:
    BUDGET = 60_000

    def fit(self, problem, **settings):
        sobol = SobolIndices(problem.law, method="iscv", budget=self.BUDGET, **({"random_state": 0} | settings))
        return sobol.fit(problem.model)

    @pytest.mark.parametrize("name", PROBLEMS)
    def test_indices_of_known_models(self, name):
        # |z| < 6 for 5 indices: false-alarm rate 1e-8.
        estimate = self.fit(PROBLEMS[name], groups=GROUPS).estimate()
        expected = truth(name)[[0, 1, 2, 9, 10]]
        assert list(estimate.names) == ["S[x1]", "S[x2]", "S[x3]", "S[both]", "S[last]"]
        assert np.all(np.abs(estimate.value - expected) < 6 * estimate.std_error + 1e-12)
        assert estimate.std_error.max() < 0.02

    @pytest.mark.filterwarnings("ignore::mcstat.core.errors.ReliabilityWarning")
    def test_errors_are_true(self):
        # Mean square of 30 z below 3.5: false-alarm rate 3e-10 an index.
        problem = make_cantilever_beam()
        z = []
        for seed in range(30):
            sobol = SobolIndices(problem.law, method="iscv", budget=40_000, random_state=seed, verbose=False)
            estimate = sobol.fit(problem.model).estimate()
            z.append((estimate.value - problem.first) / estimate.std_error)
        assert np.all(np.mean(np.square(z), axis=0) < 3.5)

    def test_calls_are_counted_and_extended(self):
        problem, made = PROBLEMS["ishigami"], []

        def counted(x):
            made.append(len(x))
            return problem.model(x)

        sobol = SobolIndices(problem.law, method="iscv", budget=9_999, random_state=0).fit(counted)
        rows = (9_999 - PILOT) // 4
        assert sum(made) == sobol.n_calls_ == sobol.estimate().info["model_calls"] == PILOT + 4 * rows
        sobol.extend(4_001)
        assert sum(made) == sobol.n_calls_ == PILOT + 4 * (rows + 1_000)
        with pytest.raises(InvalidParameter, match="budget must be an integer >= 4"):
            sobol.extend(3)

    def test_row_by_hand(self):
        row = PickFreezeRow(
            lambda x: x[:, 0] + 10 * x[:, 1], (norm(), norm(1, 2)), ((0,), (0, 1)), centre=1.0, scale=2.0
        )
        z = np.array([[0.5, -1.0, 2.0, 0.25]])
        y, first, whole = 0.5 + 10 * (1 - 2), 0.5 + 10 * 1.5, 0.5 + 10 * (1 - 2)
        y, first, whole = (y - 1) / 2, (first - 1) / 2, (whole - 1) / 2
        np.testing.assert_allclose(row(z), [[y * first, y * whole, y, y * y]], rtol=1e-12)

    def test_delta_method_against_differences(self):
        rng = np.random.default_rng(0)
        moments, root = np.array([0.5, 0.2, 0.1, 1.3]), rng.normal(size=(4, 4))
        value, cov = index_values(moments, root @ root.T)
        slopes = np.empty((2, 4))
        for k in range(4):
            step = np.zeros(4)
            step[k] = 1e-6
            slopes[:, k] = index_values(moments + step, cov=np.eye(4))[0] - index_values(moments - step, np.eye(4))[0]
        slopes /= 2e-6
        np.testing.assert_allclose(value, (moments[:2] - 0.01) / 1.29)
        np.testing.assert_allclose(cov, slopes @ root @ root.T @ slopes.T, rtol=1e-6)

    def test_discrete_inputs_pickle_and_jobs(self):
        problem = make_linear([1.0, 1.0])
        sobol = SobolIndices([poisson(4.0), poisson(1.0)], method="iscv", budget=20_000, random_state=0)
        estimate = sobol.fit(problem.model).estimate()
        assert np.all(np.abs(estimate.value - [0.8, 0.2]) < 6 * estimate.std_error)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(sobol)).estimate().value, estimate.value)  # noqa: S301
        again = sobol.set_params(n_jobs=2).fit(problem.model).estimate()
        np.testing.assert_array_equal(again.value, estimate.value)

    def test_a_refit_by_the_other_method(self):
        sobol = self.fit(PROBLEMS["linear"]).set_params(method="rqmc").fit(PROBLEMS["linear"].model)
        assert len(sobol.estimate()) == 6
        assert len(sobol.set_params(method="iscv").fit(PROBLEMS["linear"].model).estimate()) == 3


class Bounded:
    def ppf(self, u):
        return u


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "mc"}, "method must be one of 'rqmc', 'iscv'"),
        ({"second_order": 1}, "second_order must be True or False"),
        ({"method": "iscv", "second_order": True}, "second_order wants method='rqmc'"),
        ({"method": "iscv", "budget": 435}, "budget must be at least 436"),
        ({"method": "iscv", "law": [Bounded(), Bounded()]}, r"law\[0\] must have isf"),
        ({"budget": 3071, "second_order": True}, r"budget must be at least 3072 \(64 base points x 6 calls x 8"),
        ({"groups": ["x1"]}, "groups must be a mapping"),
        ({"groups": {"x1": ["x1"]}}, "groups must have names that are no input's, got 'x1'"),
        ({"groups": {"g": []}}, r"groups\['g'\] must list names"),
        ({"groups": {"g": "x1"}}, r"groups\['g'\] must list names"),
        ({"groups": {"g": ["x1", "x1"]}}, r"groups\['g'\] must list names of inputs, each once"),
        ({"groups": {"g": ["x1", "x2"]}}, r"groups\['g'\] must leave out an input"),
        ({"groups": {"g": ["x7"]}}, r"groups\['g'\] must list names"),
    ],
)
def test_bad_parameters_are_refused_in_fit_by_name(settings, words):
    sobol = SobolIndices(**({"law": [norm(), norm()], "budget": 8192, "random_state": 0} | settings))
    with pytest.raises(InvalidParameter, match=words):
        sobol.fit(lambda x: x[:, 0])
    assert not sobol.__sklearn_is_fitted__()


def test_a_constant_model_is_refused():
    with pytest.raises(InvalidData, match=r"model\(x\) must vary"):
        SobolIndices([norm(), norm()], method="iscv", random_state=0).fit(lambda x: np.ones(len(x)))
