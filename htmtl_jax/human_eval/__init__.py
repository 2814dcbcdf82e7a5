"""Studies in which people judge summaries: packets for raters, and what they answered.

Reads the files of evaluations; knows no model.
"""
