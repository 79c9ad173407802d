/** The whole configuration, resolved: durations in milliseconds, sizes in bytes, defaults filled in. */
export interface Config {
  /** The data folder, absolute. */
  readonly data: string
  readonly mqtt: {
    readonly host: string
    /** 0 takes a free port; the log says which. */
    readonly port: number
    /** Largest packet accepted after CONNECT, in bytes. */
    readonly maxPacketBytes: number
    /** Longest keep alive of a client of MQTT 5, in ms; below 65535 s it holds for those that ask for none too. */
    readonly maxKeepAlive: number
  }
  readonly http: {
    readonly host: string
    readonly port: number
    /** Host header values accepted besides loopback names. */
    readonly hosts: readonly string[]
  }
  readonly access: { readonly anonymous: 'loopback' | 'any' | 'never' }
  readonly limits: {
    /** Sockets in total and per address. */
    readonly connections: number
    readonly connectionsPerAddress: number
    /** New sockets a second; above it accepting waits. */
    readonly acceptsPerSecond: number
    /** QoS 1 and 2 publishes of one connection that wait for their acknowledgement; above it the socket is not read. */
    readonly inFlight: number
    /** Publishes and bytes a second of one client, 0 for any; above it the socket is not read. */
    readonly messagesPerSecond: number
    readonly bytesPerSecond: number
    /** Bytes read on behind waiting publishes, per connection. */
    readonly heldBytes: number
    /** Bytes held for all connections together behind waiting publishes, and as much again of unfinished packets. */
    readonly heldBytesTotal: number
    /** Bytes that wait for all clients together to read them. */
    readonly unreadBytesTotal: number
    readonly sendWindow: number
    /** Subscriptions of one client. */
    readonly subscriptions: number
    /** Retained messages in total, and their bytes. */
    readonly retained: number
    readonly retainedBytes: number
    /** Publishes of QoS 1 and 2 remembered to recognise those sent again, and their bytes. */
    readonly remembered: number
    readonly rememberedBytes: number
    /** Persistent sessions in total. */
    readonly sessions: number
    /** Messages queued for one offline session or one slow subscriber. */
    readonly queuedMessages: number
    /** Bytes of the messages queued for all persistent sessions together. */
    readonly queuedBytes: number
    /** Series in total and of one device. */
    readonly series: number
    readonly seriesPerDevice: number
    /** Nesting and number of fields of one payload. */
    readonly payloadDepth: number
    readonly payloadFields: number
  }
  readonly journal: {
    readonly sync: 'fsync' | 'os' | 'none'
    readonly syncDelay: number
    readonly segmentBytes: number
    /** Bound of what is not committed yet. */
    readonly maxBytes: number
    /** Disk space left free. */
    readonly reserve: number
    readonly whenFull: 'reject-new' | 'drop-oldest'
    readonly keep: { readonly time: number; readonly bytes: number }
  }
  readonly deadLetters: { readonly maxBytes: number }
  readonly ingest: {
    readonly batchPoints: number
    readonly batchBytes: number
    readonly batchDelay: number
    /** Device times are used from received − past to received + future. */
    readonly window: { readonly past: number; readonly future: number }
  }
  readonly store: {
    readonly kind: 'embedded' | 'influx'
    /** Longest one query may run. */
    readonly queryTimeout: number
    readonly embedded: { readonly memory: number; readonly retention: number }
    readonly influx: {
      readonly url: string
      readonly org: string
      readonly bucket: string
      readonly token: string
      readonly timeout: number
    }
  }
  readonly stream: { readonly ringBytes: number; readonly clients: number }
  readonly routes: readonly RouteConfig[]
  readonly log: { readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' }
}

/** One user's route: which topics, and what becomes of their payloads. */
export interface RouteConfig {
  /** Topic pattern: levels, `{name}` for one level, `{name…}` or `{name...}` for one or more; an MQTT filter for ignore. */
  readonly topic: string
  readonly measurement?: string
  readonly payload?: 'auto' | 'json' | 'scalar' | 'line'
  readonly ignore?: boolean
  /** Fields that are integers. */
  readonly integers?: readonly string[]
}
