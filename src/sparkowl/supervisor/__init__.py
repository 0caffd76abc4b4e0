"""Where time passes: looks at a session, lets the domain decide, acts, and writes down what is.

It starts from rows, so a server that restarts goes on where the rows stand. Requests never wait
here: an operation writes a row and wakes the session.
"""
