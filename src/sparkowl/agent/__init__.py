"""Inside the driver: the agent, the kernel that runs user code, and the JVM that runs Spark.

One agent process lives beside each driver. It starts the kernel and the JVM, dials the server,
takes its commands, and reports facts until the server has acknowledged them. This room imports
nothing else of ours, and nobody outside imports anything of it but :mod:`sparkowl.agent.messages`:
a driver may run in another Python environment, or on another machine, than the server.
"""
