from ._logistic import LogisticPosterior, load_logistic_posterior

__all__ = ["LogisticPosterior", "load_logistic_posterior"]
