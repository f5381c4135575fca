"""Models of the tests, written as a user would; at module level so that they pickle."""

import numpy as np

from mcstat.state_space import StateSpaceModel

LOG_ROOT_2_PI = 0.5 * np.log(2 * np.pi)
THETA = {"rho": 0.9, "sigma_x": 1.0, "sigma_y": 0.5}
SUPPORT = {"rho": (-1.0, 1.0), "sigma_x": (0.0, np.inf), "sigma_y": (0.0, np.inf)}


def initial(noise, theta):
    return theta[1] / np.sqrt(1.0 - theta[0] ** 2) * noise


def transition(t, x_prev, noise, theta):
    return theta[0] * x_prev + theta[1] * noise


def observation_log_density(t, x, y, theta):
    return -0.5 * ((y - x) / theta[2]) ** 2 - np.log(theta[2]) - LOG_ROOT_2_PI


def initial_log_density(x, theta):
    scale = theta[1] / np.sqrt(1.0 - theta[0] ** 2)
    return -0.5 * (x / scale) ** 2 - np.log(scale) - LOG_ROOT_2_PI


def transition_log_density(t, x_prev, x, theta):
    return -0.5 * ((x - theta[0] * x_prev) / theta[1]) ** 2 - np.log(theta[1]) - LOG_ROOT_2_PI


def transition_log_bound(theta):
    return -np.log(theta[1]) - LOG_ROOT_2_PI


# A proposal that is no more than sensible: half way to the observation, and wide.
def initial_proposal(y, noise, theta):
    return 0.5 * y + 1.2 * noise


def proposal(t, x_prev, y, noise, theta):
    return 0.5 * (theta[0] * x_prev + y) + 1.2 * noise


def initial_proposal_log_density(x, y, theta):
    return -0.5 * ((x - 0.5 * y) / 1.2) ** 2 - np.log(1.2) - LOG_ROOT_2_PI


def proposal_log_density(t, x_prev, x, y, theta):
    return -0.5 * ((x - 0.5 * (theta[0] * x_prev + y)) / 1.2) ** 2 - np.log(1.2) - LOG_ROOT_2_PI


def auxiliary_log_weight(t, x_prev, y, theta):
    return -0.25 * (y - theta[0] * x_prev) ** 2


def observation(rng, t, x, theta):
    return x + theta[2] * rng.standard_normal()


FUNCTIONS = {
    "initial": initial,
    "transition": transition,
    "observation_log_density": observation_log_density,
    "initial_log_density": initial_log_density,
    "transition_log_density": transition_log_density,
    "transition_log_bound": transition_log_bound,
    "initial_proposal": initial_proposal,
    "proposal": proposal,
    "initial_proposal_log_density": initial_proposal_log_density,
    "proposal_log_density": proposal_log_density,
    "auxiliary_log_weight": auxiliary_log_weight,
    "observation": observation,
}


def linear_gaussian(**settings):
    """``LinearGaussian()`` as a user's model: the functions serve numbers and arrays alike."""
    return StateSpaceModel(**(FUNCTIONS | {"theta": THETA} | settings))


# Two components seen through one number, with three normals of noise.
def plane_initial(noise, theta, out):
    out[0] = noise[0]
    out[1] = noise[1] + 0.5 * noise[2]


def plane_transition(t, x_prev, noise, theta, out):
    out[0] = theta[0] * x_prev[0] + 0.3 * x_prev[1] + noise[0]
    out[1] = 0.5 * x_prev[1] + noise[1] + 0.5 * noise[2]


def plane_log_density(t, x, y, theta):
    return -0.5 * (y - x[0] - x[1]) ** 2 - LOG_ROOT_2_PI


def plane_initial_arrays(noise, theta):
    return np.column_stack([noise[:, 0], noise[:, 1] + 0.5 * noise[:, 2]])


def plane_transition_arrays(t, x_prev, noise, theta):
    a, b = x_prev.T
    return np.column_stack([theta[0] * a + 0.3 * b + noise[:, 0], 0.5 * b + noise[:, 1] + 0.5 * noise[:, 2]])


def plane_log_density_arrays(t, x, y, theta):
    return -0.5 * (y - x[:, 0] - x[:, 1]) ** 2 - LOG_ROOT_2_PI


def plane(vectorized=False):
    functions = (
        (plane_initial_arrays, plane_transition_arrays, plane_log_density_arrays)
        if vectorized
        else (plane_initial, plane_transition, plane_log_density)
    )
    return StateSpaceModel(*functions, theta=[0.8], state_dim=2, noise_dim=3, vectorized=vectorized)


# Laws that noise cannot express: the functions draw for themselves.
def gamma_initial(rng, theta):
    return rng.standard_gamma(theta[0])


def gamma_transition(rng, t, x_prev, theta):
    return 0.5 * x_prev + rng.standard_gamma(theta[0])


def gamma_initial_arrays(rng, n, theta):
    return rng.standard_gamma(theta[0], size=n)


def gamma_transition_arrays(rng, t, x_prev, theta):
    return 0.5 * x_prev + rng.standard_gamma(theta[0], size=len(x_prev))


def gamma_log_density(t, x, y, theta):
    return -0.5 * (y - x) ** 2 - LOG_ROOT_2_PI


def gamma(vectorized=False):
    functions = (gamma_initial_arrays, gamma_transition_arrays) if vectorized else (gamma_initial, gamma_transition)
    return StateSpaceModel(*functions, gamma_log_density, theta=[2.0], noise="generator", vectorized=vectorized)
