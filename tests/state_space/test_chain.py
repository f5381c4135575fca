"""The finite chain: forward-backward against all paths, and the particle filter against forward-backward."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.state_space import DiscreteHMM, ForwardBackward, ParticleFilter
from tests.naive.state_space import chain_paths

MODEL = DiscreteHMM(
    initial=[0.5, 0.5, 0.0],
    transition=[[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.0, 1.0, 0.0]],
    emission=[[0.6, 0.4], [0.1, 0.9], [1.0, 0.0]],
)


@pytest.mark.parametrize("y", [[0, 1, 1, 0, 0, 1], [0, np.nan, np.nan, 1], [1]])
def test_against_all_paths(y):
    paths = chain_paths(*MODEL.tables(), y)
    total = sum(paths.values())
    found = ForwardBackward(MODEL).fit(y)
    assert found.loglik_ == pytest.approx(np.log(total), rel=1e-12)
    for t in range(len(y)):
        for i in range(3):
            truth = sum(p for path, p in paths.items() if path[t] == i) / total
            assert found.smoothed_[t, i] == pytest.approx(truth, abs=1e-13)
            for j in range(3):
                if t > 0:
                    truth = sum(p for path, p in paths.items() if path[t - 1] == i and path[t] == j) / total
                    assert found.pairs_[t - 1, i, j] == pytest.approx(truth, abs=1e-13)
    before = chain_paths(*MODEL.tables(), y[:1])
    np.testing.assert_allclose(found.filtered_[0], [before[i,] / sum(before.values()) for i in range(3)])


def test_case_is_exact():
    from mcstat.state_space._cases import forward_backward

    case = forward_backward()
    assert case.estimator.fit(**case.fit).estimate()["P(x[0]=0)"].value == pytest.approx(list(case.truth.values()))


def test_particles_agree(seed):
    # 40 replicates; z = 6.
    y = MODEL.simulate(30, random_state=seed)[1]
    est = ParticleFilter(MODEL, 500, n_replicates=40, random_state=seed, verbose=False).fit(y).estimate()
    assert abs(float(est) - ForwardBackward(MODEL).fit(y).loglik_) < 6 * est.std_error[0]


def test_impossible_symbols():
    with pytest.raises(InvalidData, match=r"P\(y\[1\]"):
        ForwardBackward(DiscreteHMM([1, 0], np.eye(2), np.eye(2))).fit([0, 1])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (DiscreteHMM(initial=[0.5, 0.6]), "initial"),
        (DiscreteHMM(transition=[[1.2, -0.2], [0.5, 0.5]]), "transition"),
        (DiscreteHMM(emission=np.eye(3)), "emission"),
    ],
)
def test_bad_tables(model, words):
    with pytest.raises(InvalidParameter, match=words):
        ForwardBackward(model).fit([0])


@pytest.mark.parametrize("y", [[2], [-1], [0.5]])
def test_bad_symbols(y):
    with pytest.raises(InvalidParameter, match="whole numbers from 0 to 1"):
        ForwardBackward(DiscreteHMM()).fit(y)
