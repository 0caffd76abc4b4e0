package sparkowl.delta

import java.io.FileNotFoundException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Paths, StandardOpenOption}
import java.util.{Iterator, UUID}

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path

/** Delta's log in a bucket that is a folder: of two sessions that write one version, one wins.
  *
  * Delta asks of a store that a version appears whole, once, and is there at once for everybody.
  * None of its own stores can promise that for a folder: they look whether the file is there, then
  * rename over it. A hard link is made only where there is nothing of that name.
  */
class FolderLogStore(conf: Configuration) extends io.delta.storage.HadoopFileSystemLogStore(conf) {

  override def write(
      path: Path, lines: Iterator[String], overwrite: java.lang.Boolean, conf: Configuration): Unit = {
    val system = path.getFileSystem(conf)
    if (!system.exists(path.getParent)) {
      throw new FileNotFoundException(s"No such folder: ${path.getParent}")
    }
    val folder = Paths.get(system.resolvePath(path.getParent).toUri.getPath)
    val draft = folder.resolve(s".${path.getName}.${UUID.randomUUID}.tmp")
    try {
      val file = FileChannel.open(draft, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)
      try {
        while (lines.hasNext) {
          val line = ByteBuffer.wrap((lines.next() + "\n").getBytes(UTF_8))
          while (line.hasRemaining) file.write(line)
        }
        file.force(true)
      } finally file.close()
      val target = folder.resolve(path.getName)
      if (overwrite) {
        Files.move(draft, target, java.nio.file.StandardCopyOption.ATOMIC_MOVE)
      } else {
        Files.createLink(target, draft)
      }
    } finally Files.deleteIfExists(draft)
  }

  override def isPartialWriteVisible(path: Path, conf: Configuration): java.lang.Boolean = false
}
