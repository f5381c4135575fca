"""The time series: sums and dates that others have printed."""

import numpy as np
import pytest

from mcstat.core.errors import InvalidData
from mcstat.datasets import load_nile, load_sp500
from mcstat.state_space import KalmanFilter, LocalLevel


def test_nile_is_that_of_the_textbook():
    flow = load_nile()
    assert (flow.index[0], flow.index[-1], len(flow)) == (1871, 1970, 100)
    assert flow.mean() == pytest.approx(919.35)
    # Durbin and Koopman (2012), sections 2.2 to 2.4: the level of 1871 with a diffuse start is the first flow, with
    # the variance of the noise; the maximum likelihood estimates are 1469.1 and 15098.5, at a diffuse log-likelihood
    # of -632.54. The first flow's density under N(0, 10^7) makes it -641.5856, as programs print that start so.
    model = LocalLevel(np.sqrt(1469.1), np.sqrt(15098.5), initial_level=0.0, initial_sd=np.sqrt(1e7))
    found = KalmanFilter(model).fit(flow)
    assert found.loglik_ == pytest.approx(-641.5856, abs=0.01)
    assert found.filtered_mean_[0, 0] == pytest.approx(1120.0, rel=2e-3)


def test_sp500():
    returns = load_sp500()
    assert returns.index[0].isoformat()[:10] == "2000-01-04"
    assert returns.index[-1].isoformat()[:10] == "2015-12-31"
    # The worst day of the crisis, 15 October 2008: the index fell by 9.03 %.
    worst = returns.loc["2008-01-01":"2009-12-31"].idxmin()
    assert worst.isoformat()[:10] == "2008-10-15"
    assert np.expm1(returns.loc[worst] / 100) == pytest.approx(-0.0903, abs=5e-5)
    with pytest.raises(InvalidData, match="trading days"):
        load_sp500("1990-01-01", "1990-12-31")
