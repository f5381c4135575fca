"""State-space models: particle filters and smoothers, particle Gibbs, learning."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
