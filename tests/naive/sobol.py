"""Slow, obvious pick-freeze estimator of Sobol' indices, in plain Python."""

import math


def legendre(u):
    """Degrees 1 to 4, orthonormal on (0, 1), written out."""
    z = 2 * u - 1
    return [
        math.sqrt(3) * z,
        math.sqrt(5) * (3 * z**2 - 1) / 2,
        math.sqrt(7) * (5 * z**3 - 3 * z) / 2,
        math.sqrt(9) * (35 * z**4 - 30 * z**2 + 3) / 8,
    ]


def mean(values):
    return math.fsum(values) / len(values)


def centred(values):
    m = mean(values)
    return [value - m for value in values]


def effects(u_fit, y, u_at):
    """effects[k][row]: what input k explains alone, coefficients from (u_fit, y), at the points u_at."""
    n, d = len(y), len(u_fit[0])
    noise = 4 * mean([v * v for v in y]) / n
    found = []
    for k in range(d):
        coefficients = []
        for degree in range(4):
            c = mean([legendre(u_fit[row][k])[degree] * y[row] for row in range(n)])
            coefficients.append(c * (1 - noise / c**2) if c**2 > noise else 0.0)
        found.append([sum(c * p for c, p in zip(coefficients, legendre(row[k]), strict=True)) for row in u_at])
    return found


def indices(y, u):
    """First orders, then totals, from outputs at A, B, A_1..A_d and the uniforms (row: those of A, those of B)."""
    d, n = len(y) - 2, len(y[0])
    a, b = centred(y[0]), centred(y[1])
    u_a, u_b = [row[:d] for row in u], [row[d:] for row in u]
    part_a, part_b = effects(u_b, b, u_a), effects(u_a, a, u_b)
    first, total = [], []
    for i in range(d):
        mixed = centred(y[2 + i])
        variance_mixed = mean([v * v for v in mixed])
        spread = (mean([v * v for v in a]) + variance_mixed) / 2
        total.append(mean([(a[r] - mixed[r]) ** 2 for r in range(n)]) / 2 / spread)
        products = []
        for r in range(n):
            b_left = b[r] - sum(part_b[k][r] for k in range(d) if k != i)
            a_left = a[r] - sum(part_a[k][r] for k in range(d))
            mixed_left = mixed[r] - sum(part_a[k][r] for k in range(d) if k != i)
            products.append(b_left * (mixed_left - (1 - total[i]) * a_left))
        spread = (mean([v * v for v in b]) + variance_mixed) / 2
        first.append(mean(products) / spread)
    return first + total


def second_orders(y, u):
    """Interactions of pairs from outputs at A, B, A_1..A_d, B_1..B_d: covariance of A_i and B_j less what is alone.

    All of it on what the additive effects leave of the model.
    """
    d, n = len(u[0]) // 2, len(y[0])
    rows = [centred(row) for row in y]
    u_a, u_b = [row[:d] for row in u], [row[d:] for row in u]
    part_a, part_b = effects(u_b, rows[1], u_a), effects(u_a, rows[0], u_b)

    def left(values, from_b):
        """Values less the effects, each input's taken at B where it is in ``from_b`` and at A elsewhere."""
        return [values[r] - sum((part_b if k in from_b else part_a)[k][r] for k in range(d)) for r in range(n)]

    everything = set(range(d))
    a, b = left(rows[0], set()), left(rows[1], everything)
    a_mixed = [left(rows[2 + i], {i}) for i in range(d)]
    b_mixed = [left(rows[2 + d + j], everything - {j}) for j in range(d)]
    variance = mean([value * value for row in rows for value in row])

    def product(one, other):
        return mean([p * q for p, q in zip(one, other, strict=True)])

    found = []
    for i in range(d):
        for j in range(i + 1, d):
            once = product(a_mixed[i], b_mixed[j]) - product(a_mixed[i], b) - product(b_mixed[j], a)
            twice = product(a_mixed[j], b_mixed[i]) - product(a_mixed[j], b) - product(b_mixed[i], a)
            found.append((once + twice) / 2 / variance)
    return found
