"""Types of the function pointers through which compiled loops reach a model."""

from numba import types

__all__ = [
    "ADDITIVE",
    "LOG_AUXILIARY",
    "LOG_INITIAL",
    "LOG_TRANSITION",
    "LOG_WEIGHT",
    "MOVE",
    "RESAMPLE",
    "array",
    "read_only",
]


def array(ndim, dtype=types.float64):
    """C-contiguous array that may be written to."""
    return types.Array(dtype, ndim, "C")


def read_only(ndim):
    """C-contiguous float64 array that may not."""
    return types.Array(types.float64, ndim, "C", readonly=True)


_THETA = _Y = read_only(1)
_INDICES = array(1, types.int64)
_PARTICLES = array(2)

MOVE = types.void(types.npy_rng, types.int64, _PARTICLES, _INDICES, _PARTICLES, _Y, _THETA, _PARTICLES)
LOG_WEIGHT = types.void(types.int64, _PARTICLES, _INDICES, _PARTICLES, _Y, _THETA, array(1))
LOG_AUXILIARY = types.void(types.int64, _PARTICLES, _Y, _THETA, array(1))
LOG_TRANSITION = types.void(types.int64, _PARTICLES, _INDICES, _PARTICLES, _INDICES, _THETA, array(1))
ADDITIVE = types.void(types.int64, _PARTICLES, _INDICES, _PARTICLES, _INDICES, _Y, _THETA, _PARTICLES)
LOG_INITIAL = types.void(_PARTICLES, _THETA, array(1))
RESAMPLE = types.void(array(1), array(1), _INDICES)

BY_NAME = {
    "move": MOVE,
    "guided_move": MOVE,
    "log_weight": LOG_WEIGHT,
    "guided_log_weight": LOG_WEIGHT,
    "log_auxiliary": LOG_AUXILIARY,
    "log_transition": LOG_TRANSITION,
    "log_initial": LOG_INITIAL,
}
