"""What a simulation study found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mcstat.core.errors import InvalidData
from mcstat.core.laws import Binomial
from mcstat.core.plots import axes
from mcstat.study._measures import measures
from mcstat.study._replicate import Record
from mcstat.study._summary import StudySummary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NUMBERS", "StudyResult"]

NUMBERS = ("truth", "estimate", "std_error", "conf_low", "conf_high", "cpu_seconds")
_REPLICATES = {"replicate": "int64", "method": "str", "term": "str"} | dict.fromkeys(NUMBERS, "float64")
_FAILURES = {"replicate": "int64", "method": "str", "term": "str", "error": "str", "message": "str"}


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult:
    """Every replicate of a study, and the measures computed from them.

    Attributes
    ----------
    replicates : DataFrame
        A row for each replicate, method and term that gave a finite estimate: replicate, method, term, truth,
        estimate, std_error, conf_low, conf_high, cpu_seconds (of the method's whole ``fit`` and ``estimate``, in the
        thread that called them).
    failures : DataFrame
        A row for each error of a method (term is empty) and each estimate that is not finite: replicate, method,
        term, error, message.
    methods : tuple of str
    n_replicates : int
        Replicates 0 to ``n_replicates - 1`` were run.
    level, null : float
        Of the intervals, and of the hypothesis behind ``power``.
    entropy : dict
        Seed of the run: ``run(n, random_state=SeedSequence(**entropy))`` repeats it.
    """

    replicates: pd.DataFrame
    failures: pd.DataFrame
    methods: tuple[str, ...]
    n_replicates: int
    level: float
    null: float
    entropy: Mapping[str, Any]

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[Any, ...]], failures: Sequence[tuple[Any, ...]], *fields: Any) -> Self:
        """Make the tables from tuples; the other fields follow in their order."""
        return cls(_frame(rows, _REPLICATES), _frame(failures, _FAILURES), *fields)

    def with_records(self, records: Iterable[Record]) -> Self:
        """Add the replicates that follow."""
        rows = list(self.replicates.itertuples(index=False, name=None))
        failures = list(self.failures.itertuples(index=False, name=None))
        n_replicates = self.n_replicates
        for record in records:
            rows += record.rows
            failures += record.failures
            n_replicates += 1
        return self.from_rows(rows, failures, self.methods, n_replicates, self.level, self.null, self.entropy)

    def to_frame(self) -> pd.DataFrame:
        """Measures of each method and term, each followed by its Monte Carlo standard error ``<measure>_mcse``.

        Returns
        -------
        DataFrame
            Columns method, term, n (replicates with a finite estimate), failures, and with their errors: bias,
            emp_se (standard deviation of the errors), model_se (root mean squared standard error),
            rel_error_model_se (percent by which model_se exceeds emp_se), mse, coverage, be_coverage (bias-eliminated:
            of truth + bias), width (mean), power (share of intervals that exclude ``null``), cpu_seconds (mean). A
            method that never answered has one row with an empty term.

        Notes
        -----
        Formulas of Morris, White and Crowther (2019), Table 6. Failed replicates enter no measure: read ``failures``
        beside them. NaN in any replicate makes the measures that need it NaN.
        """
        import pandas as pd

        rows = []
        for method in self.methods:
            answers = self.replicates[self.replicates["method"] == method]
            failed = self.failures.loc[self.failures["method"] == method, "term"]
            everywhere = int((failed == "").sum())
            terms = list(dict.fromkeys([*answers["term"], *failed[failed != ""]])) or [""]
            for term in terms:
                table = answers[answers["term"] == term]
                count = everywhere + (int((failed == term).sum()) if term else 0)
                head = {"method": method, "term": term, "n": len(table), "failures": count}
                rows.append(head | measures(table, self.null))
        return pd.DataFrame(rows)

    def summary(self) -> StudySummary:
        """Measures with their Monte Carlo errors and the failures; prints as text, shows as HTML in a notebook."""
        return StudySummary.of(self)

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def plot_coverage(self, ax: Any = None) -> Any:
        """Coverage of each method and term with its exact 95 % Monte Carlo interval; a line marks ``level``.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        InvalidData
            If the coverage of no quantity is known.
        """
        table = self.to_frame().dropna(subset="coverage")
        if table.empty:
            raise InvalidData("there is no coverage to draw: no quantity has both a truth and an interval")
        n = np.asarray(table["n"], dtype=np.float64)
        covered = np.round(np.asarray(table["coverage"]) * n)
        low, high = Binomial(covered, n).interval(0.95)
        rows = np.arange(len(table))
        ax = axes(ax, figsize=(6.0, 1.0 + 0.3 * len(table)))
        ax.axvline(self.level, color="0.5", linewidth=1.0, linestyle="--")
        ax.hlines(rows, low, high, color="C0", linewidth=1.5)
        ax.plot(table["coverage"], rows, "o", color="C0", markersize=4)
        ax.set_yticks(rows, [f"{method}: {term}" for method, term in zip(table["method"], table["term"], strict=True)])
        ax.set_ylim(len(table) - 0.5, -0.5)
        ax.set_xlabel(f"coverage of {100 * self.level:g} % intervals, with 95 % Monte Carlo interval")
        return ax

    def plot_zip(self, term: str | None = None, axs: Any = None) -> Any:
        """Every interval of one quantity, nearest to the truth first: a panel for each method.

        Parameters
        ----------
        term : str, optional
            The quantity; by default the first.
        axs : array of matplotlib Axes, optional
            One for each method that has intervals.

        Returns
        -------
        ndarray of Axes
            Intervals that hold the truth are blue, the others red; a closed zip reaches the level. They are sorted by
            the distance between estimate and truth over the interval's reach on that side. Dashed: exact 95 % Monte
            Carlo interval of the coverage.

        Raises
        ------
        InvalidData
            If no quantity has both a truth and an interval.

        References
        ----------
        .. [1] Morris, T. P., White, I. R. and Crowther, M. J. (2019). Using simulation studies to evaluate statistical
           methods. Statistics in Medicine 38, 2074-2102. Figure 4.
        """
        from mcstat.study._plots import draw_zip

        return draw_zip(self, term, axs)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to one file: a zip of ``.npy`` arrays and a JSON page, no pickle."""
        from mcstat.study._storage import save_result

        save_result(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> StudyResult:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InvalidFileError
            If it is not such a file, is damaged, or is of a newer mcstat. Nothing in a file is run.
        """
        from mcstat.study._storage import load_result

        return load_result(path)


def _frame(rows: Sequence[tuple[Any, ...]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(dtypes)).astype(dict(dtypes))
