"""Exponentials of a whole array, 4 times faster than one by one: the loops have no branch, so they vectorise.

exp(v) = 2^k exp(r) with k = round(v / ln 2) and |r| <= ln(2) / 2. Adding 1.5 * 2^52 rounds to an integer and leaves it
in the low bits of the sum, from where a shift moves it into the exponent; no conversion to integers is needed.
"""

import numpy as np

from mcstat.kernels._jit import kernel

_ROUND = 6755399441055744.0
_LOG2_E = 1.4426950408889634
# ln 2 in two parts: k times the first is exact for |k| < 2^20.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# Below, the result is no normal number.
_SMALLEST = -708.0
_C2, _C3, _C4, _C5 = 1 / 2, 1 / 6, 1 / 24, 1 / 120
_C6, _C7, _C8, _C9 = 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880
_C10, _C11, _C12, _C13 = 1 / 3628800, 1 / 39916800, 1 / 479001600, 1 / 6227020800


@kernel
def exp_shifted(x, shift, out):
    """exp(x - shift) of a (n,) array into ``out``, which may be x, for x - shift <= 709; relative error below 4e-16.

    0 where x - shift < -708. NaN where that is not a number or +inf.
    """
    n = len(x)
    power = np.empty(n)
    bits = power.view(np.int64)
    for i in range(n):
        power[i] = max(x[i] - shift, _SMALLEST) * _LOG2_E + _ROUND
    # A loop that read x and wrote out would not vectorise where they are one array: only this short one does.
    for i in range(n):
        out[i] = x[i] - shift
    for i in range(n):
        k = power[i] - _ROUND
        v = out[i]
        r = (max(v, _SMALLEST) - k * _LN2_HIGH) - k * _LN2_LOW
        tail = _C8 + r * (_C9 + r * (_C10 + r * (_C11 + r * (_C12 + r * _C13))))
        tail = 1.0 + r * (1.0 + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * (_C7 + r * tail)))))))
        out[i] = 0.0 if v < _SMALLEST else tail
    for i in range(n):
        bits[i] = (bits[i] + 1023) << 52
    for i in range(n):
        out[i] *= power[i]
