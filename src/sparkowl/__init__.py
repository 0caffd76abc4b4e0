"""SparkOwl: Amazon Athena's API for Apache Spark, self-hosted, on real Spark.

This file stays empty of imports: the agent inside a driver imports the package too, and must not
drag the server in.
"""

__version__ = "0.1.0.dev0"
