"""Distribution function and density of epsilon when both error rates are Beta-distributed.

With x = FNR ~ Beta(a_x, b_x) and y = FPR ~ Beta(a_y, b_y), epsilon is above e when (x, y) lies below the lower boundary
of the privacy region R(e, delta) or above the upper one. Below it, the point is under one of two lines that meet on
the diagonal at x0 = (1 - delta) / (1 + exp(e)), so that with X the law of x and Y the law of y

    P(below) = S(X, Y) + S(Y, X) - P(x < x0) P(y < x0),    S(X, Y) = E[x < x0; P(y < 1 - delta - exp(e) x)],

and above it the same holds for 1 - x and 1 - y. All integrals are taken in logits, where every Beta density is
log-concave and falls at least exponentially, whatever its shapes: no end is singular.
"""

import math

import numpy as np

from mcstat.kernels._jit import kernel, part
from mcstat.kernels.special import beta_log_power, beta_log_scale

# A density that has fallen by exp(-38) holds no mass that a float would see.
_DEPTH = 38.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_FIT_NODES, _FIT_WEIGHTS = np.polynomial.legendre.leggauss(17)
# From values at _FIT_NODES to the Chebyshev coefficients of the integral from -1.
_INTEGRATE = np.ascontiguousarray(
    np.polynomial.chebyshev.chebint(
        np.linalg.inv(np.polynomial.chebyshev.chebvander(_FIT_NODES, len(_FIT_NODES) - 1)), lbnd=-1
    )
)
_MOST_EDGES = 2048
# Weight of a node that cannot be seen in a mean.
_NEGLIGIBLE = 1e-14
_LARGEST = 700.0


@kernel
def _march(a, b, out):
    """Distances left of the logit's mode at which panels of Beta(a, b) end, into out; returns how many.

    Each panel is short enough for the rules: the log density falls by about two at first, more where little is left.
    """
    total = a + b
    mean = a / total
    distance, fallen, n = 0.0, 0.0, 0
    while fallen < _DEPTH and n < len(out):
        odds = a / b * math.exp(-distance)
        x = odds / (1.0 + odds)
        slope, curvature = a - total * x, total * x / (1.0 + odds)
        goal = 2.0 + 0.5 * fallen
        step = 2.0 * goal / (slope + math.sqrt(slope * slope + 2.0 * curvature * goal))
        distance += min(step, 2.0 + fallen / 8.0)
        fallen = a * distance + total * math.log1p(mean * math.expm1(-distance))
        out[n] = distance
        n += 1
    return n


@kernel
def _edges(a, b):
    """Logits, ascending, between which the panels of Beta(a, b) lie; the mass outside is negligible."""
    left, right = np.empty(_MOST_EDGES), np.empty(_MOST_EDGES)
    n_left, n_right = _march(a, b, left), _march(b, a, right)
    edges = np.empty(n_left + n_right + 1)
    mode = math.log(a / b)
    for i in range(n_left):
        edges[i] = mode - left[n_left - 1 - i]
    edges[n_left] = mode
    for i in range(n_right):
        edges[n_left + 1 + i] = mode + right[i]
    return edges


@part
def _log_density(a, b, log_scale, u):
    """Log of the density of the logit of Beta(a, b) at u."""
    return beta_log_power(a, b, 1.0 / (1.0 + math.exp(-u)), 1.0 / (1.0 + math.exp(u)), log_scale)


@kernel
def make_margin(a, b):
    """A Beta law for quick evaluation: shapes, scale, panel edges, and Chebyshev coefficients of its CDF by panel."""
    edges = _edges(a, b)
    log_scale = beta_log_scale(a, b)
    order = len(_INTEGRATE)
    series = np.empty((len(edges) - 1, order))
    density = np.empty(len(_FIT_NODES))
    below = 0.0
    for k in range(len(edges) - 1):
        half = 0.5 * (edges[k + 1] - edges[k])
        for i in range(len(_FIT_NODES)):
            density[i] = half * math.exp(_log_density(a, b, log_scale, edges[k] + half * (1.0 + _FIT_NODES[i])))
        top = 0.0
        for j in range(order):
            coefficient = 0.0
            for i in range(len(_FIT_NODES)):
                coefficient += _INTEGRATE[j, i] * density[i]
            series[k, j] = coefficient
            top += coefficient
        series[k, 0] += below
        below += top
    return a, b, log_scale, edges, series


