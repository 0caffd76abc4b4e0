"""What is true: values, state tables and decisions.

Standard library only; nothing here waits, reads a clock, logs, or touches a file. Whoever decides
passes the time in and carries the decision out.
"""
