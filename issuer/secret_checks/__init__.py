"""Whether a presented secret is right, and what guessing costs whoever guesses.

verifier: the check. slow_lane: turns for slow ones. remembered: those that came out well. failures: how many failed.
shared, counters: numbers that all processes of a node count together. origin: which addresses are one caller's.
measures: what operators want to know.
"""