@kernel
def _below(margin, u):
    """P(logit <= u)."""
    edges, series = margin[3], margin[4]
    if u <= edges[0]:
        return 0.0
    if u >= edges[-1]:
        return 1.0
    low, high = 0, len(edges) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= u:
            low = middle
        else:
            high = middle
    t = 2.0 * (u - edges[low]) / (edges[low + 1] - edges[low]) - 1.0
    # Clenshaw's recurrence.
    one, two = 0.0, 0.0
    for j in range(series.shape[1] - 1, 0, -1):
        one, two = 2.0 * t * one - two + series[low, j], one
    return t * one - two + series[low, 0]


@kernel
def _between(low, high, own, mapped, out):
    """Ascending panel edges from low to high: those of two ascending lists that lie inside; returns how many."""
    out[0] = low
    n, i, j = 1, 0, 0
    while i < len(own) or j < len(mapped):
        if j == len(mapped) or (i < len(own) and own[i] <= mapped[j]):
            edge = own[i]
            i += 1
        else:
            edge = mapped[j]
            j += 1
        if out[n - 1] < edge < high:
            out[n] = edge
            n += 1
    out[n] = high
    return n + 1


@part
def _image(e, delta, edges, side):
    """Logits, ascending, of the points of the line y = 1 - delta - exp(e) x where y (side 0) or x (1) is at the edges.

    NaN where there is none.
    """
    growth = math.exp(e)
    image = np.empty(len(edges))
    for i in range(len(edges)):
        v = edges[len(edges) - 1 - i]
        other = (1.0 / (1.0 + math.exp(v)) - delta) / growth
        if side == 1:
            other = 1.0 - delta - growth / (1.0 + math.exp(-v))
        image[i] = math.log(other / (1.0 - other)) if 0.0 < other < 1.0 else math.nan
    return image


@kernel
def _sum_panels(low, high, own, mapped, e, delta, first, second, side):
    """S of the module's text over a stretch of its line, and minus its derivative in e.

    The variable of integration is the logit of x for side 0, and that of y = 1 - delta - exp(e) x for side 1.
    """
    mass, density = 0.0, 0.0
    if not low < high:
        return mass, density
    edges = np.empty(len(own) + len(mapped) + 2)
    n = _between(low, high, own, mapped, edges)
    growth = math.exp(e)
    for k in range(n - 1):
        # Singular points of the integrand lie about one off the real axis, or off the end.
        n_parts = 1 + int((edges[k + 1] - edges[k]) / 2.5)
        half = 0.5 * (edges[k + 1] - edges[k]) / n_parts
        for piece in range(n_parts):
            middle = edges[k] + half * (2 * piece + 1)
            for i in range(len(_NODES)):
                u = middle + half * _NODES[i]
                z, rest = 1.0 / (1.0 + math.exp(-u)), 1.0 / (1.0 + math.exp(u))
                if side == 0:
                    x, not_x, not_y = z, rest, delta + growth * z
                    y = 1.0 - not_y
                    logit_y, jacobian = math.log(y / not_y), 1.0
                else:
                    y, not_y, x = z, rest, (1.0 - delta - z) / growth
                    not_x = 1.0 - x
                    logit_y, jacobian = u, y * not_y / (growth * x * not_x)
                weight = half * _WEIGHTS[i] * jacobian
                weight *= math.exp(beta_log_power(first[0], first[1], x, not_x, first[2]))
                mass += weight * _below(second, logit_y)
                density += (
                    weight
                    * math.exp(beta_log_power(second[0], second[1], y, not_y, second[2]))
                    * (growth * x / (y * not_y))
                )
    return mass, density


@part
def _under_line(e, delta, first, second):
    """S of the module's text and minus its derivative in e, without the part that cancels."""
    meeting = math.log1p(-delta) - math.log(delta + math.exp(e))
    # Half way up the line the variable changes from the logit of x to that of y, each where it resolves its end.
    x_half = 0.5 * (1.0 - delta) * math.exp(-e)
    y_half = 0.5 * (1.0 - delta)
    u_half, v_half = math.log(x_half / (1.0 - x_half)), math.log(y_half / (1.0 - y_half))
    mass, density = 0.0, 0.0
    # A loop, not two calls: the compiler's time grows with every copy of what it inlines, and `part` saves a level.
    for side in range(2):
        own, other = (first[3], second[3]) if side == 0 else (second[3], first[3])
        mapped = _image(e, delta, other, side)
        low, high = (own[0], min(u_half, own[-1])) if side == 0 else (max(meeting, own[0]), v_half)
        # On the second half there is nothing to add where x is beyond its law's panels.
        if side == 1 and mapped[-1] < high:
            high = mapped[-1]
        if side == 1 and mapped[0] > low:
            low = mapped[0]
        more_mass, more_density = _sum_panels(low, high, own, mapped, e, delta, first, second, side)
        mass += more_mass
        density += more_density
    return mass, density


