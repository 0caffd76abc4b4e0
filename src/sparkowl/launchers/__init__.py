"""How a driver lives: start it, find it again, look at it, end it.

One file per place where drivers run. The contract is in :mod:`.base`; what a driver then says and
is told goes over the link, which is the supervisor's.
"""
