"""``make bench``: SparkOwl beside plain tools, measured in one run.

Machines differ and are noisy, so what counts is the ratio of two things measured in turn, A B A B,
and the median over several rounds. Nothing here is a test: a slow machine fails nothing.
"""
