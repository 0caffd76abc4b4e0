"""Hive's metastore inside the JVM, put together and used over py4j. Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sparkowl.agent import buckets, jvm
from sparkowl.metastore.names import Files
from sparkowl.metastore.spec import KeeperSpec

_T = TypeVar("_T")
_SPARK: Final = "spark.hadoop."
#: Hive makes its tables in an empty database itself, and later versions of it find them.
_HIVE: Final[Mapping[str, str]] = {
    "datanucleus.schema.autoCreateAll": "true",
    "hive.metastore.schema.verification": "false",
    "hive.async.log.enabled": "false",
    # Of the pools that Hive knows, one that comes with Spark.
    "datanucleus.connectionPoolingType": "dbcp",
    # Else it would be a client of another one.
    "hive.metastore.uris": "",
}

#: What callers cannot ask, and neither Spark nor a table format does. The first three read
#: settings, or put a text in their place, where Hadoop fills in ``${other.setting}``: also a
#: password. The others take Java objects, of any class that a caller names.
WITHHELD: Final = (
    "get_config_value",
    "getMetaConf",
    "setMetaConf",
    "get_partitions_by_expr",
    "drop_partitions_req",
    "get_file_metadata_by_expr",
)


class Refused(Exception):
    """The JVM is gone, or Hive did not do as asked; the message is what it said."""


def properties(spec: KeeperSpec, mounted: Mapping[str, str]) -> dict[str, str]:
    """The metastore's whole configuration, on top of Hive's defaults."""
    made = dict(_HIVE) | {"hive.metastore.warehouse.dir": spec.warehouse}
    if spec.buckets_dir is not None:
        version = jvm.spark_version(jvm.spark_home())
        spark = buckets.spark_properties(mounted, spark_version=version)
        made |= {k.removeprefix(_SPARK): v for k, v in spark.items() if k.startswith(_SPARK)}
    if spec.umask & 0o070 == 0:
        made["fs.permissions.umask-mode"] = f"{spec.umask:03o}"
    return made | _database(spec) | dict(spec.properties)


def derby_url(spec: KeeperSpec) -> str:
    return f"jdbc:derby:;databaseName={Files(Path(spec.folder)).derby.name};create=true"


def _database(spec: KeeperSpec) -> dict[str, str]:
    named = "javax.jdo.option.Connection"
    if spec.database is None:
        return {f"{named}URL": derby_url(spec)}
    return {
        f"{named}URL": spec.database.url,
        f"{named}DriverName": "org.postgresql.Driver",
        f"{named}UserName": spec.database.user,
        f"{named}Password": spec.database.password,
    }


class Hive:
    """A metastore that answers. Used from many threads."""

    def __init__(self, found: tuple[int, str], gateway: Any, conf: Any, base: Any) -> None:
        self._found = found
        self._gateway = gateway
        self._conf = conf
        self._base = base
        metastore = gateway.jvm.org.apache.hadoop.hive.metastore
        self._handler = metastore.RetryingHMSHandler.getProxy(conf, base, True)

    @classmethod
    def assemble(cls, found: tuple[int, str], chosen: Mapping[str, str]) -> Hive:
        """As Hive's own main class does it; opens the database, and makes it when it is new."""

        def make() -> Hive:
            gateway = _connect(found)
            hive = gateway.jvm.org.apache.hadoop.hive
            conf = hive.conf.HiveConf()
            for key, value in chosen.items():
                conf.set(key, value)
            base = hive.metastore.HiveMetaStore.HMSHandler("sparkowl", conf, False)
            return cls(found, gateway, conf, base)

        return _told(make)

    def serve(self, socket_name: str) -> None:
        """Dial that socket, in the JVM, and answer what comes over it until it ends."""
        # One of our own: behind it is a thread of the JVM's, which holds what Hive keeps for each.
        gateway = _connect(self._found)
        try:
            _told(lambda: self._answer(gateway.jvm, socket_name))
        finally:
            with suppress(Exception):
                gateway.close()

    def _answer(self, machine: Any, socket_name: str) -> None:
        from py4j.protocol import Py4JError

        at = machine.java.net.UnixDomainSocketAddress.of(socket_name)
        line = machine.java.nio.channels.SocketChannel.open(at)
        streams, thrift = machine.java.nio.channels.Channels, machine.org.apache.thrift
        transport = thrift.transport.TIOStreamTransport(
            machine.java.io.BufferedInputStream(streams.newInputStream(line)),
            machine.java.io.BufferedOutputStream(streams.newOutputStream(line)),
        )
        protocol = thrift.protocol.TBinaryProtocol(transport)
        # Made here, so that its calls go by this thread's gateway.
        metastore = machine.org.apache.hadoop.hive.metastore
        processor = metastore.TSetIpAddressProcessor(self._handler)
        _withhold(machine, processor)
        base = machine.java.util.Optional.of(self._base).get()
        try:
            while True:
                processor.process(protocol, protocol)
        except Py4JError:
            # So the stream ends. Not raised: it would keep alive what the JVM must forget now.
            pass
        finally:
            line.close()
            base.shutdown()

    def mount(self, keys: Mapping[str, str], named: Iterable[str]) -> None:
        """Make buckets known that appeared since."""

        def work() -> None:
            for key, value in keys.items():
                self._conf.set(key, value)
            machine = self._gateway.jvm
            for bucket in named:
                for scheme in buckets.SCHEMES:
                    # Hadoop keeps a bucket's file system, also one from before it existed. The new
                    # one is found by threads that hold an older copy of the settings.
                    uri = machine.java.net.URI(f"{scheme}://{bucket}/")
                    machine.org.apache.hadoop.fs.FileSystem.get(uri, self._conf).close()
                    machine.org.apache.hadoop.fs.FileSystem.get(uri, self._conf)

        _told(work)

    def backup(self, target: str, url: str) -> None:
        """The embedded database, as it is at one moment, into a folder below ``target``."""

        def work() -> None:
            connection = self._gateway.jvm.java.sql.DriverManager.getConnection(url)
            try:
                call = connection.prepareCall("CALL SYSCS_UTIL.SYSCS_BACKUP_DATABASE(?)")
                call.setString(1, target)
                call.execute()
            finally:
                connection.close()

        _told(work)


def _withhold(machine: Any, processor: Any) -> None:
    """Take :data:`WITHHELD` away from a processor: for thrift there are no such methods then."""
    of_class = machine.java.lang.Class.forName("org.apache.thrift.TBaseProcessor")
    field = of_class.getDeclaredField("processMap")
    field.setAccessible(True)
    methods = field.get(processor)
    for name in WITHHELD:
        methods.remove(name)


def _connect(found: tuple[int, str]) -> Any:
    from py4j.java_gateway import GatewayParameters, JavaGateway

    port, secret = found
    return JavaGateway(gateway_parameters=GatewayParameters(port=port, auth_token=secret))


def _told(work: Callable[[], _T]) -> _T:
    from py4j.protocol import Py4JError

    try:
        return work()
    except (Py4JError, OSError, TypeError) as error:
        raise Refused(jvm.message_of(error)) from error
