"""The ``sparkowl`` command.

``serve`` starts the server. Every other command that needs one is an ordinary client of its public
API, through boto3: there is no private door, so each use of the command line tests the API.
"""
