"""The Spark properties that a session may set: every one of them was looked at.

A property is here because setting it changes how the user's own work runs, and nothing else: it
names no file of the server, no program, no port, and no size of the driver, which is the
operator's. Classes are named only where table formats and serializers need it: they come from the
session's own jars, and run where its code runs. Families (:data:`RUN_TIME`) hold only for the
properties of Spark versions that were looked at; see :meth:`sparkowl.domain.sparks.Known`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: A word or a dotted name ends where the next begins: a family that ends with a dot takes what
#: follows, any other is one property.
RUN_TIME: Final = (
    "spark.sql.adaptive.",
    "spark.sql.analyzer.",
    "spark.sql.ansi.",
    "spark.sql.autoBroadcastJoinThreshold",
    "spark.sql.avro.",
    "spark.sql.broadcastTimeout",
    "spark.sql.bucketing.",
    "spark.sql.cartesianProductExec.",
    "spark.sql.caseSensitive",
    "spark.sql.catalog.spark_catalog",
    "spark.sql.cbo.",
    "spark.sql.charAsVarchar",
    "spark.sql.codegen.",
    "spark.sql.columnNameOfCorruptRecord",
    "spark.sql.constraintPropagation.",
    "spark.sql.crossJoin.",
    "spark.sql.csv.",
    "spark.sql.cteRecursionLevelLimit",
    "spark.sql.cteRecursionRowLimit",
    "spark.sql.datetime.",
    "spark.sql.debug.maxToStringFields",
    "spark.sql.decimalOperations.",
    "spark.sql.defaultCatalog",
    "spark.sql.defaultSizeInBytes",
    "spark.sql.error.messageFormat",
    "spark.sql.exchange.",
    "spark.sql.execution.arrow.",
    "spark.sql.execution.pandas.",
    "spark.sql.execution.pythonUDF.",
    "spark.sql.execution.pythonUDTF.",
    "spark.sql.files.",
    "spark.sql.groupByAliases",
    "spark.sql.groupByOrdinal",
    "spark.sql.hive.convertMetastoreOrc",
    "spark.sql.hive.convertMetastoreParquet",
    "spark.sql.inMemoryColumnarStorage.",
    "spark.sql.join.",
    "spark.sql.json.",
    "spark.sql.jsonGenerator.",
    "spark.sql.leafNodeDefaultParallelism",
    "spark.sql.legacy.",
    "spark.sql.limit.",
    "spark.sql.mapKeyDedupPolicy",
    "spark.sql.maxBroadcastTableSize",
    "spark.sql.maxMetadataStringLength",
    "spark.sql.maxPlanStringLength",
    "spark.sql.maxSinglePartitionBytes",
    "spark.sql.objectHashAggregate.",
    "spark.sql.operatorPipeSyntaxEnabled",
    "spark.sql.optimizer.",
    "spark.sql.orc.",
    "spark.sql.orderByOrdinal",
    "spark.sql.parquet.",
    "spark.sql.parser.",
    "spark.sql.pivotMaxValues",
    "spark.sql.preserveCharVarcharTypeInfo",
    "spark.sql.pyspark.inferNestedDictAsStruct.",
    "spark.sql.pyspark.jvmStacktrace.",
    "spark.sql.pyspark.legacy.",
    "spark.sql.pyspark.plotting.",
    "spark.sql.readSideCharPadding",
    "spark.sql.repl.eagerEval.",
    "spark.sql.retainGroupColumns",
    "spark.sql.scripting.",
    "spark.sql.selfJoinAutoResolveAmbiguity",
    "spark.sql.session.timeZone",
    "spark.sql.sessionWindow.",
    "spark.sql.shuffle.",
    "spark.sql.shuffledHashJoinFactor",
    "spark.sql.sort.",
    "spark.sql.sortMergeJoinExec.",
    "spark.sql.sources.",
    "spark.sql.statistics.",
    "spark.sql.storeAssignmentPolicy",
    "spark.sql.streaming.",
    "spark.sql.subexpressionElimination.",
    "spark.sql.timestampType",
    "spark.sql.transposeMaxValues",
    "spark.sql.ui.explainMode",
    "spark.sql.variable.substitute",
    "spark.sql.variant.",
    "spark.sql.view.",
    "spark.sql.windowExec.",
)

_A_CLASS: Final = "it names a class that Spark loads and runs"
#: Members of those families that are refused all the same, and why.
EXCEPT: Final[Mapping[str, str]] = {
    "spark.sql.adaptive.customCostEvaluatorClass": _A_CLASS,
    "spark.sql.legacy.setCommandRejectsSparkCoreConfs": "it lets SET reach past these rules",
    "spark.sql.parquet.output.committer.class": _A_CLASS,
    "spark.sql.sources.commitProtocolClass": _A_CLASS,
    "spark.sql.sources.outputCommitterClass": _A_CLASS,
    "spark.sql.streaming.checkpointFileManagerClass": "buckets need the one that SparkOwl sets",
    "spark.sql.streaming.checkpointLocation": "give it where the stream is written",
    "spark.sql.streaming.commitProtocolClass": _A_CLASS,
    "spark.sql.streaming.stateStore.providerClass": _A_CLASS,
}

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_CLASS: Final = rf"{_NAME}(?:[.$]{_NAME})*"
_PART: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value must look like, whole."""

    words: str
    pattern: re.Pattern[str]

    @classmethod
    def list_of(cls, words: str, one: str) -> Kind:
        return cls(words, re.compile(rf"{one}(?: *, *{one})*"))


