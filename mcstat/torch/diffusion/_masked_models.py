"""Models of masked sequences: what they return is checked; one in closed form; their bound on the likelihood."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import comb
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from mcstat.core.checks import check_integer
from mcstat.core.errors import InvalidData, InvalidParameter
from mcstat.core.estimate import Estimate
from mcstat.core.rng import Purpose, RandomState, entropy_of, root_seed, stream
from mcstat.torch._bridge import to_estimate

__all__ = [
    "MaskedModel",
    "TabularMaskedModel",
    "check_rows",
    "checked_probabilities",
    "masked_nelbo",
    "sentence_entropy",
]

MaskedModel: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
_SUM = {torch.float64: 1e-6, torch.float32: 1e-4}


class TabularMaskedModel:
    """The exact masked model of a joint law of L tokens: every conditional by enumeration.

    Parameters
    ----------
    joint : array_like, shape (V, ..., V)
        Probabilities of all V^L sequences, L axes. The mask is token V.

    Notes
    -----
    A call with n sequences costs O(n L V^L).

    Examples
    --------
    >>> import torch
    >>> from mcstat.torch.diffusion import TabularMaskedModel
    >>> equal = TabularMaskedModel([[0.5, 0.0], [0.0, 0.5]])
    >>> equal(torch.tensor([[1, 2]]))[0, 1].tolist()
    [0.0, 1.0]
    """

    def __init__(self, joint: ArrayLike) -> None:
        array = np.asarray(joint, dtype=np.float64)
        if array.ndim < 1 or len(set(array.shape)) != 1 or array.min() < 0.0 or abs(array.sum() - 1.0) > 1e-6:
            raise InvalidData(f"joint must have equal sides and probabilities of sum 1, got shape {array.shape}")
        self.joint = array
        self.length, self.vocab_size = array.ndim, array.shape[0]
        self._probabilities = torch.tensor(array.ravel())
        self._sequences = torch.tensor(list(product(range(self.vocab_size), repeat=self.length)))

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, L, V) of each token given those that are not masked; tokens (n, L)."""
        free = tokens[:, None, :] == self.vocab_size
        fits = (free | (tokens[:, None, :] == self._sequences)).all(-1)
        weights: torch.Tensor = fits * self._probabilities
        weights = weights / weights.sum(1, keepdim=True)
        classes = torch.nn.functional.one_hot(self._sequences, self.vocab_size).to(weights.dtype)
        conditionals: torch.Tensor = torch.tensordot(weights, classes, dims=1)
        return conditionals


def checked_probabilities(model: MaskedModel, tokens: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """The model's probabilities (n, L, V), of the right shape; their values are looked at where they are used."""
    answer = model(tokens)
    wanted = (*tokens.shape, vocab_size)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != wanted or answer.dtype not in _SUM:
        got = f"{answer.dtype} {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise InvalidData(f"model must return probabilities of float32 or float64 and shape {wanted}, got {got}")
    return answer


def check_rows(probabilities: torch.Tensor) -> torch.Tensor:
    """Rows (..., V) that are to be drawn from."""
    off = (probabilities.sum(-1) - 1.0).abs()
    # NaN fails both comparisons.
    if not bool((probabilities >= 0.0).all() & (off <= _SUM[probabilities.dtype]).all()):
        raise InvalidData("model must return probabilities that are finite, not negative and sum to 1")
    return probabilities


def sentence_entropy(tokens: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Entropy (n,) of the frequencies of tokens in each sequence (n, L), in nats: the diversity of what was written."""
    counts = torch.zeros((len(tokens), vocab_size), dtype=torch.float64, device=tokens.device)
    counts.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=torch.float64))
    terms: torch.Tensor = torch.special.entr(counts / tokens.shape[1])
    return terms.sum(1)


def masked_nelbo(
    model: MaskedModel,
    tokens: torch.Tensor,
    vocab_size: int,
    n_draws: int | None = 16,
    *,
    mask_id: int | None = None,
    random_state: RandomState = None,
) -> Estimate:
    """Mean of the model's bound on minus the log likelihood of sequences, in nats.

    Parameters
    ----------
    model : callable
        Tokens (n, L) to probabilities (n, L, V).
    tokens : tensor of int64, shape (n, L)
        n >= 2 independent sequences.
    vocab_size : int
        V.
    n_draws : int or None
        Masks drawn a sequence, with as many masked tokens as strata of 1, ..., L say; None goes through all 2^L - 1.
    mask_id : int, optional
        Default V.
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    Estimate
        The standard error is over sequences, masks included.

    Notes
    -----
    The bound is sum over m = 1..L of 1 / m times the mean, over masks of m tokens, of the sum of minus the log
    probabilities of the masked tokens: no noise schedule is in it. n n_draws sequences go through the network.
    """
    size = check_integer("vocab_size", vocab_size, 1)
    mask = size if mask_id is None else check_integer("mask_id", mask_id)
    if mask < size:
        raise InvalidParameter(f"mask_id must not be one of the {size} tokens, got {mask}")
    if not isinstance(tokens, torch.Tensor) or tokens.dtype != torch.int64 or tokens.ndim != 2 or tokens.shape[1] == 0:
        got = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise InvalidData(f"tokens must be an int64 tensor of shape (n, L), got {got}")
    if bool(((tokens < 0) | (tokens >= size)).any()):
        raise InvalidData(f"tokens must be below {size}, without masks")
    length = tokens.shape[1]
    root = root_seed(random_state)
    if n_draws is None:
        rows = torch.tensor(list(product((False, True), repeat=length)))[1:]
        masks = [(rows[k].expand(tokens.shape), 1.0 / comb(length, int(rows[k].sum()))) for k in range(len(rows))]
    else:
        rng = stream(root, "masked_nelbo", Purpose.SAMPLE, 0)
        count = check_integer("n_draws", n_draws, 1)
        masks = [(_drawn_mask(rng, tokens, k, count), length / count) for k in range(count)]
    total = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    with torch.no_grad():
        for masked, share in masks:
            masked = masked.to(tokens.device)
            p = checked_probabilities(model, torch.where(masked, mask, tokens), vocab_size)
            of_token = p.gather(2, tokens[:, :, None])[:, :, 0].double()
            loss = torch.where(masked, -torch.log(of_token), 0.0).sum(1)
            total += share * loss / masked.sum(1)
    return to_estimate(
        total,
        names=["nelbo"],
        method="masked_nelbo",
        estimand="bound on minus the mean log likelihood, nats a sequence",
        info={"entropy": entropy_of(root), "n_evaluations": len(masks) * len(tokens)},
    )


def _drawn_mask(rng: np.random.Generator, tokens: torch.Tensor, k: int, count: int) -> torch.Tensor:
    """Masks (n, L); the k-th of ``count`` strata says how many tokens are masked."""
    n, length = tokens.shape
    sizes = 1 + np.floor((k + rng.random(n)) / count * length)
    ranks = rng.random((n, length)).argsort(axis=1).argsort(axis=1)
    return torch.from_numpy(ranks < sizes[:, None])
