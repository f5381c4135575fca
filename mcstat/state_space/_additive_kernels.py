"""Terms of the named additive functionals, for batches of pairs of particles."""


def one_of_each(t, x_prev, sources, x, targets, y, theta, out):
    """All named functionals in the order sum_x, sum_xx, sum_cross; each of all components of the state."""
    d = x.shape[1]
    for q in range(len(out)):
        for k in range(d):
            value = x[targets[q], k]
            out[q, k] = value
            out[q, d + k] = value * value
            out[q, 2 * d + k] = value * x_prev[sources[q], k] if t > 0 else 0.0


def sum_x(t, x_prev, sources, x, targets, y, theta, out):
    """x_t."""
    for q in range(len(out)):
        for k in range(x.shape[1]):
            out[q, k] = x[targets[q], k]


def sum_xx(t, x_prev, sources, x, targets, y, theta, out):
    """x_t squared, component by component."""
    for q in range(len(out)):
        for k in range(x.shape[1]):
            out[q, k] = x[targets[q], k] * x[targets[q], k]


def sum_cross(t, x_prev, sources, x, targets, y, theta, out):
    """x_{t-1} x_t, component by component; 0 at t = 0."""
    for q in range(len(out)):
        for k in range(x.shape[1]):
            out[q, k] = x_prev[sources[q], k] * x[targets[q], k] if t > 0 else 0.0
