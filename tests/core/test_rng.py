"""Streams: stateless, apart from each other, and the same tomorrow."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.random import SeedSequence, default_rng

from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, entropy_of, root_seed, stream

GOLDEN = Path(__file__).parent.parent / "golden" / "streams.json"


def words(root, method="M", purpose=Purpose.DATA, k=0, n=4):
    return stream(root, method, purpose, k).integers(0, 2**63, size=n).tolist()


def test_a_stream_is_a_function_of_its_name():
    root = root_seed(3)
    first = words(root)
    words(root, k=1)
    assert words(root) == first == words(root_seed(3))


def test_names_part_streams():
    roots = [root_seed(3), root_seed(4), *SeedSequence(3).spawn(2)]
    streams = [
        words(root, m, p, k) for root in roots for m in "MN" for p in (Purpose.DATA, Purpose.FOLDS) for k in (0, 1)
    ]
    assert len({tuple(one) for one in streams}) == len(streams)


def test_many_streams_share_no_word():
    # 640 000 words of 63 bits: a repetition has probability 2e-8.
    seen = np.concatenate([words(root_seed(0), k=k, n=64) for k in range(10_000)])
    assert len(np.unique(seen)) == len(seen)


def test_pooled_streams_are_uniform():
    from scipy.stats import kstest

    pooled = np.concatenate([stream(root_seed(1), "M", Purpose.CHAINS, k).random(100) for k in range(2_000)])
    assert kstest(pooled, "uniform").pvalue > 1e-6
    assert kstest(pooled.reshape(2_000, 100)[:, 0], "uniform").pvalue > 1e-6


def test_what_random_state_may_be():
    assert root_seed(np.int64(5)).entropy == 5
    seed = SeedSequence(7, spawn_key=(1,))
    assert root_seed(seed) is seed
    assert root_seed(None).entropy != root_seed(None).entropy
    rng = default_rng(0)
    assert root_seed(rng).entropy != root_seed(rng).entropy
    assert root_seed(default_rng(0)).entropy == root_seed(default_rng(0)).entropy


@pytest.mark.parametrize(
    ("state", "words"),
    [(np.random.RandomState(0), "default_rng"), (-1, "non-negative"), (True, "bool"), ("1", "str"), (1.0, "float")],
)
def test_what_it_may_not_be(state, words):
    with pytest.raises(InvalidParameter, match=rf"random_state must be .*{words}"):
        root_seed(state)


@pytest.mark.parametrize("state", [3, None, SeedSequence([1, 2], spawn_key=(4, 5)), default_rng(0)])
def test_entropy_replays(state):
    root = root_seed(state)
    kept = json.loads(json.dumps(entropy_of(root)))
    assert words(SeedSequence(**kept)) == words(root)


def test_global_state_is_left_alone():
    before = (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002  (it must not move)
    words(root_seed(None))
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002


def test_streams_are_what_they_were():
    # A change here changes every number of the library: it wants a "Changed numbers" line in the changelog.
    pinned = {p.name: words(root_seed(12345), "M", p, 7, n=2) for p in Purpose}
    assert pinned == json.loads(GOLDEN.read_text())
