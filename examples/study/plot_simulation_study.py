"""
Which interval for a small proportion?
======================================

A clinic sees 30 patients, one in ten has the complication. Three textbook intervals for that share are put to the
test on 4000 simulated clinics: how often does each hold the truth, and how wide is it?
"""

# %%
# The data-generating mechanism gets a random generator and returns the arguments of the methods. Each method returns
# an :class:`~mcstat.Estimate`; its interval may come from the normal law or, as for Clopper and Pearson, from a law
# of its own.
import matplotlib.pyplot as plt
import numpy as np

from mcstat import Estimate
from mcstat.core.laws import Binomial
from mcstat.study import SimulationStudy

PATIENTS, SHARE = 30, 0.1


def clinic(rng):
    return {"cases": int(rng.binomial(PATIENTS, SHARE))}


def wald(cases):
    share = cases / PATIENTS
    return Estimate(value=share, std_error=np.sqrt(share * (1 - share) / PATIENTS), names=["share"])


def agresti_coull(cases):
    """Wald's interval after adding two cases and two healthy patients."""
    share = (cases + 2) / (PATIENTS + 4)
    return Estimate(value=share, std_error=np.sqrt(share * (1 - share) / (PATIENTS + 4)), names=["share"])


def clopper_pearson(cases):
    return Estimate(value=cases / PATIENTS, law=Binomial(cases, PATIENTS), names=["share"])


# %%
# Replicate k depends on the seed and k alone: run it again, in more processes or with more replicates, and these 4000
# clinics come back bit by bit.
methods = {"Wald": wald, "Agresti-Coull": agresti_coull, "Clopper-Pearson": clopper_pearson}
study = SimulationStudy(clinic, methods, truth={"share": SHARE}, null=0.25)
result = study.run(4000, random_state=2024)
print(result)

# %%
# Every figure stands with its Monte Carlo standard error, so we know that 4000 clinics were enough: Wald's interval,
# sold as 95 %, covers about 81 %. Agresti and Coull buy their coverage with a bias towards one half; Clopper and
# Pearson never cover less than promised and pay with width. Power is the chance to see that the share is not 25 %.
frame = result.to_frame().set_index("method")
print(frame[["bias", "be_coverage", "mse", "mse_mcse"]].round(4))

# %%
# The table has more: Agresti and Coull's share itself is the worse one, with half as much again of mean squared
# error, so theirs is an interval to report and not an estimate. The lines of the picture are exact 95 % Monte Carlo
# intervals of the coverage.
result.plot_coverage()
plt.show()
