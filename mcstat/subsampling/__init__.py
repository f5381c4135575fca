"""Small weighted samples of large matrices: leverage scores, Lewis weights, lp sensitivities."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
