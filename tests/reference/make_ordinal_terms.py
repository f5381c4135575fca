"""Writes ordinal_terms.json: -log P of one class of cumulative link models and its derivatives, in 60 digits.

    python -m tests.reference.make_ordinal_terms

Needs mpmath.
"""

import json
from pathlib import Path

import mpmath

CDF = {
    "logit": lambda t: 1 / (1 + mpmath.exp(-t)),
    "probit": mpmath.ncdf,
    "cloglog": lambda t: 1 - mpmath.exp(-mpmath.exp(t)),
    "cauchit": lambda t: mpmath.mpf(1) / 2 + mpmath.atan(t) / mpmath.pi,
}
BOUNDARIES = [(-1.0, 0.5), (-9.0, -8.5), (3.0, 3.125), (-30.0, 25.0), (0.25, 0.25 + 2.0**-20)]
ENDS = [-20.0, -2.0, 0.0, 1.5]


def terms(link, lower, upper):
    """-log P, gradient (lower, upper), Hessian (lower, mixed, upper); None is a boundary that is not there."""
    ends = [None if end is None else mpmath.mpf(end) for end in (lower, upper)]
    there = [i for i in range(2) if ends[i] is not None]

    def loss(*moved):
        full = list(ends)
        for i, value in zip(there, moved, strict=True):
            full[i] = value
        high = CDF[link](full[1]) if full[1] is not None else mpmath.mpf(1)
        low = CDF[link](full[0]) if full[0] is not None else mpmath.mpf(0)
        return -mpmath.log(high - low)

    at = [ends[i] for i in there]
    out = {(0, 0): loss(*at)}
    for order in [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]:
        if all(order[i] == 0 or i in there for i in range(2)):
            kept = tuple(order[i] for i in there)
            out[order] = mpmath.diff(loss, tuple(at), kept) if len(at) > 1 else mpmath.diff(loss, at[0], kept[0])
    return [float(out.get(order, 0)) for order in [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]]


def main():
    records = []
    with mpmath.workdps(60):
        for link in CDF:
            shrink = 8 if link == "cloglog" else 1
            pairs = [(a / shrink, b / shrink) for a, b in BOUNDARIES]
            pairs += [(None, end) for end in ENDS] + [(end, None) for end in ENDS]
            records += [{"link": link, "lower": a, "upper": b, "terms": terms(link, a, b)} for a, b in pairs]
    path = Path(__file__).with_name("ordinal_terms.json")
    path.write_text(json.dumps(records, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