TRUTH: Final = Kind("true or false", re.compile("true|false", re.IGNORECASE | re.ASCII))
NUMBER: Final = Kind("a number", re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,10})?"))
SIZE: Final = Kind("a size such as 64m", re.compile(r"[0-9]{1,15} *[kKmMgGtTpP]?[bB]?"))
TIME: Final = Kind("a time such as 3s", re.compile(r"[0-9]{1,12} *(?:us|ms|s|m|min|h|d)?"))
WORD: Final = Kind("a word", re.compile(r"[A-Za-z0-9_-]{1,64}"))
CLASSES: Final = Kind.list_of("names of classes", _CLASS)
PACKAGES: Final = Kind.list_of("group:artifact:version", rf"{_PART}:{_PART}:{_PART}")
EXCLUDED: Final = Kind.list_of("group:artifact", rf"{_PART}:{_PART}")
REPOSITORIES: Final = Kind.list_of("https:// addresses", r"https://[A-Za-z0-9._~:/-]+")
#: Without a way up: a dot may also be written %2e.
_OBJECT: Final = r"s3a?://[a-z0-9][a-z0-9.-]+/(?![^,]*(?:\.|%2[eE]){2})[^\s,#?\\]+"
JARS: Final = Kind.list_of("s3:// addresses of jars", _OBJECT)
FILES: Final = Kind.list_of("s3:// addresses", _OBJECT)
#: Behind the # stands the folder that tasks find it in, beside one another.
ARCHIVES: Final = Kind.list_of(
    "s3:// addresses, each with #name if it shall be unpacked under a name of its own",
    rf"{_OBJECT}(?:#[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)?",
)
SCHEDULER: Final = Kind("FIFO or FAIR", re.compile("FIFO|FAIR"))
SEPARATOR: Final = Kind("one character", re.compile(r"[/:.|]"))
CATALOG_ID: Final = Kind("an account id", re.compile(r"[0-9]{12}"))

#: Fixed when the driver is launched: a session that sets one has a driver of its own.
LAUNCH: Final[Mapping[str, Kind]] = {
    "spark.archives": ARCHIVES,
    "spark.broadcast.blockSize": SIZE,
    "spark.broadcast.compress": TRUTH,
    "spark.default.parallelism": NUMBER,
    "spark.driver.maxResultSize": SIZE,
    "spark.dynamicAllocation.cachedExecutorIdleTimeout": TIME,
    "spark.dynamicAllocation.enabled": TRUTH,
    "spark.dynamicAllocation.executorAllocationRatio": NUMBER,
    "spark.dynamicAllocation.executorIdleTimeout": TIME,
    "spark.dynamicAllocation.initialExecutors": NUMBER,
    "spark.dynamicAllocation.maxExecutors": NUMBER,
    "spark.dynamicAllocation.minExecutors": NUMBER,
    "spark.dynamicAllocation.schedulerBacklogTimeout": TIME,
    "spark.dynamicAllocation.shuffleTracking.enabled": TRUTH,
    "spark.dynamicAllocation.shuffleTracking.timeout": TIME,
    "spark.dynamicAllocation.sustainedSchedulerBacklogTimeout": TIME,
    "spark.executor.cores": NUMBER,
    "spark.executor.instances": NUMBER,
    "spark.executor.memory": SIZE,
    "spark.executor.memoryOverhead": SIZE,
    "spark.executor.memoryOverheadFactor": NUMBER,
    "spark.files": FILES,
    "spark.files.maxPartitionBytes": SIZE,
    "spark.files.openCostInBytes": SIZE,
    "spark.io.compression.codec": WORD,
    "spark.io.compression.lz4.blockSize": SIZE,
    "spark.io.compression.snappy.blockSize": SIZE,
    "spark.io.compression.zstd.bufferSize": SIZE,
    "spark.io.compression.zstd.level": NUMBER,
    "spark.io.encryption.enabled": TRUTH,
    "spark.io.encryption.keySizeBits": NUMBER,
    "spark.io.encryption.keygen.algorithm": WORD,
    "spark.jars": JARS,
    "spark.jars.excludes": EXCLUDED,
    "spark.jars.packages": PACKAGES,
    "spark.jars.repositories": REPOSITORIES,
    "spark.kryo.classesToRegister": CLASSES,
    "spark.kryo.referenceTracking": TRUTH,
    "spark.kryo.registrationRequired": TRUTH,
    "spark.kryo.registrator": CLASSES,
    "spark.kryo.unsafe": TRUTH,
    "spark.kryoserializer.buffer": SIZE,
    "spark.kryoserializer.buffer.max": SIZE,
    "spark.locality.wait": TIME,
    "spark.locality.wait.node": TIME,
    "spark.locality.wait.process": TIME,
    "spark.locality.wait.rack": TIME,
    "spark.memory.fraction": NUMBER,
    "spark.memory.storageFraction": NUMBER,
    "spark.network.crypto.enabled": TRUTH,
    "spark.network.crypto.saslFallback": TRUTH,
    "spark.rdd.compress": TRUTH,
    "spark.reducer.maxSizeInFlight": SIZE,
    "spark.scheduler.mode": SCHEDULER,
    "spark.serializer": CLASSES,
    "spark.shuffle.compress": TRUTH,
    "spark.shuffle.file.buffer": SIZE,
    "spark.shuffle.file.merge.buffer": SIZE,
    "spark.shuffle.spill.compress": TRUTH,
    "spark.speculation": TRUTH,
    "spark.speculation.interval": TIME,
    "spark.speculation.minTaskRuntime": TIME,
    "spark.speculation.multiplier": NUMBER,
    "spark.speculation.quantile": NUMBER,
    "spark.sql.extensions": CLASSES,
    "spark.submit.pyFiles": FILES,
    "spark.task.cpus": NUMBER,
    "spark.task.maxDirectResultSize": SIZE,
    "spark.task.maxFailures": NUMBER,
    "spark.task.reaper.enabled": TRUTH,
    "spark.task.reaper.killTimeout": TIME,
    "spark.task.reaper.pollingInterval": TIME,
}

