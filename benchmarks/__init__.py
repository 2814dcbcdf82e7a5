"""Measurements: how fast, how right, how good; see README.md beside this file."""
