"""Writes ordered_model.json: statsmodels' OrderedModel on the rows of tests/ordinal/problems.py.

    python -m tests.reference.make_ordered_model

Needs statsmodels. Cut-points are turned from its log increments into cut-points; columns are centred for its search.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import cauchy
from statsmodels.miscmodels.ordinal_model import OrderedModel

from tests.ordinal.problems import ordered_rows


def main():
    X, y, _ = ordered_rows()
    records = []
    for link, law in [("logit", "logit"), ("probit", "probit"), ("cauchit", cauchy)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = OrderedModel(y, X - 5.0, distr=law)
            start = model.fit(method="bfgs", disp=0, gtol=1e-8)
            found = model.fit(method="newton", start_params=start.params, disp=0, tol=1e-12)
        slopes = found.params[:3]
        # P(y <= k) = F(cut - x b): shifting the columns back by 5 moves the cuts.
        cuts = model.transform_threshold_params(found.params)[1:-1] + 5.0 * slopes.sum()
        record = {"link": link, "loglik": found.llf, "slopes": slopes, "cuts": cuts, "slope_errors": found.bse[:3]}
        records.append({name: np.asarray(v).tolist() for name, v in record.items()})
    path = Path(__file__).with_name("ordered_model.json")
    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
