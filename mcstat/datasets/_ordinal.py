"""Ordered responses with rare classes: the paper's simulated designs, a sales funnel, and soup tasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcstat.core.checks import check_array, check_integer, check_real
from mcstat.core.errors import InvalidParameter
from mcstat.core.rng import Purpose, RandomState, root_seed, stream

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OrdinalProblem", "load_soup", "make_funnel", "make_presto"]

FloatArray = NDArray[np.float64]

_SOUP_FILE = Path(__file__).parent / "data" / "soup.csv"
_MOST_ATTEMPTS = 10_000


@dataclass(frozen=True, eq=False)
class OrdinalProblem:
    """Rows with an ordered response, and the cumulative logits that it was drawn from.

    Attributes
    ----------
    X : ndarray, shape (n, p), or DataFrame
    y : ndarray of int, shape (n,), or ordered Categorical
    alpha : ndarray, shape (K - 1,)
    beta : ndarray, shape (K - 1, p)
        P(y <= k | x) = 1 / (1 + exp(-alpha_k - x' beta_k)); for a data frame, of its numeric design.
    rare_probability : ndarray, shape (n,)
        True probability of the last class in each row.
    """

    X: Any
    y: Any
    alpha: FloatArray
    beta: FloatArray
    rare_probability: FloatArray


def make_presto(
    n_samples: int = 2500,
    n_features: int = 10,
    *,
    cuts: Sequence[float] = (0.0, 3.0, 5.0),
    sparsity: float = 0.5,
    strength: float = 0.5,
    random_state: RandomState = None,
) -> OrdinalProblem:
    """The sparse designs of Faletto and Bien (2023): slopes that sometimes change from one boundary to the next.

    Features are uniform on (-1, 1). A first slope is ``strength`` with probability ``sparsity`` and else 0; at each
    later boundary it changes by plus or minus ``strength``, again with probability ``sparsity``.

    Parameters
    ----------
    n_samples, n_features : int
    cuts : sequence of float
        Intercepts of the K - 1 boundaries, ascending. The paper's (0, 3, 5), (0, 3.5, 5.5) and (0, 4, 6) make the last
        class 1.2 %, 0.7 % and 0.4 % of the rows.
    sparsity, strength : float
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    OrdinalProblem

    Raises
    ------
    InvalidParameter
        Naming the argument; also where no draw has ordered boundaries in all rows and every class.

    Notes
    -----
    As in the authors' code, features, slopes and response are drawn anew until no true probability is negative and
    each class has a row.

    References
    ----------
    .. [1] Faletto, G. and Bien, J. (2023). Predicting rare events by shrinking towards proportional odds. ICML, PMLR
       202:9547-9602. arXiv:2305.18700.
    """
    n, p = check_integer("n_samples", n_samples, 2), check_integer("n_features", n_features, 1)
    alpha = check_array("cuts", cuts, 1)
    if len(alpha) < 1 or np.any(np.diff(alpha) <= 0):
        raise InvalidParameter(f"cuts must ascend, got {alpha.tolist()}")
    sparsity, strength = check_real("sparsity", sparsity, 0.0, 1.0), check_real("strength", strength, 0.0)
    root = root_seed(random_state)
    for attempt in range(_MOST_ATTEMPTS):
        rng = stream(root, "make_presto", Purpose.DATA, attempt)
        X = rng.uniform(-1.0, 1.0, size=(n, p))
        steps = strength * (rng.random((len(alpha), p)) < sparsity)
        steps[1:] *= rng.choice([-1.0, 1.0], size=(len(alpha) - 1, p))
        beta = np.cumsum(steps, axis=0)
        eta = alpha + X @ beta.T
        if np.any(np.diff(eta, axis=1) < 0):
            continue
        y = _draw(eta, rng)
        if len(np.unique(y)) == len(alpha) + 1:
            return OrdinalProblem(X, y, alpha, beta, _rare(eta))
    raise InvalidParameter(
        f"cuts {alpha.tolist()} gave crossing boundaries or an empty class in {_MOST_ATTEMPTS} draws; spread them "
        "wider, or lower strength"
    )


def make_funnel(n_samples: int = 20_000, *, random_state: RandomState = None) -> OrdinalProblem:
    """Visitors of a shop who view, click or, about one in a hundred, buy; a data frame with numbers and labels.

    The way to a click and the way to a purchase depend on the visitor alike, but for the price: it hardly keeps
    anybody from clicking, and many from buying.

    Parameters
    ----------
    n_samples : int
    random_state : None, int, SeedSequence or Generator

    Returns
    -------
    OrdinalProblem
        ``X`` has the columns price (standardised), discount, visits, device and source; ``y`` is an ordered
        Categorical view < click < buy; ``beta`` belongs to price, discount, visits, desktop, tablet, mail, search.
    """
    import pandas as pd

    n = check_integer("n_samples", n_samples, 100)
    rng = stream(root_seed(random_state), "make_funnel", Purpose.DATA, 0)
    price = rng.normal(size=n)
    discount = (rng.random(n) < 0.3).astype(np.float64)
    visits = rng.poisson(1.0, size=n).astype(np.float64)
    device = rng.choice(["phone", "desktop", "tablet"], size=n, p=[0.6, 0.3, 0.1])
    source = rng.choice(["ad", "mail", "search"], size=n, p=[0.5, 0.2, 0.3])
    design = np.column_stack(
        [price, discount, visits, device == "desktop", device == "tablet", source == "mail", source == "search"]
    )
    alpha = np.array([1.8, 5.6])
    common = np.array([0.1, -0.4, -0.3, -0.3, -0.1, -0.5, -0.3])
    beta = np.vstack([common, common])
    beta[1, 0] = 0.7
    eta = np.sort(alpha + design @ beta.T, axis=1)
    y = pd.Categorical.from_codes(_draw(eta, rng), categories=pd.Index(["view", "click", "buy"]), ordered=True)
    X = pd.DataFrame({"price": price, "discount": discount, "visits": visits, "device": device, "source": source})
    return OrdinalProblem(X, y, alpha, beta, _rare(eta))


def load_soup() -> pd.DataFrame:
    """Packet soup: 1847 ratings by 185 people who were asked whether a sample is the reference product.

    Returns
    -------
    DataFrame
        ``SURENESS`` is the ordered response, from 1 (reference, sure) to 6 (not reference, sure). ``PROD`` says what
        the sample was; ``RESP`` is the person; the others describe person and day.

    Notes
    -----
    Produced by Unilever Research, who permitted publication; from the R package ``ordinal``. The file
    ``soup_LICENCE.txt`` beside the data has source and licence.

    References
    ----------
    .. [1] Christensen, R. H. B., Cleaver, G. and Brockhoff, P. B. (2011). Statistical and Thurstonian models for the
       A-not A protocol with and without sureness. Food Quality and Preference 22, 542-549.
    """
    import pandas as pd

    soup = pd.read_csv(_SOUP_FILE)
    for name in soup.columns:
        soup[name] = soup[name].astype("category")
    soup["SURENESS"] = soup["SURENESS"].cat.as_ordered()
    return soup


def _draw(eta: FloatArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """Classes from one uniform a row: the number of boundaries below it."""
    below = 1.0 / (1.0 + np.exp(-eta))
    return np.asarray(np.sum(rng.random(len(eta))[:, None] > below, axis=1), dtype=np.int64)


def _rare(eta: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(eta[:, -1])))
