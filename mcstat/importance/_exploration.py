"""Exploration: rounds of points that choose the sampling mixture and the control coefficients.

Nothing here enters the answer: the final sample is independent of all that is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcstat.core.errors import DegenerateWeightsError, InvalidData
from mcstat.importance._components import Component, ComponentFitter
from mcstat.importance._controls import chosen_least_squares, least_squares, own_coefficients, residuals
from mcstat.importance._known import fitted_slopes
from mcstat.importance._proposal import Block, Proposal
from mcstat.importance._shares import optimal_shares
from mcstat.importance._student import StudentComponent

FloatArray = NDArray[np.float64]

# The wide part has 1 + this / sqrt(d) times the variance: about the same number of sd of the squared radius in any d.
_WIDER = 3.0


@dataclass(frozen=True)
class Integrands:
    """From stored points to the columns that are averaged: ``T = (y - centre) * law / h / unit``.

    ``y`` are the user's values less ``shift``, over ``scale``, with ``split`` as positive and negative parts. For laws
    ``centre`` is 0 and ``log_unit`` 0; for an unnormalised target they are pilot values of the expectations and of
    the log normaliser, which makes T the linearised ratio. The user's control variates, of mean zero, are taken off
    with fixed ``slopes`` (M, J), which leaves the expectations alone.
    """

    shift: FloatArray
    scale: FloatArray
    split: bool
    centre: FloatArray
    log_unit: float
    slopes: FloatArray | None = None

    def columns(self, block: Block) -> FloatArray:
        """(n, J) or (n, 2 J) columns of order one."""
        y = _residuals(block, self.shift, self.slopes) / self.scale
        return np.hstack([np.maximum(y, 0.0), np.maximum(-y, 0.0)]) if self.split else y

    def weights(self, block: Block, log_h: FloatArray) -> FloatArray:
        """(n, number of laws or 1)."""
        return np.exp(block.log_laws - self.log_unit - log_h[:, None])

    def __call__(self, block: Block, log_h: FloatArray) -> FloatArray:
        """(n, J) summands whose mean is the expectation of each column less ``centre``."""
        weights = self.weights(block, log_h)
        if self.split and weights.shape[1] > 1:
            weights = np.hstack([weights, weights])
        return (self.columns(block) - self.centre) * weights

    def restored(self, rows: FloatArray) -> FloatArray:
        """Split and scale undone on (..., J or 2 J): linear, so it serves rows and means alike."""
        if self.split:
            positive, negative = np.split(rows, 2, axis=-1)
            rows = positive - negative
        return np.asarray(rows * self.scale)


@dataclass(frozen=True)
class Round:
    """One batch: its proposal, its points with log h and the ratios C = part / h, and its control coefficients."""

    proposal: Proposal
    block: Block
    log_h: FloatArray
    ratios: FloatArray
    coefficients: FloatArray


def _residuals(block: Block, shift: FloatArray, slopes: FloatArray | None) -> FloatArray:
    """(n, J) values less the shift, and less the user's control variates."""
    values = block.values - shift
    return values if slopes is None or block.controls is None else values - block.controls @ slopes


def own_ratios(ratios: FloatArray, n_columns: int) -> FloatArray:
    """(n, J) the ratio that belongs to each column; ones before there are components."""
    return ratios[:, 1 : n_columns + 1] if ratios.shape[1] > 1 else np.ones((len(ratios), n_columns))


def controlled(T: FloatArray, ratios: FloatArray, coefficients: FloatArray) -> FloatArray:
    """(n, J) residuals for own (1-d) or all (2-d) coefficients."""
    return residuals(T, own_ratios(ratios, T.shape[1]) if coefficients.ndim == 1 else ratios, coefficients)


