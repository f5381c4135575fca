"""Random streams: stateless, one a unit of work, never a worker.

Stream ``k`` of a fit is a function of the root seed, the method, the purpose and ``k`` alone. So the same seed
gives the same bits for every ``n_jobs``, backend and chunk size, and the first ``k`` units of a longer run are
the units of the shorter one. Nothing here, and nothing in mcstat, touches NumPy's global state.
"""

from __future__ import annotations

from enum import IntEnum
from numbers import Integral
from typing import TypeAlias
from zlib import crc32

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from mcstat.core.errors import InvalidParameter

__all__ = ["Purpose", "RandomState", "child_seed", "entropy_of", "root_seed", "stream"]

RandomState: TypeAlias = int | SeedSequence | Generator | None


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of the promise "same seed, same bits": never re-use one."""

    DATA = 0
    EXPLORE = 1
    SAMPLE = 2
    CHAINS = 3
    FOLDS = 4
    BOOTSTRAP = 5
    REPLICATES = 6
    RANDOMISATIONS = 7
    METHODS = 8
    RESAMPLE = 9


def root_seed(random_state: RandomState) -> SeedSequence:
    """Turn what a user may pass as ``random_state`` into the root of all streams of one fit.

    Parameters
    ----------
    random_state : None, int, SeedSequence or Generator
        ``None`` takes fresh entropy (kept in ``Estimate.info["entropy"]``, so the run can be repeated). A
        Generator is asked once for 128 bits and so advances.

    Returns
    -------
    SeedSequence

    Raises
    ------
    InvalidParameter
        For anything else; a legacy ``RandomState`` is refused with a hint.
    """
    if random_state is None:
        return SeedSequence()
    if isinstance(random_state, SeedSequence):
        return random_state
    if isinstance(random_state, Generator):
        words = random_state.integers(0, 2**32, size=4, dtype=np.uint32)
        return SeedSequence([int(word) for word in words])
    if isinstance(random_state, Integral) and not isinstance(random_state, bool):
        if random_state < 0:
            raise InvalidParameter(f"random_state must be a non-negative integer, got {random_state}")
        return SeedSequence(int(random_state))
    hint = "; use np.random.default_rng(seed)" if isinstance(random_state, np.random.RandomState) else ""
    raise InvalidParameter(
        f"random_state must be None, an integer, a SeedSequence or a Generator, got {type(random_state).__name__}{hint}"
    )


def child_seed(root: SeedSequence, method: str, purpose: Purpose, k: int) -> SeedSequence:
    """Seed of unit ``k``: a pure function of its arguments (``SeedSequence.spawn`` counts inside the object)."""
    key = (crc32(method.encode()), int(purpose), int(k))
    return SeedSequence(root.entropy, spawn_key=tuple(root.spawn_key) + key, pool_size=root.pool_size)


def stream(root: SeedSequence, method: str, purpose: Purpose, k: int) -> Generator:
    """Generator of unit ``k`` (chain, replicate, fold, block, ...) of ``method``.

    Parameters
    ----------
    root : SeedSequence
        From :func:`root_seed`.
    method : str
        Name of the estimator's class; two methods under one seed never share a stream.
    purpose : Purpose
    k : int

    Returns
    -------
    Generator
        On SFC64, the fastest bit generator inside compiled kernels.
    """
    return Generator(SFC64(child_seed(root, method, purpose, k)))


def entropy_of(root: SeedSequence) -> dict[str, object]:
    """The root in JSON types (``SeedSequence(**entropy)`` gives it back); stored in ``Estimate.info["entropy"]``."""
    entropy = root.entropy
    words = entropy if entropy is None or isinstance(entropy, int) else [int(word) for word in entropy]
    return {"entropy": words, "spawn_key": [int(word) for word in root.spawn_key]}
