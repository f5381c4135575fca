"""Auditing differential privacy: posteriors and bounds for epsilon from membership-inference attacks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
