import { TidegateError } from '../errors.ts'
import type { FilePort } from '../journal/files.ts'
import { acceptTarget, type BackupTarget } from './target.ts'
import { writeBackup, type BackupReport, type BackupSources } from './write-backup.ts'

/** Backups of a data folder that is open, one at a time. */
export class Backups {
  readonly #data: string
  readonly #files: FilePort
  readonly #stop = new AbortController()
  #running: Promise<unknown> | undefined
  /** Since the start. */
  made = 0
  failed = 0
  /** How long the last one kept writes to the database waiting. */
  lastHeldMs = 0

  constructor(data: string, files: FilePort) {
    this.#data = data
    this.#files = files
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /**
   * Writes a backup to the target, if it may be written there.
   * @throws TidegateError TG_BACKUP_RUNNING, TG_BACKUP_REFUSED, TG_BACKUP_UNWRITABLE, TG_QUERY_CANCELLED when the signal
   *   aborts, TG_STOPPING when the service ends
   */
  async make(target: BackupTarget, open: (signal: AbortSignal) => BackupSources, signal: AbortSignal): Promise<BackupReport> {
    if (this.#stop.signal.aborted) throw stopping()
    if (this.#running !== undefined) throw new TidegateError('TG_BACKUP_RUNNING', 'another backup is being made: try again when it is done')
    const either = AbortSignal.any([this.#stop.signal, signal])
    const making = acceptTarget(this.#files, target, this.#data).then(async folder => await writeBackup(folder, open(either), either))
    this.#running = making
    try {
      const report = await making
      this.made += 1
      this.lastHeldMs = report.heldMs
      return report
    } catch (error) {
      if (!(error instanceof TidegateError && error.code === 'TG_BACKUP_REFUSED')) this.failed += 1
      throw this.#stop.signal.aborted ? stopping() : error
    } finally {
      this.#running = undefined
    }
  }

  /** Ends a backup that runs, and takes no other. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#running?.catch(() => undefined)
  }
}

function stopping(): TidegateError {
  return new TidegateError('TG_STOPPING', 'the service is stopping')
}
