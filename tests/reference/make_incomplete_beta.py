"""Writes incomplete_beta.json: both tails of Beta laws at 50 digits (needs mpmath).

    python tests/reference/make_incomplete_beta.py

Each row: a, b, x, lower tail, upper tail. The tail away from the mean is Lentz's continued fraction at 50 digits.
"""

import json
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 50


def fraction(a, b, x):
    """I_x(a, b) B(a, b) / (x^a (1 - x)^b)."""
    c, d = mp.mpf(1), 1 / (1 - (a + b) * x / (a + 1))
    value, m = d, 1
    while True:
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            value *= c * d
        if abs(c * d - 1) < mp.mpf(10) ** -40:
            return value / a
        m += 1


def tails(a, b, x):
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    log_power = a * mp.log(x) + b * mp.log(1 - x) + mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    if (a + b) * x <= a:
        lower = mp.exp(log_power) * fraction(a, b, x)
        return lower, 1 - lower
    upper = mp.exp(log_power) * fraction(b, a, 1 - x)
    return 1 - upper, upper


def points():
    """Shapes over eight decades, alike and unlike, at the mean and up to 36 standard deviations away."""
    rng = np.random.default_rng(0)
    for i in range(160):
        a, b = 10 ** rng.uniform(-1, 7, size=2)
        if i % 3 == 0:
            b = a * 10 ** rng.uniform(-0.5, 0.5)
        if i % 4 == 0:
            a, b = np.floor(a) + 0.5, np.floor(b) + 0.5
        mean = a / (a + b)
        x = mean + rng.uniform(-36, 36) / (1 + i % 5) * np.sqrt(mean * (1 - mean) / (a + b + 1))
        yield float(a), float(b), float(x if 0 < x < 1 else mean * 10 ** rng.uniform(-3, 0))


def main():
    rows = [(a, b, x, *(float(tail) for tail in tails(a, b, x))) for a, b, x in points()]
    text = ",\n".join(json.dumps(row) for row in rows)
    Path(__file__).with_name("incomplete_beta.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
