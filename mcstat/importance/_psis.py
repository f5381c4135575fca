import numpy as np
def khat_threshold(n): return min(1-1/np.log10(n),.7)
def tail_shape(logs): return -np.inf
