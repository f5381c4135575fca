"""Special functions of several rooms: gamma and beta functions, the regularised incomplete beta function, quadrature.

Shapes may be any positive numbers, up to 1e7 and beyond; results hold 12 to 14 digits also in the tails, because the
differences that matter (x minus the mean, log(1 + z) - z) are taken before anything is rounded.
"""

import math

import numpy as np

from mcstat.kernels._jit import kernel

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# From this shape on the continued fraction of a tail is slow, and cancels; quadrature is neither.
_LARGE_SHAPE = 40.0
# exp(-37) is below the last bit: where the integrand of a tail has fallen that far, the quadrature stops.
_NEGLIGIBLE = 37.0
_TAIL_NODES, _TAIL_WEIGHTS = np.polynomial.legendre.leggauss(24)
# Power series of log(1 + z) - z in (z / (2 + z))^2, and of exp(z) - 1 - z.
_ODD_INVERSES = 1.0 / np.arange(3.0, 31.0, 2.0)
_FACTORIAL_INVERSES = 1.0 / np.cumprod(np.arange(1.0, 16.0))[1:]
# Coefficients of 1/z^(2k+1) in the remainder of Stirling's formula: B_2k / (2k (2k - 1)).
_STIRLING = np.array(
    [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360360.0,
        1.0 / 156.0,
        -3617.0 / 122400.0,
    ]
)


@kernel
def _horner(coefficients, z, n):
    """c_0 + c_1 z + ... + c_(n-1) z^(n-1)."""
    total = coefficients[n - 1]
    for k in range(n - 2, -1, -1):
        total = total * z + coefficients[k]
    return total


@kernel
def stirling_remainder(z):
    """What Stirling's formula (z - 1/2) log z - z + log(2 pi)/2 lacks to log Gamma(z), z > 0."""
    if z < 10.0:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + _HALF_LOG_2PI)
    return _horner(_STIRLING, 1.0 / (z * z), len(_STIRLING)) / z


@kernel
def log_gamma(z):
    """Log of the gamma function, z > 0."""
    if z < 10.0:
        return math.lgamma(z)
    return (z - 0.5) * math.log(z) - z + _HALF_LOG_2PI + stirling_remainder(z)


@kernel
def log_beta(a, b):
    """Log of the beta function B(a, b), without the cancellation of three log-gammas."""
    small, large = min(a, b), max(a, b)
    total = small + large
    if large < 10.0:
        return math.lgamma(small) + math.lgamma(large) - math.lgamma(total)
    remainders = stirling_remainder(large) - stirling_remainder(total)
    share = (large - 0.5) * math.log1p(-small / total)
    if small < 10.0:
        # Gamma(large) / Gamma(total) by Stirling's formula.
        return math.lgamma(small) + share - small * math.log(total) + small + remainders
    return (
        (small - 0.5) * math.log(small / total)
        + share
        - 0.5 * math.log(total)
        + _HALF_LOG_2PI
        + stirling_remainder(small)
        + remainders
    )


@kernel
def log1p_minus(z):
    """log(1 + z) - z for z > -1, to full relative precision."""
    if z < -0.4 or z > 0.6:
        return math.log1p(z) - z
    r = z / (2.0 + z)
    square = r * r
    return r * (2.0 * square * _horner(_ODD_INVERSES, square, 14 if abs(z) > 0.1 else 7) - z)


@kernel
def expm1_minus(z):
    """exp(z) - 1 - z, to full relative precision."""
    if abs(z) > 0.7:
        return math.expm1(z) - z
    return z * z * _horner(_FACTORIAL_INVERSES, z, 14 if abs(z) > 0.1 else 8)


@kernel
def _product(x, y):
    """Give x * y as a rounded product and its rounding error (Dekker)."""
    product = x * y
    split = 134217729.0 * x
    x_high = split - (split - x)
    x_low = x - x_high
    split = 134217729.0 * y
    y_high = split - (split - y)
    y_low = y - y_high
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


@kernel
def _deviation(a, b, x, y):
    """(a + b) x - a = b - (a + b) y as if without rounding; the smaller of x and y = 1 - x is the one that counts."""
    total = a + b
    part = total - a
    lost = (a - (total - part)) + (b - part)
    if x <= y:
        product, error = _product(total, x)
        return (product - a) + (error + lost * x)
    product, error = _product(total, y)
    return (b - product) - (error + lost * y)


