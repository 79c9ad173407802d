/**
 * Every error that Tidegate itself raises, in one table. docs/errors.md lists exactly these; a test holds both together.
 * `outcome`: retry = nothing is lost, the same call may succeed later; reject = the input is at fault, trying again is
 * useless; bug = neither, the data is kept. `status` is the HTTP status of a problem+json answer with this code.
 */
export const errorTable = {
  TG_BUG: { title: 'Unexpected failure', outcome: 'bug', status: 500 },

  // configuration and start
  TG_CONFIG_INVALID: { title: 'The configuration has faults', outcome: 'reject', status: 500 },
  TG_OPTION_INVALID: { title: 'A command line option is wrong', outcome: 'reject', status: 500 },
  TG_PORT_TAKEN: { title: 'A port is taken', outcome: 'reject', status: 500 },
  TG_DATA_UNWRITABLE: { title: 'The data folder cannot be written', outcome: 'reject', status: 500 },
  TG_DATA_IN_USE: { title: 'The data folder is in use by another process', outcome: 'reject', status: 500 },

  // readiness
  TG_STARTING: { title: 'Tidegate is starting', outcome: 'retry', status: 503 },
  TG_STOPPING: { title: 'Tidegate is stopping', outcome: 'retry', status: 503 },

  // journal
  TG_JOURNAL_FULL: { title: 'The journal is full', outcome: 'retry', status: 503 },
  TG_JOURNAL_FAILING: { title: 'The journal cannot be written', outcome: 'retry', status: 503 },
  TG_JOURNAL_DAMAGED: { title: 'Records of the journal are damaged or missing', outcome: 'reject', status: 500 },
  TG_JOURNAL_CLOSED: { title: 'The journal is closed', outcome: 'retry', status: 503 },

  // ledger
  TG_LEDGER_UNBALANCED: { title: 'The ledger does not balance', outcome: 'bug', status: 500 },

  // stores
  TG_STORE_UNAVAILABLE: { title: 'The store does not answer', outcome: 'retry', status: 503 },
  TG_STORE_REFUSED: { title: 'The store refuses the credentials or the bucket', outcome: 'retry', status: 503 },
  TG_STORE_UNREADABLE: { title: 'The database file cannot be opened', outcome: 'reject', status: 500 },
  TG_STORE_FORGOT: { title: 'The store may have lost readings that the journal does not keep any more', outcome: 'reject', status: 500 },
  TG_QUERY_BUSY: { title: 'Too many queries are waiting', outcome: 'retry', status: 503 },
  TG_QUERY_CANCELLED: { title: 'The query was cancelled', outcome: 'retry', status: 499 },
  TG_QUERY_TIMEOUT: { title: 'The query took too long', outcome: 'retry', status: 504 },
  TG_QUERY_TOO_LARGE: { title: 'The query needs more memory than it may have', outcome: 'reject', status: 422 },

  // backup and restore
  TG_BACKUP_REFUSED: { title: 'A backup may not be written there', outcome: 'reject', status: 403 },
  TG_BACKUP_RUNNING: { title: 'Another backup is being made', outcome: 'retry', status: 409 },
  TG_BACKUP_UNWRITABLE: { title: 'The backup cannot be written', outcome: 'retry', status: 507 },
  TG_BACKUP_INVALID: { title: 'What is to be restored is no whole backup', outcome: 'reject', status: 422 },
  TG_DATA_NOT_EMPTY: { title: 'The folder to restore into is not empty', outcome: 'reject', status: 409 },
  TG_RESTORE_UNFINISHED: { title: 'The data folder holds a restore that was not finished', outcome: 'reject', status: 500 },

  // HTTP
  TG_PARAMETER_INVALID: { title: 'A parameter is wrong', outcome: 'reject', status: 400 },
  TG_REQUEST_INVALID: { title: 'The request is malformed', outcome: 'reject', status: 400 },
  TG_BODY_INVALID: { title: 'The body is wrong', outcome: 'reject', status: 400 },
  TG_BODY_TOO_LARGE: { title: 'The body is too large', outcome: 'reject', status: 413 },
  TG_MEDIA_TYPE: { title: 'The content type is not accepted here', outcome: 'reject', status: 415 },
  TG_HOST_REFUSED: { title: 'The Host header is not one of this server', outcome: 'reject', status: 403 },
  TG_ORIGIN_REFUSED: { title: 'The request comes from another origin', outcome: 'reject', status: 403 },
  TG_ANONYMOUS_REFUSED: { title: 'Access without credentials is not allowed from there', outcome: 'reject', status: 401 },
  TG_DEVICE_UNKNOWN: { title: 'No such device', outcome: 'reject', status: 404 },
  TG_ROUTE_UNKNOWN: { title: 'No such route', outcome: 'reject', status: 404 },
  TG_POSITION_FOREIGN: { title: 'The position belongs to another journal', outcome: 'reject', status: 400 },
  TG_POSITION_TIMEOUT: { title: 'The record has no outcome yet', outcome: 'retry', status: 504 },
  TG_REPLAY_RUNNING: { title: 'A replay is running', outcome: 'retry', status: 409 },
  TG_STREAM_BUSY: { title: 'Too many clients follow the stream', outcome: 'retry', status: 503 },
  TG_DEAD_LETTERS_BUSY: { title: 'Dead letters are being replayed or purged', outcome: 'retry', status: 503 },
  TG_EDGE_BUSY: { title: 'Too many publishes are waiting', outcome: 'retry', status: 503 }
} as const satisfies Record<string, { title: string; outcome: 'retry' | 'reject' | 'bug'; status: number }>

export type ErrorCode = keyof typeof errorTable

/** The one error class: a code of the table, a message for people, and the values it is about. */
export class TidegateError extends Error {
  override readonly name = 'TidegateError'
  readonly code: ErrorCode
  /** Values for the log and the problem answer, for example `{ parameter: 'from' }`. */
  readonly context: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly context?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.context = options.context ?? {}
  }

  get outcome(): 'retry' | 'reject' | 'bug' {
    return errorTable[this.code].outcome
  }

  get status(): number {
    return errorTable[this.code].status
  }
}
