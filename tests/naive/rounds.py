"""Slow, obvious versions of the rounds and shares in ``mcstat/subsampling``."""


def rounds_from_orders(orders, m, n_rounds):
    """Rounds of m rows from given orders of all rows, by the remainder rule, with lists."""
    orders, left, rounds = iter(orders), [], []
    for _ in range(n_rounds):
        if len(left) >= m:
            held, left = left[:m], left[m:]
        else:
            held, coming = list(left), list(next(orders))
            for row in list(coming):
                if len(held) == m:
                    break
                if row not in held:
                    held.append(row)
                    coming.remove(row)
            left = coming
        rounds.append(held)
    return rounds


def largest_remainders(sizes, m):
    """Shares of m in proportion to sizes: floors, then one more to the largest remainders."""
    total = sum(sizes)
    shares = [m * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda c: -(m * sizes[c] % total))
    for c in by_remainder[: m - sum(shares)]:
        shares[c] += 1
    return shares


def temperature_probabilities(sizes, tau):
    powers = [size ** (1 / tau) for size in sizes]
    return [power / sum(powers) for power in powers]


def unimax(sizes, budget, max_epochs):
    given = [0.0] * len(sizes)
    for place, k in enumerate(sorted(range(len(sizes)), key=lambda k: sizes[k])):
        given[k] = min((budget - sum(given)) / (len(sizes) - place), max_epochs * sizes[k])
    return [part / sum(given) for part in given]