class Exploration:
    """All points so far, and what they say about the next proposal (steps 2 to 5 of the algorithm)."""

    def __init__(
        self,
        integrands: Integrands,
        fitter: ComponentFitter,
        *,
        unnormalised: bool,
        control: str,
        weights: str | FloatArray,
        floors: tuple[float, float],
        df: float | None = None,
    ) -> None:
        self.integrands, self.fitter, self.unnormalised = integrands, fitter, unnormalised
        self.control, self.user_weights, self.floors, self.df = control, weights, floors, df
        self.rounds: list[Round] = []
        self.log_densities: list[FloatArray] = []

    # The pool -------------------------------------------------------------------------------------------------

    @property
    def pool(self) -> Block:
        """All points drawn so far."""
        return Block.joined([one.block for one in self.rounds])

    @property
    def n_points(self) -> int:
        """How many points were paid for."""
        return sum(one.block.drawn for one in self.rounds)

    def pooled_log_h(self) -> FloatArray:
        """(n,) log density of the deterministic mixture: every proposal in proportion to its points."""
        counts = np.array([len(one.block.x) for one in self.rounds])
        stacked = np.stack(self.log_densities) + np.log(counts)[:, None]
        return np.asarray(np.logaddexp.reduce(stacked, axis=0) - np.log(counts.sum()))

    def add(self, proposal: Proposal, block: Block) -> None:
        """Take in a batch: cross densities with the older proposals, refreshed unit and weights, coefficients."""
        parts = proposal.log_parts(block.x, block.log_base)
        log_h = proposal.log_density(parts)
        self.log_densities = [
            np.concatenate([old, one.proposal.log_density(one.proposal.log_parts(block.x, block.log_base))])
            for old, one in zip(self.log_densities, self.rounds, strict=True)
        ]
        if self.rounds:
            pool = self.pool
            at_old = proposal.log_density(proposal.log_parts(pool.x, pool.log_base))
            self.log_densities.append(np.concatenate([at_old, log_h]))
        else:
            self.log_densities.append(log_h)
        ratios = np.exp(parts - log_h[:, None])
        self.rounds.append(Round(proposal, block, log_h, ratios, np.zeros(0)))
        self._refresh()
        T = self.integrands(block, log_h)
        self.rounds[-1] = replace(self.rounds[-1], coefficients=self._coefficients(T, ratios))
        self.variances = self._variances()

    def _refresh(self) -> None:
        """Pilot values from all points: unit and centre (unnormalised), expectations and criterion weights."""
        pool, log_h = self.pool, self.pooled_log_h()
        if self.unnormalised:
            log_ratio = pool.log_laws[:, 0] - log_h
            top = log_ratio.max()
            if np.isneginf(top):
                raise DegenerateWeightsError("target is -inf at every point drawn; give another initial law or start")
            weights = np.exp(log_ratio - top)
            centre = weights @ self.integrands.columns(pool) / weights.sum()
            self.integrands = replace(
                self.integrands, centre=centre, log_unit=float(top + np.log(weights.sum() / len(weights)))
            )
        T = self.integrands(pool, log_h)
        self.hit = np.any(T != 0.0, axis=0)
        self.means = T.mean(axis=0)
        expectation = self.integrands.centre if self.unnormalised else self.means
        if isinstance(self.user_weights, str):
            if self.user_weights == "relative":
                raw = 1.0 / np.maximum(np.maximum(expectation**2, np.var(T, axis=0) / len(T)), np.finfo(float).tiny)
            else:
                raw = self._tiled(self.integrands.scale**2)
            raw = np.where(self.hit, raw, 0.0)
        else:
            raw = self._tiled(self.user_weights * self.integrands.scale**2)
        self.weights = raw / raw.max() if raw.max() > 0 else np.ones_like(raw)

    def _tiled(self, per_function: FloatArray) -> FloatArray:
        return np.tile(per_function, 2) if self.integrands.split else per_function

    def _coefficients(self, T: FloatArray, ratios: FloatArray) -> FloatArray:
        if self.control == "none" or ratios.shape[1] == 1:
            return np.zeros(T.shape[1])
        if self.control == "own":
            return own_coefficients(T, own_ratios(ratios, T.shape[1]))
        return chosen_least_squares(T, ratios) if self.control == "all" else least_squares(T, ratios)

    # The next proposal ----------------------------------------------------------------------------------------

    def next_proposal(self) -> Proposal:
        """Steps 2 and 3: fit the parts by cross-entropy to all points, then the shares."""
        pool, log_h = self.pool, self.pooled_log_h()
        first, last = self.rounds[0].proposal, self.rounds[-1].proposal
        z = (pool.x - first.centre) / first.scale
        T = self.integrands(pool, log_h)
        nominal = np.exp(pool.log_base - log_h)
        own = [
            self._component(z, np.abs(T[:, j]), last.components[j] if last.components else None, nominal)
            for j in range(T.shape[1])
        ]
        components = (*own, self._wide_component(z, np.sqrt(T**2 @ self.weights), nominal))
        proposal = replace(first, components=components, shares=np.zeros(len(components) + 1))
        ratios = np.exp(proposal.log_parts(pool.x, pool.log_base) - log_h[:, None])
        return replace(proposal, shares=self._shares(T, ratios))

    def _component(
        self, z: FloatArray, importance: FloatArray, previous: Component | None, nominal: FloatArray
    ) -> Component:
        """Part of one column; a column that was never hit keeps its last part, or the initial law's shape."""
        if not importance.any():
            return previous if previous is not None else self.fitter.fit(z, nominal, np.eye(z.shape[1]))
        shrink_to = np.eye(z.shape[1]) if previous is None else previous.covariance()
        return self.fitter.fit(z, importance, shrink_to)

    def _wide_component(self, z: FloatArray, importance: FloatArray, nominal: FloatArray) -> Component:
        """A Gaussian, or t, around all that matters and wider: the parts' tails are lighter than those of phi f.

        Without it the far points come from the initial law alone, with weights of 1 / defensive: seldom and enormous,
        so that most samples miss them and report too small an error.
        """
        d = z.shape[1]
        common = replace(self.fitter, n_gaussians=1).fit(z, importance if importance.any() else nominal, np.eye(d))
        factors = common.factors * np.sqrt(1 + _WIDER / np.sqrt(d))
        if self.df is None:
            return replace(common, factors=factors)
        return StudentComponent(common.weights, common.means, factors, self.df)

    def _shares(self, T: FloatArray, ratios: FloatArray) -> FloatArray:
        n_columns, n_parts = T.shape[1], ratios.shape[1]
        base, part = self.floors
        floors = np.full(n_parts, part)
        floors[[0, -1]] = base
        if self.control == "none":
            residual = T
        else:
            coefficients = self.rounds[-1].coefficients
            if coefficients.ndim == 2 or len(self.rounds) == 1:
                coefficients = self.means
            residual = T - coefficients * own_ratios(ratios, n_columns)
        start = np.zeros(n_parts)
        start[1 : n_columns + 1] = np.sqrt(self.weights) * np.abs(T).mean(axis=0)
        return optimal_shares(ratios, residual**2 @ self.weights, floors, start / max(start.sum(), 1e-300))

    # Which round was best ---------------------------------------------------------------------------------------

    def _variances(self) -> FloatArray:
        """(rounds,) criterion V_k: weighted sum of the variances of one summand under each round's proposal.

        Each is re-weighted from the points of ALL rounds. The batch of a round alone does not see the tail that its
        own proposal misses: V looks small exactly where the proposal is bad.
        """
        pool, log_h = self.pool, self.pooled_log_h()
        T = self.integrands(pool, log_h)
        criterion = []
        for one, log_q in zip(self.rounds, self.log_densities, strict=True):
            ratios = np.exp(one.proposal.log_parts(pool.x, pool.log_base) - log_h[:, None])
            own = one.coefficients.ndim == 1
            rows = T - (one.coefficients * own_ratios(ratios, T.shape[1]) if own else ratios @ one.coefficients)
            # Infinite where a proposal cannot reach what counts; where nothing counts it need not reach.
            with np.errstate(over="ignore"):
                reach = np.where(rows == 0.0, 0.0, np.exp(log_h - log_q)[:, None])
                second = np.mean(rows**2 * reach, axis=0)
            criterion.append(float(self.weights @ np.maximum(second - rows.mean(axis=0) ** 2, 0.0)))
        return np.array(criterion)

    def should_stop(self, budget: int) -> bool:
        """Step 5: spending all that was left before this round would have done no worse."""
        # While nothing was hit the criterion is 0, which says nothing.
        if len(self.rounds) < 2 or not self.hit.any():
            return False
        before, now = self.variances[-2:]
        left_now = budget - self.n_points
        left_before = left_now + self.rounds[-1].block.drawn
        return bool(before / left_before <= now / left_now)


def first_integrands(block: Block, shift: FloatArray | None, signed: str) -> Integrands:
    """Columns of order one from the first batch; a power of two as scale changes no digit."""
    n_functions = block.values.shape[1]
    shift = np.zeros(n_functions) if shift is None else np.broadcast_to(shift, n_functions)
    slopes = None
    if block.controls is not None:
        shift, slopes = fitted_slopes(block.values, block.controls)
    largest = np.abs(_residuals(block, shift, slopes)).max(axis=0)
    scale = np.where(largest > 0, np.exp2(np.round(np.log2(np.where(largest > 0, largest, 1.0)))), 1.0)
    split = signed == "split"
    n_laws = block.log_laws.shape[1]
    if n_laws > 1 and n_functions == 1:
        shift, scale = np.repeat(shift, n_laws), np.repeat(scale, n_laws)
    elif n_laws > 1 and n_functions != n_laws:
        raise InvalidData(f"func must give 1 or {n_laws} columns for {n_laws} laws, got {n_functions}")
    n_columns = len(shift) * (2 if split else 1)
    return Integrands(shift, scale, split, np.zeros(n_columns), 0.0, slopes)
