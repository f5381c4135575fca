"""The objects that every room is built on."""
