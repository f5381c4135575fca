"""Problems of known sensitivity: their closed forms against numbers worked out another way."""

import json
from pathlib import Path

import numpy as np
import pytest

import mcstat.datasets
from mcstat.core.errors import InvalidData
from mcstat.datasets import (
    make_cantilever_beam,
    make_g_function,
    make_ishigami,
    make_linear,
    make_perturbed_beams,
)


def test_ishigami_published_indices():
    problem = make_ishigami()
    np.testing.assert_allclose(problem.first, [0.3139, 0.4424, 0.0], atol=5e-5)
    np.testing.assert_allclose(problem.total, [0.5576, 0.4424, 0.2437], atol=5e-5)
    assert problem.model(np.array([[np.pi / 2, np.pi / 2, 1.0]])) == pytest.approx([8.1])


def test_g_function_against_quadrature():
    # Each factor is piecewise linear, so Gauss-Legendre on both halves gives its moments to rounding.
    a = np.array([0.0, 1.0, 4.5])
    problem = make_g_function(a)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    x = np.concatenate([(nodes + 1) / 4, (nodes + 3) / 4])
    w = np.concatenate([weights, weights]) / 4
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    y = problem.model(grid).reshape(8, 8, 8)
    mean = np.einsum("ijk,i,j,k", y, w, w, w)
    variance = np.einsum("ijk,i,j,k", (y - mean) ** 2, w, w, w)
    for axis in range(3):
        moved = np.moveaxis(y, axis, 0)
        given = np.einsum("ijk,j,k->i", moved, w, w)
        assert problem.first[axis] == pytest.approx(w @ (given - mean) ** 2 / variance, rel=1e-12)
        others = np.einsum("ijk,i->jk", moved, w)
        explained = np.einsum("jk,j,k", (others - mean) ** 2, w, w)
        assert problem.total[axis] == pytest.approx(1 - explained / variance, rel=1e-12)


def test_linear_and_its_truth_by_name():
    problem = make_linear([3.0, -4.0])
    assert problem.truth() == pytest.approx({"S[x1]": 0.36, "S[x2]": 0.64, "ST[x1]": 0.36, "ST[x2]": 0.64})
    assert problem.model(np.array([[1.0, 1.0]])) == pytest.approx([-1.0])


def test_beam_model_and_marginals():
    problem = make_cantilever_beam()
    # 4 L^3 / (E w t) with unit bending term: F_X / w^2 = 1 and F_Y = 0.
    x = np.array([[4.0, 0.0, 2e-9, 2.0, 0.5, 1.0]])
    assert problem.model(x) == pytest.approx([2.0])
    means = [law.mean() for law in problem.law]
    assert means == pytest.approx([556.8, 453.6, 200.0, 0.062, 0.0987, 4.29])
    cv = [law.std() / law.mean() for law in problem.law]
    assert cv == pytest.approx([0.08, 0.08, 0.06, 0.1, 0.1, 0.1])


def test_beam_reference_file_is_complete_and_sharp():
    path = Path(mcstat.datasets.__file__).parent / "data" / "cantilever_beam.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["names"] == list(make_cantilever_beam().names)
    assert {"date", "versions", "script", "nodes"} <= record.keys()
    assert max(record["first_error"] + record["total_error"]) < 1e-7
    assert np.all(np.array(record["first"]) < record["total"])
    assert sum(record["first"]) < 1 < sum(record["total"])
    # Values of the method card, from independent runs with errors of about 2e-3.
    np.testing.assert_allclose(record["first"], [0.0236, 0.0003, 0.0164, 0.428, 0.073, 0.401], atol=2e-3)


@pytest.mark.parametrize("make", [lambda: make_g_function([-1.0]), lambda: make_linear([0.0, 0.0])])
def test_impossible_coefficients(make):
    with pytest.raises(InvalidData, match="must not be"):
        make()


def test_perturbed_beams():
    func, laws = make_perturbed_beams(n_laws=40, random_state=5)
    assert len(laws) == 40
    z = laws[0].rvs(size=7, random_state=np.random.default_rng(0))
    natural = np.concatenate([np.exp(z[:, :3]), z[:, 3:]], axis=1)
    np.testing.assert_allclose(func(z)[:, 0], make_cantilever_beam().model(natural))
    assert func(z).shape == (7, 1)

    means = np.array([law.mean for law in laws])
    covs = np.array([law.cov for law in laws])
    variances = np.diagonal(covs, axis1=1, axis2=2)
    loads = np.exp(means[:, :3] + variances[:, :3] / 2)
    parameters = np.column_stack([loads, means[:, 3:]])
    low, high = np.array([525, 425, 175, 0.06, 0.09, 4]), np.array([575, 475, 225, 0.07, 0.1, 5])
    assert np.all((parameters > low) & (parameters < high))
    # A Latin hypercube has one law in each of the 40 layers of every parameter.
    layers = np.floor(40 * (parameters - low) / (high - low)).astype(int)
    assert all(sorted(column) == list(range(40)) for column in layers.T)

    np.testing.assert_allclose(np.sqrt(np.expm1(variances[:, :3])), np.tile([0.08, 0.08, 0.06], (40, 1)))
    np.testing.assert_allclose(np.sqrt(variances[:, 3:]), 0.1 * means[:, 3:])
    sd = np.sqrt(variances)
    correlations = covs / (sd[:, :, None] * sd[:, None, :])
    for (i, j), (least, most) in {(3, 4): (-0.6, 0), (3, 5): (0, 0.5), (4, 5): (0, 0.5)}.items():
        assert np.all((correlations[:, i, j] > least) & (correlations[:, i, j] < most))
    np.testing.assert_array_equal(correlations[:, :3, 3:], 0.0)


def test_perturbed_beams_of_many_laws_all_have_a_correlation_matrix():
    # About ten of 8000 rows of the hypercube have none as drawn.
    _, laws = make_perturbed_beams(8000, random_state=0)
    cov = np.array([law.cov for law in laws])
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    least = np.linalg.eigvalsh(cov / (sd[:, :, None] * sd[:, None, :]))[:, 0]
    assert least.min() == pytest.approx(1e-3, rel=1e-6)
    assert 1 <= np.sum(least < 1e-3 * (1 + 1e-6)) < 40


def test_perturbed_beams_repeat_with_their_seed():
    _, one = make_perturbed_beams(5, random_state=1)
    _, same = make_perturbed_beams(5, random_state=1)
    _, other = make_perturbed_beams(5, random_state=2)
    np.testing.assert_array_equal(one[3].mean, same[3].mean)
    assert not np.any(one[3].mean == other[3].mean)
