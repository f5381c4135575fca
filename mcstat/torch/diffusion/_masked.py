"""Samplers of masked diffusion models: one token at a time by first hitting, and by many small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import pi, sin
from time import perf_counter
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mcstat._version import __version__
from mcstat.core.base import Estimator
from mcstat.core.checks import check_integer, check_option, check_real
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.parallel import single_threaded
from mcstat.core.progress import progress_bar
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed
from mcstat.torch._bridge import generator, to_estimate
from mcstat.torch.diffusion._categorical import CATEGORICALS, PRECISIONS, draw_categorical, reshaped
from mcstat.torch.diffusion._masked_models import MaskedModel, check_rows, checked_probabilities, sentence_entropy

__all__ = ["AncestralSampler", "FirstHittingSampler"]


class _MaskedSampler(Estimator):
    """What both samplers share; batches of sequences are the units of work."""

    def fit(self) -> Self:
        """Write the sequences.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameter, InvalidData
            Naming the argument, what it wants and what it got; also when the model returns no probabilities.
        """
        self._forget()
        start = self._checked_start()
        self._root, self._evaluations, self._calls = root_seed(self.random_state), 0, 0
        size = check_integer("batch_size", self.batch_size, 1)
        batches = [start[k : k + size] for k in range(0, len(start), size)]
        started = perf_counter()
        with (
            torch.no_grad(),
            single_threaded(),
            progress_bar(len(batches), "batches", self.verbose) as advance,
        ):
            done = []
            for k, batch in enumerate(batches):
                source = generator(self._root, type(self).__name__, Purpose.SAMPLE, k, self.device)
                done.append(self._write(batch, source))
                advance()
        self._seconds = perf_counter() - started
        self._keep(done)
        self.n_calls_, self.n_evaluations_ = self._calls, self._evaluations
        return self

    def estimate(
        self, fn: Callable[[torch.Tensor], torch.Tensor] | None = None, names: Iterable[str] | None = None
    ) -> Estimate:
        """Mean of a function of the sequences.

        Parameters
        ----------
        fn : callable, optional
            Takes tokens (n, L) of int64, returns (n,) or (n, q). Default: the entropy of the frequencies of tokens in
            a sequence, in nats: the diversity to report beside any likelihood.
        names : iterable of str, optional
            q names.

        Returns
        -------
        Estimate
        """
        self._check_fitted()
        values = sentence_entropy(self.samples_, self.vocab_size) if fn is None else fn(self.samples_)
        if fn is None and names is None:
            names = ("sentence_entropy",)
        return to_estimate(
            values.double(),
            names=names,
            estimand="mean entropy of a sequence, nats" if fn is None else "mean over sequences",
            method=type(self).__name__,
            info={
                "parameters": self._settings(),
                "entropy": entropy_of(self._root),
                "n_calls": self.n_calls_,
                "n_evaluations": self.n_evaluations_,
                "seconds": self._seconds,
                "version": __version__,
            },
        )

    def _write(self, tokens: torch.Tensor, source: torch.Generator) -> Any:
        raise NotImplementedError

    def _keep(self, done: list[Any]) -> None:
        raise NotImplementedError

    def _checked_start(self) -> torch.Tensor:
        """Tokens (n_samples, L) on the device, masked where they are to be written."""
        length, size = check_integer("length", self.length, 1), check_integer("vocab_size", self.vocab_size, 1)
        n = check_integer("n_samples", self.n_samples, 2)
        if not callable(self.model):
            raise InvalidParameter(f"model must be callable, got {type(self.model).__name__}")
        check_real("temperature", self.temperature, 0.0, closed="neither")
        check_real("top_p", self.top_p, 0.0, 1.0, closed="right")
        self._mask = size if self.mask_id is None else check_integer("mask_id", self.mask_id)
        if self._mask < size:
            raise InvalidParameter(f"mask_id must not be one of the {size} tokens, got {self._mask}")
        if self.prompt is None:
            return torch.full((n, length), self._mask, device=self.device)
        prompt = np.asarray(self.prompt)
        if prompt.dtype.kind not in "iu" or prompt.shape not in ((length,), (n, length)):
            raise InvalidData(
                f"prompt must hold integers of shape ({length},) or ({n}, {length}), "
                f"got {prompt.dtype} of shape {prompt.shape}"
            )
        if (((prompt < 0) | (prompt >= size)) & (prompt != self._mask)).any():
            raise InvalidData(f"prompt must hold tokens below {size}, and the mask {self._mask} where it is free")
        tokens = np.broadcast_to(prompt, (n, length)).astype(np.int64)
        return torch.from_numpy(tokens).to(self.device)

    def _ask(self, tokens: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, L, V) of a network call, which is counted."""
        self._calls += 1
        self._evaluations += len(tokens)
        return checked_probabilities(self.model, tokens, self.vocab_size)

    def _shaped(self, rows: torch.Tensor) -> torch.Tensor:
        return reshaped(check_rows(rows), self.temperature, self.top_p)