@part
def make_law(a_x, b_x, a_y, b_y):
    """Margins of x, y, 1 - x and 1 - y."""
    return make_margin(a_x, b_x), make_margin(a_y, b_y), make_margin(b_x, a_x), make_margin(b_y, a_y)


@kernel
def tail_and_density(e, delta, law):
    """P(epsilon > e) and the density of epsilon at e >= 0."""
    tail, density = 0.0, 0.0
    meeting = math.log1p(-delta) - math.log(delta + math.exp(e))
    # Below the lower boundary as x under y and y under x, then the same of 1 - x and 1 - y above the upper one.
    for k in range(4):
        corner, swap = 2 * (k // 2), k % 2
        first, second = law[corner + swap], law[corner + 1 - swap]
        lowest = 1.0 / (1.0 + math.exp(-first[3][0])) + 1.0 / (1.0 + math.exp(-second[3][0]))
        if lowest > 1.0 - delta:
            # Even the smallest rates that have mass are on the other side.
            continue
        more_tail, more_density = _under_line(e, delta, first, second)
        tail += more_tail
        density += more_density
        if swap == 1:
            tail -= _below(first, meeting) * _below(second, meeting)
    return min(max(tail, 0.0), 1.0), density


@part
def quantile(p, delta, law, start):
    """The e at which P(epsilon <= e) = p, 0 where the atom there holds as much; Newton's method inside a bracket."""
    if p >= 1.0:
        return math.inf
    low, high, e = 0.0, math.inf, 0.0
    # The first of these looks at the atom: one place that calls, because the compiler's time grows with each copy.
    for k in range(200):
        tail, density = tail_and_density(e, delta, law)
        if k == 0:
            if tail <= 1.0 - p:
                return 0.0
            e = start
            continue
        if tail > 1.0 - p:
            low = e
        else:
            high = e
        # The log of the smaller side is nearly straight; where it is all rounding, only the bracket counts.
        step = math.nan
        if 1e-13 < tail < 0.5 and density > 0.0:
            step = tail * math.log(tail / (1.0 - p)) / density
        elif 0.5 <= tail < 1.0 - 1e-13 and density > 0.0:
            step = (1.0 - tail) * math.log(p / (1.0 - tail)) / density
        new = e + step
        if not low <= new <= min(high, 2.0 * e + 1.0):
            new = 2.0 * e + 1.0 if math.isinf(high) else 0.5 * (low + high)
        new = min(new, _LARGEST)
        moved, e = abs(new - e), new
        # The error is the square of the last step.
        if moved <= 1e-7 * (1.0 + e):
            break
    return e


@part
def _end_of(low, level, delta, law, start):
    """Upper end of the interval from low > 0 that holds ``level``, and its density there minus that at low."""
    tail, density = tail_and_density(low, delta, law)
    upper = quantile(min(1.0 - tail + level, 1.0), delta, law, start)
    return upper, tail_and_density(min(upper, _LARGEST), delta, law)[1] - density


@kernel
def shortest(level, delta, law, start):
    """Shortest interval that holds ``level``: the best of a grid of lower ends, refined by bisection; or from 0."""
    best_low, best_high = 0.0, quantile(level, delta, law, start)
    if best_high == 0.0:
        return best_low, best_high
    last = quantile(1.0 - level, delta, law, start)
    n_grid, best = 16, -1
    for i in range(n_grid):
        low = last * (i + 0.5) / n_grid
        high = _end_of(low, level, delta, law, best_high)[0]
        if high - low < best_high - best_low:
            best_low, best_high, best = low, high, i
    if best < 0:
        return best_low, best_high
    left, right = last * (best - 0.5) / n_grid, last * (best + 1.5) / n_grid
    left, right = max(left, 0.0), min(right, last)
    for _ in range(40):
        low = 0.5 * (left + right)
        high, lead = _end_of(low, level, delta, law, best_high)
        # While the density is higher at the upper end, moving up makes the interval shorter.
        if lead > 0.0:
            left = low
        else:
            right = low
        if right - left < 1e-9 * (1.0 + right):
            break
    return (low, high) if high - low <= best_high - best_low else (best_low, best_high)


@kernel
def cdf_loop(shapes, delta, at, tail, density):
    """P(epsilon > at[t, j]) and the density there of tables shapes (m, 4), delta (m,), at (m, k), into (m, k)."""
    for t in range(len(shapes)):
        law = make_law(shapes[t, 0], shapes[t, 1], shapes[t, 2], shapes[t, 3])
        for j in range(at.shape[1]):
            tail[t, j], density[t, j] = 1.0, 0.0
            if at[t, j] >= 0.0:
                # Beyond 700 the exponential overflows and no law of a table has mass that a float would see.
                tail[t, j], density[t, j] = tail_and_density(min(at[t, j], _LARGEST), delta[t], law)


@kernel
def quantile_loop(shapes, delta, p, start, out):
    """Quantiles at p (m, k) of tables shapes (m, 4), delta (m,), from first guesses start (m, k), into out (m, k)."""
    for t in range(len(shapes)):
        law = make_law(shapes[t, 0], shapes[t, 1], shapes[t, 2], shapes[t, 3])
        for j in range(p.shape[1]):
            out[t, j] = quantile(p[t, j], delta[t], law, start[t, j])


@kernel
def _rate_nodes(a, b, delta, rule, rule_weights):
    """Nodes of Beta(a, b): weights, and the logs of x, 1 - x, 1 - delta - x and x - delta; (n, 5)."""
    edges, log_scale = _edges(a, b), beta_log_scale(a, b)
    nodes = np.empty(((len(edges) - 1) * len(rule), 5))
    n = 0
    for k in range(len(edges) - 1):
        half = 0.5 * (edges[k + 1] - edges[k])
        for i in range(len(rule)):
            u = edges[k] + half * (1.0 + rule[i])
            weight = half * rule_weights[i] * math.exp(_log_density(a, b, log_scale, u))
            if weight < _NEGLIGIBLE:
                continue
            beyond = math.log1p(math.exp(-abs(u)))
            nodes[n, 0], nodes[n, 1], nodes[n, 2] = weight, min(u, 0.0) - beyond, min(-u, 0.0) - beyond
            nodes[n, 3], nodes[n, 4] = nodes[n, 2], nodes[n, 1]
            if delta > 0.0:
                nodes[n, 3] = math.log(max(1.0 / (1.0 + math.exp(u)) - delta, 0.0))
                nodes[n, 4] = math.log(max(1.0 / (1.0 + math.exp(-u)) - delta, 0.0))
            n += 1
    return nodes[:n]


@kernel
def moments_loop(shapes, delta, out):
    """Mean and standard deviation of tables shapes (m, 4), delta (m,), into out (m, 2).

    A sum over pairs of rates. Epsilon is the largest of four smooth functions of them and 0, so the rule errs only at
    the kinks. Two rates of one law would have the same nodes if they shared a rule, and all errors would have one sign.
    """
    for t in range(len(shapes)):
        first = _rate_nodes(shapes[t, 0], shapes[t, 1], delta[t], _NODES, _WEIGHTS)
        second = _rate_nodes(shapes[t, 2], shapes[t, 3], delta[t], _FIT_NODES, _FIT_WEIGHTS)
        total, mean, square = 0.0, 0.0, 0.0
        for i in range(len(first)):
            weight, log_x, log_x_not, room, room_not = first[i]
            row, row_mean, row_square = 0.0, 0.0, 0.0
            for j in range(len(second)):
                better = max(room - second[j, 1], second[j, 3] - log_x)
                worse = max(room_not - second[j, 2], second[j, 4] - log_x_not)
                e = max(better, max(worse, 0.0))
                row += second[j, 0]
                row_mean += second[j, 0] * e
                row_square += second[j, 0] * e * e
            total += weight * row
            mean += weight * row_mean
            square += weight * row_square
        mean /= total
        out[t, 0], out[t, 1] = mean, math.sqrt(max(square / total - mean * mean, 0.0))


@kernel
def shortest_loop(shapes, delta, level, start, out):
    """Shortest intervals of tables shapes (m, 4), delta (m,), level (m,), start (m,), into out (m, 2)."""
    for t in range(len(shapes)):
        law = make_law(shapes[t, 0], shapes[t, 1], shapes[t, 2], shapes[t, 3])
        out[t, 0], out[t, 1] = shortest(level[t], delta[t], law, start[t])
