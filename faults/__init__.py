"""``make faults``: break things at every point of a life, and look what is left.

Real servers, real drivers with real Spark, a real client. Nothing in the product knows of it: a
server of the suite is the product's own command, with a log handler beside it that stands still at
the log line which the suite names.
"""