class FirstHittingSampler(_MaskedSampler):
    """Sequences of a masked diffusion model, exactly, with one network call a token.

    Masked tokens are revealed at random times that do not depend on the tokens. The sampler goes from one such time to
    the next [1]_: the next token is a masked position chosen at random, written from the model's probabilities there.
    That is the law of the ancestral sampler in infinitely many steps.

    Parameters
    ----------
    model : callable
        Tokens (n, L) of int64 to probabilities (n, L, V) of float32 or float64; those at masked positions are read.
    length : int
        L.
    vocab_size : int
        V; tokens are 0, ..., V - 1.
    mask_id : int, optional
        Default V.
    n_samples : int
        At least 2.
    tokens_per_step : int
        Tokens that one network call writes, independently: exact at 1, faster and biased above.
    prompt : array_like of int, shape (L,) or (n_samples, L), optional
        Tokens that are given, and ``mask_id`` where they are not.
    temperature : float
        Probabilities are raised to 1 / temperature.
    top_p : float
        Only the likeliest tokens, which together hold this much, are drawn.
    batch_size : int
        Sequences that go through the network together. Each batch has its own stream.
    device : str
    random_state : None, int, SeedSequence or Generator
    verbose : bool
        Progress bar for long fits.

    Attributes
    ----------
    samples_ : tensor of int64, shape (n_samples, L)
    hit_times_ : ndarray, shape (n_samples, L)
        Share of tokens that the noise still masks when each token is revealed, 1 - alpha: the time of the linear
        schedule. NaN where the token was given.
    n_calls_ : int
        Network calls.
    n_evaluations_ : int
        Sequences in all of them.

    Notes
    -----
    ceil(L / tokens_per_step) calls a batch. The order in which positions are written is a uniform permutation, and
    with n masked tokens the next time is the last one times U^(1/n). Draws are by the inverse distribution function in
    float64.

    References
    ----------
    .. [1] Zheng, K. and others (2025). Masked diffusion models are secretly time-agnostic masked models and exploit
       inaccurate categorical sampling. ICLR. arXiv:2409.02908.

    Examples
    --------
    >>> from mcstat.torch.diffusion import FirstHittingSampler, TabularMaskedModel
    >>> equal = TabularMaskedModel([[0.5, 0.0], [0.0, 0.5]])
    >>> tokens = FirstHittingSampler(equal, 2, 2, n_samples=100, random_state=0).fit().samples_
    >>> bool((tokens[:, 0] == tokens[:, 1]).all())
    True
    """

    def __init__(
        self,
        model: MaskedModel,
        length: int,
        vocab_size: int,
        *,
        mask_id: int | None = None,
        n_samples: int = 1000,
        tokens_per_step: int = 1,
        prompt: Any = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        batch_size: int = 256,
        device: str = "cpu",
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.length = length
        self.vocab_size = vocab_size
        self.mask_id = mask_id
        self.n_samples = n_samples
        self.tokens_per_step = tokens_per_step
        self.prompt = prompt
        self.temperature = temperature
        self.top_p = top_p
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _checked_start(self) -> torch.Tensor:
        check_integer("tokens_per_step", self.tokens_per_step, 1)
        return super()._checked_start()

    def _write(self, tokens: torch.Tensor, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and the times of their reveal."""
        tokens, masked = tokens.clone(), tokens == self._mask
        left = masked.sum(1)
        keys = torch.rand(tokens.shape, generator=source, dtype=torch.float64, device=tokens.device)
        # Positions in the order in which they are written, given ones at the end.
        order = torch.where(masked, keys, 2.0).argsort(dim=1)
        for first in range(0, int(left.max()), self.tokens_per_step):
            rows = torch.nonzero(left > first)[:, 0]
            places = order[rows, first : first + self.tokens_per_step]
            p = self._ask(tokens[rows])
            p = p.gather(1, places[:, :, None].expand(-1, -1, p.shape[2]))
            drawn = draw_categorical(self._shaped(p), source)
            missing = torch.arange(first, first + places.shape[1], device=tokens.device) < left[rows, None]
            tokens[rows[:, None], places] = torch.where(missing, drawn, tokens[rows[:, None], places])
        return tokens, _hit_times(order, left, source)

    def _keep(self, done: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.samples_ = torch.cat([tokens for tokens, _ in done])
        self.hit_times_: NDArray[np.float64] = torch.cat([times for _, times in done]).cpu().numpy()


class AncestralSampler(_MaskedSampler):
    """Sequences of a masked diffusion model by N small steps: what :class:`FirstHittingSampler` is measured against.

    In a step from time t to s = t - 1/N each masked token stays so with probability s / t, the ratio of the masked
    shares, and is otherwise written by the model's probabilities before the step. Tokens that are written in one step
    do not see one another: the law is biased by O(1/N).

    Parameters
    ----------
    model, length, vocab_size, mask_id, n_samples, prompt, temperature, top_p, batch_size, device, random_state, verbose
        As for :class:`FirstHittingSampler`.
    n_steps : int
        N.
    schedule : {"linear", "cosine"}
        Share of tokens that are masked at time t: t, or cos(pi (1 - t) / 2), which writes fewer in the first steps.
    cached : bool
        Ask the network only for sequences that changed since it was last asked, and only when its answer is needed.
    draw : {"two_stage", "inverse", "gumbel"}
        "two_stage" draws which tokens are written and then the tokens. The others draw each masked position among the
        V tokens and the mask, as published samplers do: "gumbel" in float32 loses rare tokens [1]_.
    precision : {"float64", "float32"}
        Of the draws.

    Attributes
    ----------
    samples_ : tensor of int64, shape (n_samples, L)
    n_calls_ : int
        Network calls.
    n_evaluations_ : int
        Sequences in all of them.

    Notes
    -----
    N calls a batch, with ``cached`` at most the number of steps in which something is written. Beside them
    "two_stage" costs O(L) a step and sequence, the others O(L V).

    In float32 the probability p / N of a transition is lost where it is below 2^-24 times that of the likeliest class,
    and rare tokens disappear as N grows: sequences become less diverse, which flatters their likelihood.

    References
    ----------
    .. [1] Zheng, K. and others (2025). Masked diffusion models are secretly time-agnostic masked models and exploit
       inaccurate categorical sampling. ICLR. arXiv:2409.02908.

    Examples
    --------
    >>> from mcstat.torch.diffusion import AncestralSampler, TabularMaskedModel
    >>> equal = TabularMaskedModel([[0.5, 0.0], [0.0, 0.5]])
    >>> tokens = AncestralSampler(equal, 2, 2, n_samples=1000, n_steps=10, random_state=0).fit().samples_
    >>> bool((tokens[:, 0] == tokens[:, 1]).all())  # both may be written in one step
    False
    """

    def __init__(
        self,
        model: MaskedModel,
        length: int,
        vocab_size: int,
        *,
        mask_id: int | None = None,
        n_samples: int = 1000,
        n_steps: int = 1000,
        schedule: str = "linear",
        cached: bool = True,
        draw: str = "two_stage",
        precision: str = "float64",
        prompt: Any = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        batch_size: int = 256,
        device: str = "cpu",
        random_state: RandomState = None,
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.length = length
        self.vocab_size = vocab_size
        self.mask_id = mask_id
        self.n_samples = n_samples
        self.n_steps = n_steps
        self.schedule = schedule
        self.cached = cached
        self.draw = draw
        self.precision = precision
        self.prompt = prompt
        self.temperature = temperature
        self.top_p = top_p
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _checked_start(self) -> torch.Tensor:
        check_integer("n_steps", self.n_steps, 1)
        check_option("schedule", self.schedule, ("linear", "cosine"))
        check_option("draw", self.draw, ("two_stage", *CATEGORICALS))
        check_option("precision", self.precision, PRECISIONS)
        if not isinstance(self.cached, bool):
            raise InvalidParameter(f"cached must be True or False, got {self.cached!r}")
        return super()._checked_start()

    def _write(self, tokens: torch.Tensor, source: torch.Generator) -> torch.Tensor:
        tokens, known = tokens.clone(), None
        stale = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        for step in range(self.n_steps, 0, -1):
            masked = tokens == self._mask
            written, odds = masked, self._odds(step)
            if self.draw == "two_stage":
                u = torch.rand(tokens.shape, generator=source, dtype=torch.float64, device=tokens.device)
                written = masked & (u * odds < 1.0)
            needed = written.any(1) & stale if self.cached else torch.ones_like(stale)
            if bool(needed.any()):
                answer = self._ask(tokens[needed])
                known = answer.new_empty((*tokens.shape, self.vocab_size)) if known is None else known
                known[needed] = answer
                stale[needed] = False
            rows, places = torch.nonzero(written, as_tuple=True)
            if known is not None and len(rows) > 0:
                p = self._shaped(known[rows, places])
                drawn = self._drawn(p, odds, source)
                tokens[rows, places] = drawn
                stale[rows[drawn != self._mask]] = True
        return tokens

    def _odds(self, step: int) -> float:
        """One over the probability that a masked token is written in a step; steps are counted down to 1."""
        if self.schedule == "linear":
            return float(step)
        # The masked share cos(pi (1 - t) / 2) is a sine.
        before, after = (sin(0.5 * pi * k / self.n_steps) for k in (step, step - 1))
        return before / (before - after)

    def _drawn(self, p: torch.Tensor, odds: float, source: torch.Generator) -> torch.Tensor:
        """Tokens (m,) from rows (m, V), some of them the mask unless the draw is of two stages."""
        if self.draw == "two_stage":
            return draw_categorical(p, source, "inverse", self.precision)
        p = p.double()
        stay = torch.full((len(p), 1), 1.0 - 1.0 / odds, dtype=torch.float64, device=p.device)
        drawn = draw_categorical(torch.cat([p / odds, stay], dim=1), source, self.draw, self.precision)
        return torch.where(drawn == self.vocab_size, self._mask, drawn)

    def _keep(self, done: list[torch.Tensor]) -> None:
        self.samples_ = torch.cat(done)


def _hit_times(order: torch.Tensor, left: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    """Times (n, L): with m masked tokens the next is U^(1/m) times the last; NaN for given tokens."""
    u = torch.rand(order.shape, generator=source, dtype=torch.float64, device=order.device)
    rank = torch.arange(order.shape[1], device=order.device)
    remaining = left[:, None] - rank
    # 1 - u is in (0, 1].
    logs = torch.where(remaining > 0, torch.log1p(-u) / remaining.clamp(min=1), torch.nan)
    return torch.empty_like(u).scatter(1, order, torch.exp(logs.cumsum(1)))
