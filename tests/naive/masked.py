"""Exact laws of samplers of masked sequences, by going through every way to write them."""

from itertools import permutations, product

import numpy as np


def conditional(joint, tokens, place):
    """Law of one token given those that are not None."""
    p = joint[tuple(slice(None) if one is None else one for one in tokens)]
    kept = [axis for axis, one in enumerate(tokens) if one is None]
    p = p.sum(axis=tuple(k for k, axis in enumerate(kept) if axis != place))
    return p / p.sum()


def written(joint, tokens, places):
    """Every outcome of writing some places independently: (tokens, probability)."""
    laws = [conditional(joint, tokens, place) for place in places]
    for values in product(range(joint.shape[0]), repeat=len(places)):
        new = list(tokens)
        for place, value in zip(places, values, strict=True):
            new[place] = value
        p = np.prod([law[value] for law, value in zip(laws, values, strict=True)])
        if p > 0:
            yield tuple(new), p


def first_hitting_law(joint, tokens_per_step):
    """All orders of the places, a few of them at a time."""
    law, length = np.zeros_like(joint), joint.ndim
    orders = list(permutations(range(length)))
    for order in orders:
        states = {(None,) * length: 1.0 / len(orders)}
        for first in range(0, length, tokens_per_step):
            after = {}
            for tokens, mass in states.items():
                for new, p in written(joint, tokens, order[first : first + tokens_per_step]):
                    after[new] = after.get(new, 0.0) + mass * p
            states = after
        for tokens, mass in states.items():
            law[tokens] += mass
    return law


def ancestral_law(joint, n_steps, masked_share=lambda t: t):
    """All subsets of the places that may be written in a step."""
    states = {(None,) * joint.ndim: 1.0}
    for step in range(n_steps, 0, -1):
        after, stay = {}, masked_share((step - 1) / n_steps) / masked_share(step / n_steps)
        for tokens, mass in states.items():
            free = [place for place, one in enumerate(tokens) if one is None]
            for some in product((False, True), repeat=len(free)):
                places = [place for place, one in zip(free, some, strict=True) if one]
                chance = (1 - stay) ** len(places) * stay ** (len(free) - len(places))
                if chance > 0:
                    for new, p in written(joint, tokens, places):
                        after[new] = after.get(new, 0.0) + mass * chance * p
        states = after
    law = np.zeros_like(joint)
    for tokens, mass in states.items():
        law[tokens] += mass
    return law
