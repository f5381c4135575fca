"""A small network to try solvers on: trained in a minute or two on two cores, for examples and realistic tests."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn

from mcstat.core.checks import check_array, check_integer, check_real
from mcstat.core.errors import InvalidData, InvalidFileError, InvalidParameter
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, root_seed
from mcstat.torch._bridge import check_sample, generator
from mcstat.torch.diffusion._denoiser import Denoiser
from mcstat.torch.diffusion._schedules import NoiseSchedule, VPLinear

__all__ = ["DenoiserMLP", "digits_data", "load_denoiser", "save_denoiser", "train_denoiser"]

_FREQUENCIES = 8
_WARM_UP = 100
# The share of training rows whose class is hidden, so that the network also learns the law of all classes.
_HIDDEN = 0.1


class DenoiserMLP(nn.Module):
    """Three hidden layers of SiLU on x, Fourier features of time and, where there are classes, their embedding.

    Parameters
    ----------
    d : int
        Coordinates of a sample, of any shape.
    width : int
    n_classes : int
        0 without classes; else class ``n_classes`` stands for "any".
    time_scale : float
        Model times are divided by it.
    source : torch.Generator, optional
        Draws the first weights; without one they are left as they are in memory, to be loaded.
    """

    def __init__(
        self,
        d: int,
        width: int = 128,
        n_classes: int = 0,
        time_scale: float = 1.0,
        source: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.settings = {"d": d, "width": width, "n_classes": n_classes, "time_scale": time_scale}
        classes = n_classes + 1 if n_classes else 0
        sizes = [d + 2 * _FREQUENCIES + classes, width, width, width, d]
        # skip_init leaves torch's global generator alone.
        skip_init: Any = nn.utils.skip_init
        layers = [skip_init(nn.Linear, *pair) for pair in pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        if source is not None:
            with torch.no_grad():
                for layer in layers:
                    bound = layer.in_features**-0.5
                    layer.weight.uniform_(-bound, bound, generator=source)
                    layer.bias.uniform_(-bound, bound, generator=source)

    def forward(self, x: torch.Tensor, t: torch.Tensor, c: Any = None) -> torch.Tensor:
        """Predicted v for x (n, ...) at model times t (n,); ``c`` is one class or one a sample (None: any)."""
        angles = (t / self.settings["time_scale"])[:, None] * (pi * 2.0 ** torch.arange(_FREQUENCIES, device=x.device))
        parts = [x.flatten(1), torch.sin(angles).to(x), torch.cos(angles).to(x)]
        count = int(self.settings["n_classes"])
        if count:
            code = torch.as_tensor(count if c is None else c, device=x.device).expand(len(x))
            parts.append(nn.functional.one_hot(code, count + 1).to(x))
        h = torch.cat(parts, dim=1)
        for layer in self.layers[:-1]:
            h = nn.functional.silu(layer(h))
        return self.layers[-1](h).reshape(x.shape)  # type: ignore[no-any-return]  # a Tensor


def train_denoiser(
    data: torch.Tensor,
    schedule: NoiseSchedule | None = None,
    *,
    labels: Any = None,
    width: int = 128,
    n_iter: int = 20_000,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    random_state: RandomState = None,
    verbose: bool = True,
) -> Denoiser:
    """Train a :class:`DenoiserMLP` to predict v.

    Parameters
    ----------
    data : tensor of float32 or float64, shape (n, ...)
        Clean data, of about unit size.
    schedule : NoiseSchedule, optional
        One that preserves variance; default ``VPLinear()``.
    labels : array_like of int, shape (n,), optional
        Classes 0, 1, ... The network then takes a class as its third argument: pass ``cond`` and ``uncond`` (the
        number of classes, which stands for "any") to a :class:`Denoiser` with the same ``fn``.
    width : int
        Units of each of the three hidden layers.
    n_iter, batch_size : int
    learning_rate : float
        At its height; Adam, with a cosine to zero.
    random_state : None, int, SeedSequence or Generator
        The same seed gives the same weights on one machine and number of threads.
    verbose : bool
        Whether to show a progress bar.

    Returns
    -------
    Denoiser
        Without guidance; its ``fn`` is the network, with an average of the last weights.

    Raises
    ------
    InvalidParameter
        When the schedule does not preserve variance.
    InvalidData
        When data or labels cannot be used.

    Notes
    -----
    The loss is the mean square error of v at times uniform in the schedule's range. Each step costs three passes
    through the network on ``batch_size`` samples.
    """
    schedule = VPLinear() if schedule is None else schedule
    if not schedule.preserves_variance:
        raise InvalidParameter(f"schedule must preserve variance, got {schedule!r}")
    check_sample("data", data)
    classes, count = _classes(labels, data)
    check_integer("n_iter", n_iter, 1)
    check_integer("batch_size", batch_size, 1)
    check_real("learning_rate", learning_rate, 0.0, closed="neither")
    source = generator(root_seed(random_state), "train_denoiser", Purpose.SAMPLE, 0)
    scale = float(schedule.to_model_time(schedule.t_max))
    net = DenoiserMLP(data[0].numel(), check_integer("width", width, 1), count, scale, source).to(data)
    average = DenoiserMLP(**net.settings).to(data)  # type: ignore[arg-type]  # the settings of the first
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    with progress_bar(n_iter, "train_denoiser", verbose) as advance, torch.enable_grad():
        for k in range(n_iter):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1.0 + cos(pi * k / n_iter))
            optimizer.zero_grad(set_to_none=True)
            _loss(net, data, classes, schedule, batch_size, source).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            # A short memory at first, so that the first weights are soon forgotten.
            weight = 1.0 - min(0.999, (k + 1.0) / (k + _WARM_UP))
            with torch.no_grad():
                for kept, new in zip(average.parameters(), net.parameters(), strict=True):
                    kept.lerp_(new, weight)
            advance()
    return Denoiser(average.requires_grad_(False), schedule, "v")


def save_denoiser(denoiser: Denoiser, path: str | PathLike[str]) -> None:
    """Write the network of :func:`train_denoiser` as an npz file."""
    net = denoiser.fn
    if not isinstance(net, DenoiserMLP):
        raise InvalidParameter("denoiser must come from train_denoiser")
    arrays = {f"weight.{name}": tensor.detach().cpu().numpy() for name, tensor in net.state_dict().items()}
    settings = {f"setting.{name}": np.array(value) for name, value in net.settings.items()}
    np.savez(path, **arrays, **settings, schedule=np.array(repr(denoiser.schedule)))  # type: ignore[arg-type]


def load_denoiser(path: str | PathLike[str], schedule: NoiseSchedule | None = None) -> Denoiser:
    """Read what :func:`save_denoiser` wrote.

    Parameters
    ----------
    path : path
    schedule : NoiseSchedule, optional
        The one that the network was trained on; default ``VPLinear()``.

    Returns
    -------
    Denoiser

    Raises
    ------
    InvalidFileError
        If it is something else, or the network of another schedule.
    """
    schedule = VPLinear() if schedule is None else schedule
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        trained = str(found.pop("schedule"))
        settings = {name[8:]: found[name].item() for name in found if name.startswith("setting.")}
        weights = {name[7:]: torch.from_numpy(found[name]) for name in found if name.startswith("weight.")}
        net = DenoiserMLP(**settings).to(next(iter(weights.values())).dtype)
        net.load_state_dict(weights)
    except (KeyError, ValueError, TypeError, RuntimeError, StopIteration) as error:
        raise InvalidFileError(f"{path} must be a file that save_denoiser wrote: {error}") from error
    if trained != repr(schedule):
        raise InvalidFileError(f"{path} must hold a network of {schedule!r}, got one of {trained}")
    return Denoiser(net.requires_grad_(False), schedule, "v")


def digits_data(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's 1797 handwritten digits: images (1797, 1, 8, 8) in [-1, 1], and labels (1797,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images / 8.0 - 1.0, dtype=dtype)
    return images[:, None], torch.tensor(bunch.target)


def _loss(
    net: DenoiserMLP,
    data: torch.Tensor,
    classes: torch.Tensor | None,
    schedule: NoiseSchedule,
    batch_size: int,
    source: torch.Generator,
) -> torch.Tensor:
    """Mean square error of v on a batch."""
    rows = torch.randint(len(data), (batch_size,), generator=source)
    u = torch.rand(batch_size, generator=source, dtype=torch.float64)
    t = schedule.t_min + (schedule.t_max - schedule.t_min) * u.numpy()
    z = torch.randn((batch_size, *data.shape[1:]), generator=source, dtype=data.dtype).to(data)
    shape = (-1,) + (1,) * (data.ndim - 1)
    alpha, sigma, label = (
        torch.as_tensor(column, dtype=data.dtype, device=data.device)
        for column in (schedule.alpha(t), schedule.sigma(t), schedule.to_model_time(t))
    )
    alpha, sigma, x0 = alpha.reshape(shape), sigma.reshape(shape), data[rows]
    condition = None
    if classes is not None:
        hidden = torch.rand(batch_size, generator=source) < _HIDDEN
        condition = torch.where(hidden, int(net.settings["n_classes"]), classes[rows])
    return nn.functional.mse_loss(net(alpha * x0 + sigma * z, label, condition), alpha * z - sigma * x0)


def _classes(labels: Any, data: torch.Tensor) -> tuple[torch.Tensor | None, int]:
    """Codes (n,) and their number."""
    if labels is None:
        return None, 0
    codes = check_array("labels", labels, 1)
    if len(codes) != len(data) or codes.min() < 0 or (codes != np.round(codes)).any():
        raise InvalidData(f"labels must hold a class 0, 1, ... for each of the {len(data)} samples")
    return torch.as_tensor(codes, dtype=torch.int64), int(codes.max()) + 1