@kernel
def beta_log_scale(a, b):
    """log(1 / B(a, b)) less its exponential part: what :func:`beta_log_power` adds; once a pair of shapes."""
    total = a + b
    return (
        0.5 * (math.log(a) + math.log(b / total))
        - _HALF_LOG_2PI
        + stirling_remainder(total)
        - stirling_remainder(a)
        - stirling_remainder(b)
    )


@kernel
def beta_log_power(a, b, x, y, log_scale):
    """log(x^a y^b / B(a, b)) at 0 < x < 1, y = 1 - x: the Beta density in the logit of x."""
    d = _deviation(a, b, x, y)
    # (x/p)^a (y/q)^b at the mean p = a/(a + b): linear parts cancel, and are left out.
    z, w = d / a, -d / b
    left = a * log1p_minus(z) if z > -0.5 else a * math.log(x * ((a + b) / a)) - d
    right = b * log1p_minus(w) if w > -0.5 else b * math.log(y * ((a + b) / b)) + d
    return log_scale + left + right


@kernel
def _continued_fraction(a, b, x):
    """I_x(a, b) B(a, b) / (x^a (1 - x)^b), by Lentz's algorithm; fast for x below the mean."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        change = 1.0
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            change *= d * c
            fraction *= d * c
        if abs(change - 1.0) < 4e-16:
            break
    return fraction / a


@kernel
def _lower_quadrature(a, b, x, y, d):
    """The same for large a: Gauss-Legendre over t < x in s, 1 - t = y exp(s), until the integrand is negligible."""
    odds = y / x
    slope = (d + y) / x
    # x^2 times the second derivative, so that nothing overflows where x is 1e-300.
    curvature = (a - 1.0) * y
    length = (d + y + math.sqrt((d + y) ** 2 + 2.0 * _NEGLIGIBLE * curvature)) * (x / curvature)
    # Small b: the integrand falls like exp(-exp(s)), faster than its first two derivatives say.
    length = min(length, math.log1p((_NEGLIGIBLE + b * length) / ((a - 1.0) * odds)))
    longest = -math.log(y) if y < 0.5 else -math.log1p(-x)
    length = min(length, 0.9 * longest)
    # One Newton step: the log integrand is concave, so its tangent leads beyond the place that is looked for.
    grown = math.expm1(length)
    fallen = b * length + (a - 1.0) * math.log1p(-odds * grown)
    steepness = (a - 1.0) * odds * (1.0 + grown) / (1.0 - odds * grown) - b
    length = min(length + (fallen + _NEGLIGIBLE) / steepness, longest)
    total = 0.0
    for k in range(len(_TAIL_NODES)):
        s = 0.5 * length * (1.0 + _TAIL_NODES[k])
        excess = expm1_minus(s)
        log_rest = log1p_minus(max(-odds * (s + excess), -1.0 + 1e-16))
        total += _TAIL_WEIGHTS[k] * math.exp(slope * s + (a - 1.0) * (log_rest - odds * excess))
    return 0.5 * length * total / x


@kernel
def beta_tail(a, b, x, y, log_scale):
    """One tail of Beta(a, b) at 0 < x < 1: log of x^a y^b / B(a, b), the tail divided by that, and whether it is lower.

    The tail that lies away from the mean is given, so the other one is 1 minus it.
    """
    log_power = beta_log_power(a, b, x, y, log_scale)
    d = _deviation(a, b, x, y)
    is_lower = d <= 0.0
    # One place for each way, because the compiler copies what it calls.
    own, other, near, far = (a, b, x, y) if is_lower else (b, a, y, x)
    if own < _LARGE_SHAPE:
        return log_power, _continued_fraction(own, other, near), is_lower
    return log_power, _lower_quadrature(own, other, near, far, -abs(d)), is_lower


@kernel
def beta_cdf(a, b, x, y, log_scale):
    """P(X <= x) and P(X > x) of X ~ Beta(a, b), with y = 1 - x and log_scale = beta_log_scale(a, b)."""
    if x <= 0.0:
        return 0.0, 1.0
    if y <= 0.0:
        return 1.0, 0.0
    log_power, factor, is_lower = beta_tail(a, b, x, y, log_scale)
    tail = math.exp(log_power) * factor
    return (tail, 1.0 - tail) if is_lower else (1.0 - tail, tail)


@kernel
def _lower_quantile(a, b, log_p):
    """Logit of the x at which P(X <= x) = exp(log_p), by Newton's method on the logs.

    The log of the lower tail is concave in the logit (the density is log-concave there), so that Newton's method
    converges from anywhere: each step ends at or left of the root, and from the left it climbs.
    """
    log_scale = beta_log_scale(a, b)
    u = math.log(a / b)
    for _ in range(200):
        x, y = 1.0 / (1.0 + math.exp(-u)), 1.0 / (1.0 + math.exp(u))
        log_power, factor, is_lower = beta_tail(a, b, x, y, log_scale)
        log_tail = log_power + math.log(factor)
        if not is_lower:
            log_tail = math.log1p(-min(math.exp(log_tail), 1.0 - 2.0**-53))
        step = (log_p - log_tail) * math.exp(min(log_tail - log_power, 700.0))
        # Logits beyond +-700 are beyond the floating-point numbers.
        new = min(max(u + step, -700.0), 700.0)
        moved, u = abs(new - u), new
        if moved <= 1e-15 * max(1.0, abs(u)):
            break
    return u


@kernel
def beta_quantile(a, b, p, q):
    """Give x and 1 - x with P(X <= x) = p for X ~ Beta(a, b), q = 1 - p; of p and q the smaller one counts."""
    if p <= 0.0:
        return 0.0, 1.0
    if q <= 0.0:
        return 1.0, 0.0
    own, other, tail = (a, b, p) if p <= q else (b, a, q)
    u = _lower_quantile(own, other, math.log(tail))
    u = u if p <= q else -u
    return 1.0 / (1.0 + math.exp(-u)), 1.0 / (1.0 + math.exp(u))


@kernel
def _cdf_loop(a, b, x, y, lower, upper):
    """:func:`beta_cdf` of arrays (n,), into lower and upper (n,)."""
    for i in range(len(a)):
        lower[i], upper[i] = beta_cdf(a[i], b[i], x[i], y[i], beta_log_scale(a[i], b[i]))


@kernel
def _quantile_loop(a, b, p, q, x, y):
    """:func:`beta_quantile` of arrays (n,), into x and y (n,)."""
    for i in range(len(a)):
        x[i], y[i] = beta_quantile(a[i], b[i], p[i], q[i])


def _elementwise(loop, *arguments):
    """Two arrays of the arguments' joint shape, from a loop over flat read-only float64 arrays."""
    arrays = np.broadcast_arrays(*(np.asarray(argument, dtype=np.float64) for argument in arguments))
    flat = [np.array(array).ravel() for array in arrays]
    for array in flat:
        array.flags.writeable = False
    first, second = np.empty(flat[0].size), np.empty(flat[0].size)
    loop(*flat, first, second)
    return first.reshape(arrays[0].shape), second.reshape(arrays[0].shape)


