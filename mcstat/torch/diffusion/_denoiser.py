"""Denoisers: whatever a network predicts, asked for as data, noise, score or velocity.

At x_t = alpha x0 + sigma eps the four are the same information. A network that predicts x0 or v is never sent through
eps, which is not defined where alpha vanishes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from mcstat.core.checks import check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.torch.diffusion._level import Level, level_of
from mcstat.torch.diffusion._schedules import FlowMatching, NoiseSchedule, VPLinear, check_schedule

__all__ = ["PREDICTIONS", "BaseDenoiser", "Denoiser", "GuidedDenoiser", "check_denoiser"]

PREDICTIONS = ("eps", "x0", "v", "score", "flow")


class BaseDenoiser(ABC):
    """What solvers ask: data and noise at a level.

    Attributes
    ----------
    schedule : NoiseSchedule
    nfe : int
        How often it was asked.
    n_calls : int
        How often a network was run; guidance runs it twice a question.
    """

    def __init__(self, schedule: NoiseSchedule | None) -> None:
        self.schedule = VPLinear() if schedule is None else schedule
        check_schedule(self.schedule)
        self.nfe = 0
        self.n_calls = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._described()}, {self.schedule!r}>"

    def _described(self) -> str:
        """What the repr says beside the schedule."""
        return "denoiser"

    def x0(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Predicted data E[x_0 | x_t = x], shape of ``x`` (n, ...); ``t`` is a number or a tensor (n,)."""
        return self.output(x, level_of(self.schedule, x, t), "x0")

    def eps(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Predicted noise (x - alpha x0) / sigma."""
        return self.output(x, level_of(self.schedule, x, t), "eps")

    def score(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Gradient of the log density of x_t."""
        level = level_of(self.schedule, x, t)
        return -self.output(x, level, "eps") / level.sigma

    def velocity(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """The velocity (alpha eps - sigma x0) / sqrt(alpha^2 + sigma^2), the root 1 where variance is preserved."""
        level = level_of(self.schedule, x, t)
        scale = (level.alpha**2 + level.sigma**2) ** 0.5
        # With eps = (x - alpha x0) / sigma this is (alpha x - (alpha^2 + sigma^2) x0) / sigma.
        return (level.alpha * x / scale - scale * self.output(x, level, "x0")) / level.sigma

    def output(self, x: torch.Tensor, level: Level, form: str) -> torch.Tensor:
        """The prediction as ``"x0"`` or ``"eps"`` at a level, counted; what solvers call."""
        self.nfe += 1
        return self._x0(x, level) if form == "x0" else self._eps(x, level)

    @abstractmethod
    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor: ...

    @abstractmethod
    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor: ...


class Denoiser(BaseDenoiser):
    """A network with a schedule, and optionally guidance.

    Parameters
    ----------
    fn : callable
        ``fn(x, t)``, or ``fn(x, t, c)`` where ``cond`` or ``uncond`` is given; ``x`` (n, ...), ``t`` (n,) the
        schedule's model time; returns the shape of ``x``.
    schedule : NoiseSchedule, optional
        Default ``VPLinear()``.
    prediction : {"eps", "x0", "v", "score", "flow"}
        What the network returns; flow is the velocity eps - x0 of :class:`FlowMatching`.
    guidance_scale : float
        w in u + w (c - u), with c and u the outputs under ``cond`` and ``uncond``. At w = 1 only c is computed, at
        w = 0 only u.
    cond, uncond : object, optional
        Handed to ``fn``. Two tensors of n rows go through the network in one batch of 2 n.
    classifier : callable, optional
        ``classifier(x, t)`` gives log p(y | x_t) (n,), differentiable; eps becomes
        eps - classifier_scale sigma grad log p.
    classifier_scale : float
    x0_transform : callable, optional
        Correction of the predicted data after guidance, as :class:`DynamicThreshold`; eps follows from it.
    normalise_v : bool
        Allows ``prediction="v"`` where variance is not preserved: v = (alpha eps - sigma x0) / sqrt(alpha^2 + sigma^2).

    Raises
    ------
    InvalidParameter
        For an unknown prediction, a velocity that the schedule does not define, or guidance without conditions.
    InvalidData
        On use, when the network's output has another shape than ``x``.

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import Denoiser, VPLinear
    >>> point_mass = Denoiser(lambda x, t: torch.ones_like(x), VPLinear(), prediction="x0")
    >>> point_mass.x0(torch.zeros(1, 2), 0.5).tolist()
    [[1.0, 1.0]]
    """

    def __init__(
        self,
        fn: Callable[..., torch.Tensor],
        schedule: NoiseSchedule | None = None,
        prediction: str = "eps",
        *,
        guidance_scale: float = 1.0,
        cond: Any = None,
        uncond: Any = None,
        classifier: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        classifier_scale: float = 1.0,
        x0_transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        normalise_v: bool = False,
    ) -> None:
        super().__init__(schedule)
        if not callable(fn):
            raise InvalidParameter(f"fn must be a network or another function of x and t, got {fn!r}")
        self.fn = fn
        self.prediction = check_option("prediction", prediction, PREDICTIONS)
        self.guidance_scale = check_real("guidance_scale", guidance_scale)
        self.cond, self.uncond = cond, uncond
        self.classifier, self.classifier_scale = classifier, check_real("classifier_scale", classifier_scale)
        self.x0_transform = x0_transform
        if prediction == "v" and not (self.schedule.preserves_variance or normalise_v):
            raise InvalidParameter(
                f"prediction='v' is defined where alpha^2 + sigma^2 = 1, which {type(self.schedule).__name__} does "
                "not keep; normalise_v=True divides by its root"
            )
        if prediction == "flow" and not isinstance(self.schedule, FlowMatching):
            raise InvalidParameter(f"prediction='flow' needs a FlowMatching schedule, got {self.schedule!r}")
        if self.guidance_scale != 1.0 and cond is None:
            raise InvalidParameter(f"guidance_scale must be 1 without cond, got {guidance_scale}")

    def _described(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        guided = "" if self.guidance_scale == 1.0 else f", guidance {self.guidance_scale:g}"
        return f"{name} predicting {self.prediction}{guided}"

    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        x0 = _to_x0(self.prediction, self._guided(x, level), x, level)
        if self.classifier is not None:
            x0 = x0 + (self.classifier_scale * level.sigma**2 / level.alpha) * self._classifier_gradient(x, level)
        return x0 if self.x0_transform is None else self.x0_transform(x0)

    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        if self.classifier is None and self.x0_transform is None:
            return _to_eps(self.prediction, self._guided(x, level), x, level)
        return (x - level.alpha * self._x0(x, level)) / level.sigma

    def _guided(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        """The network's output, mixed in its own parametrisation (the mix is the same in all of them)."""
        t = self._model_time(x, level)
        w = self.guidance_scale
        if self.cond is None and self.uncond is None:
            return self._run(x, t)
        if w in (0.0, 1.0):
            return self._run(x, t, self.cond if w == 1.0 else self.uncond)
        if _one_row_a_sample(self.cond, x) and _one_row_a_sample(self.uncond, x):
            both = self._run(torch.cat([x, x]), torch.cat([t, t]), torch.cat([self.uncond, self.cond]))
            self.n_calls += 1
            without, given = both.chunk(2)
        else:
            without, given = self._run(x, t, self.uncond), self._run(x, t, self.cond)
        return without + w * (given - without)

    def _model_time(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        if isinstance(level.t, torch.Tensor):
            label = self.schedule.to_model_time(level.t.detach().cpu().double().numpy())
            return torch.as_tensor(label, dtype=x.dtype, device=x.device)
        return torch.full((len(x),), float(self.schedule.to_model_time(level.t)), dtype=x.dtype, device=x.device)

    def _run(self, *arguments: Any) -> torch.Tensor:
        self.n_calls += 1
        out = self.fn(*arguments)
        if not isinstance(out, torch.Tensor) or out.shape != arguments[0].shape:
            got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            wanted = tuple(arguments[0].shape)
            raise InvalidData(f"the denoiser's output must be a tensor of the shape of x, {wanted}, got {got}")
        return out

    def _classifier_gradient(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        assert self.classifier is not None  # noqa: S101  # for the type checker: _x0 asks only then
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            log_p = self.classifier(at, self._model_time(x, level)).sum()
            (gradient,) = torch.autograd.grad(log_p, at, create_graph=x.requires_grad)
        return gradient


class GuidedDenoiser(BaseDenoiser):
    """Two denoisers of one schedule mixed as unconditional + w (conditional - unconditional).

    Parameters
    ----------
    conditional, unconditional : BaseDenoiser
    guidance_scale : float
        w; at 1 only the first is asked, at 0 only the second.
    """

    def __init__(self, conditional: BaseDenoiser, unconditional: BaseDenoiser, guidance_scale: float) -> None:
        super().__init__(conditional.schedule)
        self.conditional, self.unconditional = conditional, unconditional
        self.guidance_scale = check_real("guidance_scale", guidance_scale)
        if unconditional.schedule != self.schedule:
            raise InvalidParameter(
                f"unconditional must have the schedule of conditional, {self.schedule!r}, "
                f"got {unconditional.schedule!r}"
            )

    def _described(self) -> str:
        return f"{self.conditional!r} over {self.unconditional!r}, guidance {self.guidance_scale:g}"

    @property
    def data_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample, where the conditional denoiser knows it."""
        return getattr(self.conditional, "data_shape", None)

    def _x0(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        return self._mix(x, level, "x0")

    def _eps(self, x: torch.Tensor, level: Level) -> torch.Tensor:
        return self._mix(x, level, "eps")

    def _mix(self, x: torch.Tensor, level: Level, form: str) -> torch.Tensor:
        w = self.guidance_scale
        asked = [(self.unconditional, w != 1.0), (self.conditional, w != 0.0)]
        outputs = [denoiser.output(x, level, form) for denoiser, needed in asked if needed]
        self.n_calls += len(outputs)
        return outputs[0] if len(outputs) == 1 else outputs[0] + w * (outputs[1] - outputs[0])


def check_denoiser(denoiser: Any) -> None:
    """A denoiser, and not the network in it."""
    if not isinstance(denoiser, BaseDenoiser):
        raise InvalidParameter(f"denoiser must be a Denoiser, got {type(denoiser).__name__}")


def _one_row_a_sample(condition: Any, x: torch.Tensor) -> bool:
    return isinstance(condition, torch.Tensor) and condition.ndim > 0 and len(condition) == len(x)


def _to_x0(prediction: str, raw: torch.Tensor, x: torch.Tensor, level: Level) -> torch.Tensor:
    alpha, sigma = level.alpha, level.sigma
    if prediction == "x0":
        return raw
    if prediction == "eps":
        if isinstance(sigma, torch.Tensor):
            return (x - sigma * raw) / alpha
        # One operation less than the formula, in the loop of most samplers.
        return torch.sub(x, raw, alpha=sigma).div_(alpha)
    if prediction == "v":
        square = alpha**2 + sigma**2
        return (alpha / square) * x - (sigma / square**0.5) * raw
    if prediction == "score":
        return (x + sigma**2 * raw) / alpha
    return x - sigma * raw


def _to_eps(prediction: str, raw: torch.Tensor, x: torch.Tensor, level: Level) -> torch.Tensor:
    alpha, sigma = level.alpha, level.sigma
    if prediction == "x0":
        return (x - alpha * raw) / sigma
    if prediction == "eps":
        return raw
    if prediction == "v":
        square = alpha**2 + sigma**2
        return (sigma / square) * x + (alpha / square**0.5) * raw
    if prediction == "score":
        return -sigma * raw
    return x + alpha * raw
