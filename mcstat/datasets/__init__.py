"""Simulators with a known truth (``make_*``) and small real data sets (``load_*``)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