def incomplete_beta(a, b, x, y=None):
    """Regularised incomplete beta function: both tails of Beta(a, b) at x, each to full relative precision.

    Arguments broadcast; ``y`` is 1 - x where the caller knows it better than by subtraction.
    """
    return _elementwise(_cdf_loop, a, b, x, 1.0 - np.asarray(x, dtype=np.float64) if y is None else y)


def incomplete_beta_inverse(a, b, p, q=None):
    """Quantile x of Beta(a, b) at probability p, and 1 - x; arguments broadcast, ``q`` is 1 - p."""
    return _elementwise(_quantile_loop, a, b, p, 1.0 - np.asarray(p, dtype=np.float64) if q is None else q)


def clopper_pearson(successes, trials, tail_lower, tail_upper):
    """Exact binomial interval with error probabilities ``tail_lower`` and ``tail_upper``; arguments broadcast.

    A tail of 0 gives the end 0 or 1. Counts need not be whole.
    """
    # SciPy's quantiles are as good to 1e-11 and compile nothing: an interval is often the first thing that is asked.
    from scipy.special import betainccinv, betaincinv

    k, n, below, above = np.broadcast_arrays(successes, trials, tail_lower, tail_upper)
    lower = np.where(k > 0, betaincinv(np.where(k > 0, k, 1.0), n - k + 1.0, below), 0.0)
    upper = np.where(k < n, betainccinv(k + 1.0, np.where(k < n, n - k, 1.0), above), 1.0)
    return lower, upper


def jeffreys(successes, trials, tail_lower, tail_upper):
    """Quantiles of Beta(k + 1/2, n - k + 1/2), the ends set to 0 at k = 0 and to 1 at k = n; arguments broadcast."""
    from scipy.special import betainccinv, betaincinv

    k, n, below, above = np.broadcast_arrays(successes, trials, tail_lower, tail_upper)
    lower, upper = betaincinv(k + 0.5, n - k + 0.5, below), betainccinv(k + 0.5, n - k + 0.5, above)
    return np.where(k > 0, lower, 0.0), np.where(k < n, upper, 1.0)
