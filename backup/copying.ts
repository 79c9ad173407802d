/** Copying in pieces, so that neither memory nor the event loop notices how large a file is. */
import { createHash } from 'node:crypto'
import { TidegateError } from '../errors.ts'
import { errnoOf, isNoSpace, readFully, writeFully, type FilePort } from '../journal/files.ts'

/** Hashing one takes well under a millisecond. */
const pieceBytes = 256 * 1024

/** What is read: a file, or a range of bytes that somebody holds still. */
export interface ByteSource {
  readonly bytes: number
  read(buffer: Uint8Array, length: number, position: number): Promise<number>
}

export interface CopyOptions {
  readonly files: FilePort
  /** Stops between two pieces. */
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes of each piece that was written; may throw to stop. */
  readonly onPiece?: ((bytes: number) => Promise<void>) | undefined
}

/** Writes a new file; returns its SHA-256. It is not durable yet: see `settleFile`. */
export async function copyTo(source: ByteSource, target: string, options: CopyOptions): Promise<string> {
  const { files, signal, onPiece } = options
  const fd = await files.open(target, 'create')
  try {
    return await digest(source, signal, async (piece, position) => {
      await writeFully(files, fd, piece, piece.length, position)
      await onPiece?.(piece.length)
    })
  } finally {
    await files.close(fd)
  }
}

/** The SHA-256 of a source, each piece handed to `use` on the way. */
export async function digest(
  source: ByteSource,
  signal: AbortSignal | undefined,
  use: (piece: Uint8Array, position: number) => Promise<void>
): Promise<string> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafeSlow(pieceBytes)
  for (let position = 0; position < source.bytes;) {
    signal?.throwIfAborted()
    const got = await source.read(buffer, Math.min(pieceBytes, source.bytes - position), position)
    if (got === 0) throw new TidegateError('TG_BUG', 'a file ended while it was read', { context: { position, bytes: source.bytes } })
    const piece = buffer.subarray(0, got)
    hash.update(piece)
    await use(piece, position)
    position += got
  }
  return hash.digest('hex')
}

/** Runs the work with a file open for reading, `bytes` of it or all. */
export async function withSource<T>(
  files: FilePort,
  filePath: string,
  bytes: number | undefined,
  work: (source: ByteSource) => Promise<T>
): Promise<T> {
  const fd = await files.open(filePath, 'read')
  try {
    const read: ByteSource['read'] = (buffer, length, position) => readFully(files, fd, buffer, length, position)
    return await work({ bytes: bytes ?? (await files.stat(filePath))?.bytes ?? 0, read })
  } finally {
    await files.close(fd)
  }
}

/** Returns when the bytes of a file survive a loss of power. */
export async function settleFile(files: FilePort, filePath: string): Promise<void> {
  const fd = await files.open(filePath, 'modify')
  try {
    await files.datasync(fd)
  } finally {
    await files.close(fd)
  }
}

/** A failure of the disk below a folder as people get it; errors of Tidegate pass as they are. */
export function unwritable(error: unknown, folder: string): unknown {
  if (error instanceof TidegateError || errnoOf(error) === undefined) return error
  const why = isNoSpace(error) ? 'the disk is full' : errnoOf(error)
  return new TidegateError('TG_BACKUP_UNWRITABLE', `the backup cannot be written to ${folder}: ${why}`, {
    context: { folder },
    cause: error
  })
}