#: Spark or a library of AWS's reads these without declaring them, so no list of Spark's has them.
UNDECLARED: Final[Mapping[str, Kind]] = {
    "spark.default.parallelism": NUMBER,
    "spark.hadoop.aws.glue.catalog.separator": SEPARATOR,
    "spark.hadoop.fs.s3.useRequesterPaysHeader": TRUTH,
    "spark.hadoop.hive.metastore.glue.catalogid": CATALOG_ID,
}

#: Already so, and not to be changed: a session may say what it has anyway, nothing else.
PINNED: Final[Mapping[str, str]] = {
    "spark.authenticate": "true",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}

#: Names that a table format or the user makes up, so that no list can hold them: catalogs of any
#: name with their options, and Iceberg's and Delta's own session settings. They are read inside the
#: session only. A catalog's ``hadoop.`` options would go around what is said of ``spark.hadoop.``.
CATALOG: Final = re.compile(rf"spark\.sql\.catalog\.{_NAME}(?:\.(?!hadoop\.){_PART})?")
FREE: Final = re.compile(
    rf"{CATALOG.pattern}"
    rf"|spark\.sql\.iceberg\.{_PART}"
    rf"|spark\.databricks\.delta\.(?:properties\.defaults|schema|retentionDurationCheck)\.{_PART}"
)
#: Addresses on this machine: what is reached through them is not the session's.
LOCAL: Final = re.compile(r"\s*(?:(?:jar:)*(?:file|local|jrt|har)\s*:|/|\\)", re.IGNORECASE)

#: Why whole families are refused: the first that fits a key. The last one fits every key.
REFUSED: Final[tuple[tuple[str, str], ...]] = (
    (r"spark\.athena\..*", "spark.athena. is reserved"),
    (r".*\.(extra|default)JavaOptions", "it would change the command line of a JVM"),
    (r".*[cC]lassPath.*", "it would change the class path of a JVM"),
    (
        r"spark\.(master|submit|deploy|launcher|app)(\..*)?",
        "where and how Spark runs is the server's",
    ),
    (
        r"spark\.(kubernetes|yarn|mesos|standalone|worker|history|ui)\..*",
        "it belongs to a cluster or a service that sessions do not run",
    ),
    (
        r"spark\.(files|archives|jars)(\..*)?|.*\.pyFiles",
        "it would read the server's files",
    ),
    (
        r"spark\.(driver|local|memory|storage|eventLog|log|logConf)(\..*)?",
        "the size, the folders and the logs of a driver are the server's",
    ),
    (
        r"spark\.(pyspark|r|executorEnv|plugins|extraListeners)(\..*)?|.*\.pyspark\.python",
        "it would start a program or a class of another's choice",
    ),
    (
        r"spark\.(ssl|authenticate|acls|admin|modify|network|rpc|io|port|blockManager|kerberos"
        r"|security|redaction)(\..*)?",
        "ports, keys and secrets of a driver are the server's",
    ),
    (r"spark\.metrics\..*", "metrics are the server's"),
    (r"spark\.hadoop\..*|spark\.hive\..*", "Hadoop's settings decide which files are reached"),
    (r".*", "nobody has found it safe yet"),
)
