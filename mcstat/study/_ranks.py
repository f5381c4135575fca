"""What simulation-based calibration found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_level
from mcstat.core.errors import InvalidData
from mcstat.core.extras import import_extra
from mcstat.study._digits import digits
from mcstat.study._uniformity import uniform_cells

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SbcResult"]

IntArray: TypeAlias = NDArray[np.int64]
_BARS = 20


@dataclass(frozen=True, eq=False, repr=False)
class SbcResult:
    """Ranks of the true parameters among posterior draws, and the exact test that they are uniform.

    Attributes
    ----------
    ranks : ndarray of int, shape (n, q)
        In 0..n_draws; a row for each of the n replicates that the method answered.
    names : tuple of str
        The q quantities that both the prior and the Estimate name.
    n_draws, n_replicates : int
    failures : tuple of (int, str, str)
        Replicate, error and message of each replicate without an answer. Ranks of a method that fails on hard data
        only say nothing about those data.
    ess : ndarray, shape (n,)
        Least effective number of draws in the method's answer; infinite where they are independent.
    entropy : mapping
        ``random_state=SeedSequence(**entropy)`` repeats the run.
    """

    ranks: IntArray
    names: tuple[str, ...]
    n_draws: int
    n_replicates: int
    failures: tuple[tuple[int, str, str], ...]
    ess: NDArray[np.float64]
    entropy: Mapping[str, Any]

    @classmethod
    def from_answers(cls, answers: Sequence[tuple[Any, ...]], n_draws: int, entropy: Mapping[str, Any]) -> Self:
        """Put the answers of replicates 0, 1, ... together: (names, ranks, ess), or (error, message)."""
        names: tuple[str, ...] = next((given[0] for given in answers if len(given) == 3), ())
        ranks, ess, failures = [], [], []
        for k, given in enumerate(answers):
            if len(given) == 2:
                failures.append((k, *given))
            elif given[0] != names:
                words = f"the Estimate names {', '.join(given[0])}; in earlier replicates {', '.join(names)}"
                failures.append((k, "InvalidData", words))
            else:
                ranks.append(given[1])
                ess.append(given[2])
        table = np.array(ranks, dtype=np.int64).reshape(len(ranks), len(names))
        table.flags.writeable = False
        return cls(table, names, n_draws, len(answers), tuple(failures), np.array(ess), entropy)

    def p_values(self) -> NDArray[np.float64]:
        """P-value (q,) of the exact simultaneous test of each rank distribution; NaN without ranks.

        Notes
        -----
        The statistic is the smallest binomial tail probability of the ranks' empirical distribution function over all
        ranks (about 100 of them where there are more); its law under uniformity is computed without simulation. The
        p-value is known to about 1e-11.
        """
        if len(self.ranks) == 0:
            return np.full(len(self.names), np.nan)
        cells = uniform_cells(len(self.ranks), self.n_draws)
        return np.array([max(cells.p_value(column), 0.0) for column in self.ranks.T])

    def passed(self, level: float = 0.99) -> bool:
        """Whether all quantities stay inside their bands; right posteriors do with probability ``level`` at least.

        With q quantities each has a band of level 1 - (1 - level) / q. Failures are not looked at. False without ranks.
        """
        p = self.p_values()
        return len(self.ranks) > 0 and bool(np.all(p > (1.0 - check_level(level)) / len(p)))

    def to_frame(self) -> pd.DataFrame:
        """What the ranks say about each quantity.

        Returns
        -------
        DataFrame
            Columns name, n, mean (of the rank as a share; 0.5 is right, less: posteriors lie too high), spread
            (variance of the ranks over that of uniform ones; more than 1: posteriors too narrow), each with its Monte
            Carlo error under uniformity, and p_value.
        """
        import pandas as pd

        n = len(self.ranks)
        share = (self.ranks + 0.5) / (self.n_draws + 1.0)
        uniform_variance = (1.0 - (self.n_draws + 1.0) ** -2) / 12.0
        known = n > 0
        return pd.DataFrame(
            {
                "name": self.names,
                "n": n,
                "mean": share.mean(axis=0) if known else np.nan,
                "mean_mcse": np.sqrt(uniform_variance / n) if known else np.nan,
                "spread": np.mean((share - 0.5) ** 2, axis=0) / uniform_variance if known else np.nan,
                # Var (u - 1/2)^2 = 1/180 for a uniform u, and 1/180 / (1/12)^2 = 0.8.
                "spread_mcse": np.sqrt(0.8 / n) if known else np.nan,
                "p_value": self.p_values(),
            }
        )

    def summary(self) -> str:
        """The table, the verdict and the failures as text."""
        frame = self.to_frame()
        table = frame[["name", "n"]].copy()
        for column in ("mean", "spread"):
            pairs = [digits(x, mcse) for x, mcse in zip(frame[column], frame[f"{column}_mcse"], strict=True)]
            table[column] = [f"{number} ({error})" for number, error in pairs]
        table["p-value"] = [f"{p:.2g}" for p in frame["p_value"]]
        verdict = "inside" if self.passed() else "NOT inside"
        lines = [
            f"Simulation-based calibration: {self.n_replicates} replicates, ranks among {self.n_draws} draws",
            "",
            table.to_string(index=False),
            "",
            "right: mean 0.5, spread 1 (more: posteriors too narrow); in brackets: Monte Carlo standard error",
            f"ranks are {verdict} the simultaneous 99 % bands of uniform ones",
        ]
        return "\n".join([*lines, *self._failure_lines()])

    def _failure_lines(self) -> list[str]:
        first = {error: (k, message) for k, error, message in reversed(self.failures)}
        return [
            f"failed {count} time(s) with {error}, first in replicate {first[error][0]}: {first[error][1][:100]}"
            for error, count in Counter(error for _, error, _ in self.failures).items()
        ]

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.summary())}</pre>"

    def plot(self, axs: Any = None, *, level: float = 0.99) -> Any:
        """A row for each quantity: rank histogram, and ECDF minus its expectation with the simultaneous band.

        Parameters
        ----------
        axs : array of matplotlib Axes, shape (q, 2), optional
        level : float
            Of the simultaneous band on the right, and of each bar's own band on the left.

        Returns
        -------
        ndarray of Axes, shape (q, 2)
        """
        if len(self.ranks) == 0:
            raise InvalidData("there are no ranks to draw: the method failed in every replicate")
        q = len(self.names)
        if axs is None:
            pyplot = import_extra("matplotlib.pyplot", "plot")
            axs = pyplot.subplots(q, 2, figsize=(8.0, 0.6 + 2.0 * q), squeeze=False, layout="constrained")[1]
        axs = np.asarray(axs).reshape(q, 2)
        for name, ranks, (left, right) in zip(self.names, self.ranks.T, axs, strict=True):
            self._draw_histogram(left, ranks, level)
            self._draw_ecdf(right, ranks, level)
            left.set_ylabel(name)
        axs[-1, 0].set_xlabel("rank of the true value")
        axs[-1, 1].set_xlabel("rank of the true value, as a share")
        axs[0, 0].set_title("share of the expected count", fontsize="medium")
        axs[0, 1].set_title("ECDF minus its expectation", fontsize="medium")
        return axs

    def _draw_histogram(self, ax: Any, ranks: IntArray, level: float) -> None:
        from scipy.stats import binom

        n, bars = len(ranks), min(_BARS, self.n_draws + 1)
        edges = np.arange(bars + 1) * (self.n_draws + 1) // bars
        expected = n * np.diff(edges) / (self.n_draws + 1.0)
        low, high = binom.interval(level, n, expected / n)
        counts = np.histogram(ranks, edges)[0]
        ax.bar(edges[:-1], counts / expected, np.diff(edges), align="edge", color="C0", alpha=0.7)
        ax.stairs(high / expected, edges, baseline=low / expected, fill=True, color="0.5", alpha=0.3)
        ax.axhline(1.0, color="0.4", linewidth=1.0)

    def _draw_ecdf(self, ax: Any, ranks: IntArray, level: float) -> None:
        cells = uniform_cells(len(ranks), self.n_draws)
        low, high = cells.band(check_level(level))
        z = np.array([0.0, *cells.z, 1.0])
        n = len(ranks)
        lower, upper, found = (np.array([0.0, *counts / n, 1.0]) - z for counts in (low, high, cells.counts(ranks)))
        ax.fill_between(z, lower, upper, color="0.5", alpha=0.3, linewidth=0.0)
        ax.plot(z, found, color="C0", linewidth=1.5)
        ax.axhline(0.0, color="0.4", linewidth=1.0)
