"""The ``sparkowl`` command.

``serve`` starts the server. ``keys``, ``backup`` and their like open the data directory themselves,
as the operator who owns it, whether a server runs there or not. Every other command that needs a
server is an ordinary client of its public API, through boto3: there is no private door, so each use
of the command line tests the API.
"""
