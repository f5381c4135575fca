"""Drawing rows without replacement at a constant cost a row: Fisher and Yates' shuffle, a step at a time.

The kernels take uniform numbers instead of a Generator, whose unboxing costs more than a small batch.
"""

from __future__ import annotations

from mcstat.kernels._jit import kernel


@kernel
def draw_subset(uniform, order, swapped, subset):
    """Fill ``subset`` (m,) with a uniform m-subset of ``order`` (n,), shuffled; ``order`` is left as it was.

    ``swapped`` (m,) is room for the swaps, which are undone: the subset depends on ``uniform`` (m,) alone.
    """
    n, m = order.shape[0], subset.shape[0]
    for i in range(m):
        j = i + int(uniform[i] * (n - i))
        order[i], order[j] = order[j], order[i]
        swapped[i], subset[i] = j, order[i]
    for i in range(m - 1, -1, -1):
        j = swapped[i]
        order[i], order[j] = order[j], order[i]


@kernel
def draw_domains(uniform, cumulative, domains):
    """Fill ``domains`` with draws from the probabilities whose running sums are ``cumulative`` (last one: 1).

    Domain by domain over all draws: the inner loop has no branch to mispredict.
    """
    domains[:] = 0
    for k in range(cumulative.shape[0] - 1):
        edge = cumulative[k]
        for i in range(domains.shape[0]):
            domains[i] += uniform[i] >= edge


@kernel
def draw_rows(uniform, domains, first, order, cursor, rows):
    """For each entry of ``domains`` the next row of that domain in a random order, anew when it is used up.

    Domain k owns ``order[first[k]:first[k + 1]]``; its first ``cursor[k]`` entries are used in the running pass.
    """
    for i in range(domains.shape[0]):
        k = domains[i]
        here = first[k] + cursor[k]
        j = here + int(uniform[i] * (first[k + 1] - here))
        order[here], order[j] = order[j], order[here]
        rows[i] = order[here]
        cursor[k] += 1
        if first[k] + cursor[k] == first[k + 1]:
            cursor[k] = 0
