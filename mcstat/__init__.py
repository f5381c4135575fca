"""mcstat: fit an estimator, read its Estimate, validate it in a simulation study."""

import lazy_loader

from mcstat._version import __version__ as __version__

# The stub beside this file is the one list of public names; nothing behind them is imported before it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
