"""Shipped panels are whole."""

from mcstat.datasets import load_castle, load_wage_panel


def test_wage_panel():
    frame = load_wage_panel()
    assert frame.shape == (4360, 10)
    assert not frame.isna().any().any()
    assert not frame.duplicated(["person", "year"]).any()
    assert frame["person"].nunique() == 545
    assert sorted(frame["year"].unique()) == list(range(1980, 1988))
    # Means that the paper's tables and textbooks print.
    assert round(frame["log_wage"].mean(), 3) == 1.649
    assert round(frame["union"].mean(), 3) == 0.244


def test_castle():
    frame = load_castle()
    assert frame.shape == (550, 10)
    assert not frame.isna().any().any()
    first = frame.groupby("state")["first_law"]
    assert (first.nunique() == 1).all()
    # 21 states in all, 13 of them in 2007.
    years = first.first()
    assert (years > 0).sum() == 21
    assert years[years > 0].min() == 2006
    assert (years == 2007).sum() == 13
