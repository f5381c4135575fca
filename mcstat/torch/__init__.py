"""The bridge to PyTorch: the only room that imports it. Without the extra the import says what to install."""

import lazy_loader

from mcstat.core.extras import import_extra

import_extra("torch", "torch")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
