"""The demo fits shipped data; its sentences come from what it found."""

import re

import numpy as np

from mcstat.causal._demo import run
from mcstat.core._svg import Figure
from mcstat.core.estimate import Estimate


def test_the_demo_says_what_its_estimates_say(recwarn):
    section = run()
    assert not recwarn.list
    effect = next(item for item in section.items if isinstance(item, Estimate))
    assert f"{float(effect):+.3f} log points after the law" in section.text
    pooled, premium = map(float, re.findall(r"0\.\d{3}", section.text)[:2])
    # Least squares with the same covariates: about .18 pooled and .08 with effects of persons.
    assert 0.15 < pooled < 0.21
    assert 0.06 < premium < 0.12
    pictures = [item for item in section.items if isinstance(item, Figure)]
    assert [picture.svg.count("<circle") for picture in pictures] == [4, 11]
    assert np.isfinite(effect.std_error).all()
