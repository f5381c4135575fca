"""Compiled functions that several rooms share: arrays in, arrays out."""
