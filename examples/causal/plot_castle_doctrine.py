"""
Did the castle doctrine deter, or kill?
=======================================

Between 2005 and 2009 some twenty states widened the right to kill in self-defence. Did homicides fall, because burglars
were deterred, or rise? States passed the law in different years, and the effect may grow with time: a regression on
state and year effects then compares late states with early ones, which are under treatment themselves.
"""

# %%
# ``GroupTimeATT`` compares each cohort of states, in each year, with states that never passed the law, in changes since
# the year before it did. States count by their population. Florida, and the states of 2009 and 2010, are cohorts of one
# or two: what is left of a mean's error when the mean is of one state is nothing, so they are left out. The seventeen
# others are still few for the normal law behind these intervals, and the method says so of the four of 2008.
import warnings

from mcstat.causal import GroupTimeATT
from mcstat.datasets import load_castle

states = load_castle()
states = states[states["first_law"].isin([0, 2007, 2008])]  # 0 is never
columns = {"outcome": "log_homicide", "unit": "state", "time": "year", "first_treated": "first_law"}
model = GroupTimeATT(base_period="universal", random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.fit(data=states, weights="population", **columns)
print(model.estimate().warnings)
print(model.cells_[["group", "time", "effect", "std_error", "n_treated"]].head(12).round(3).to_string())

# %%
# All cells by time since the law. Before it, the points are placebos; the band covers all of them at once.
model.plot_event_study()

# %%
# One number, in several ways, beside the two-way regression.
print(model.compare().round(3))
print(model.pretrend_test())
