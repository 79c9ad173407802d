import type { Logger } from 'pino'
import { JournalCursor } from './cursor.ts'
import { nodeFiles, type FilePort } from './files.ts'
import type { JournalBatch } from './record.ts'
import { listSegments } from './segments.ts'

export interface ScanOptions {
  /** Folder of the segments. */
  readonly folder: string
  /** First ordinal; default the oldest that is kept. */
  readonly from?: number
  /** Ordinal behind the last one; default where the files end. While a journal is written, give its `durable`. */
  readonly to?: number
  readonly log: Logger
  /** Whether damaged bytes are copied to the folder `quarantine`; default true. Without it nothing is written. */
  readonly quarantine?: boolean
  /** Default: the disk. */
  readonly files?: FilePort
}

const batchRecords = 1000
const batchBytes = 1024 * 1024

/** What a folder of segments holds, oldest first, in batches that together have every ordinal of the range once. */
export async function* scan(options: ScanOptions): AsyncGenerator<JournalBatch, void, void> {
  const files = options.files ?? nodeFiles
  const { folder, log, quarantine = true } = options
  const oldest = (await listSegments(files, folder))[0]?.first
  if (oldest === undefined && options.from === undefined) return
  const cursor = new JournalCursor({ files, folder, from: options.from ?? oldest ?? 0, log, quarantine })
  try {
    for (;;) {
      const batch = await cursor.next(options.to ?? Infinity, batchRecords, batchBytes)
      if (batch.to === batch.from) return
      yield batch
    }
  } finally {
    await cursor.close()
  }
}
