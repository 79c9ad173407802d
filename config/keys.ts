import type { Config } from '../config.ts'

interface About {
  /** One line for people. */
  readonly about: string
  /** Never printed; may come from a file by …__FILE. */
  readonly secret?: true
}

/** What a key takes. Defaults and bounds are written as a user would write them. */
export type ConfigKey = About &
  (
    | { readonly kind: 'duration' | 'size'; readonly default: string; readonly min: string; readonly max: string }
    | { readonly kind: 'integer'; readonly default: number; readonly min: number; readonly max: number }
    | { readonly kind: 'text' | 'folder' | 'url'; readonly default: string; readonly empty?: true }
    | { readonly kind: 'choice'; readonly default: string; readonly of: readonly string[] }
    | { readonly kind: 'hosts' | 'routes'; readonly default: readonly [] }
  )

/** Every path of Config that holds a value, so that the table below can neither lack a key nor invent one. */
type Paths<T, Prefix extends string = ''> = {
  [K in keyof T & string]: T[K] extends string | number | readonly unknown[] ? `${Prefix}${K}` : Paths<T[K], `${Prefix}${K}.`>
}[keyof T & string]

export type ConfigPath = Paths<Config>

const port = { kind: 'integer', min: 0, max: 65_535 } as const
const count = { kind: 'integer', min: 1, max: 1_000_000_000 } as const
const size = { kind: 'size', min: '1KiB', max: '1024TiB' } as const

/**
 * Every key of the configuration. The loader, `config print`, `config schema`, the command line and docs/configuration.md
 * all come from this table.
 */
export const configTable = {
  data: { kind: 'folder', default: './data', about: 'Folder of everything that is kept; created when missing.' },

  'mqtt.host': { kind: 'text', default: '127.0.0.1', about: 'Address that MQTT listens on; 0.0.0.0 or :: for all.' },
  'mqtt.port': { ...port, default: 1883, about: 'Port of MQTT; 0 takes a free one and the log says which.' },
  'mqtt.maxPacketBytes': {
    kind: 'size',
    min: '1KiB',
    max: '16MiB',
    default: '256KiB',
    about: 'Largest packet of a connected client; a larger one closes its connection.'
  },
  'mqtt.maxKeepAlive': {
    kind: 'duration',
    min: '1s',
    max: '65535s',
    default: '65535s',
    about: 'Longest keep alive that an MQTT 5 client is granted; below the default one that asks for none is told to keep it too.'
  },

  'http.host': { kind: 'text', default: '127.0.0.1', about: 'Address that HTTP listens on.' },
  'http.port': { ...port, default: 8080, about: 'Port of the page and the API; 0 takes a free one and the log says which.' },
  'http.hosts': {
    kind: 'hosts',
    default: [],
    about: 'Host names, besides loopback ones, under which browsers may reach the API (against DNS rebinding).'
  },

  'access.anonymous': {
    kind: 'choice',
    of: ['loopback', 'any', 'never'],
    default: 'loopback',
    about: 'Who is served without credentials, over MQTT and HTTP: this machine, everybody or nobody.'
  },

  'limits.connections': {
    ...count,
    default: 20_000,
    about: 'MQTT connections in total, those that broke unnoticed with them; more are refused. Twice the number of devices is enough.'
  },
  'limits.connectionsPerAddress': { ...count, default: 20_000, about: 'MQTT connections from one address.' },
  'limits.acceptsPerSecond': { ...count, default: 5000, about: 'New MQTT connections a second; above it accepting waits.' },
  'limits.inFlight': {
    kind: 'integer',
    min: 1,
    max: 65_535,
    default: 1000,
    about:
      'Publishes of one connection that wait for their acknowledgement; above it the connection is not read. The receive maximum of MQTT 5.'
  },
  'limits.sendWindow': {
    kind: 'integer',
    min: 1,
    max: 65_535,
    default: 10_000,
    about: 'Messages of QoS 1 and 2 sent to one subscriber that it has not acknowledged; fewer where its own receive maximum is less.'
  },
  'limits.messagesPerSecond': {
    ...count,
    min: 0,
    default: 0,
    about: 'Publishes a second of one client id, and as many at once; above it the connection is not read. 0 is no limit.'
  },
  'limits.bytesPerSecond': {
    ...size,
    min: '0B',
    default: '0B',
    about: 'The same for the bytes of its PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets. 0B is no limit.'
  },
  'limits.heldBytes': { ...size, default: '256KiB', about: 'Bytes read on behind waiting publishes, for each connection.' },
  'limits.heldBytesTotal': {
    ...size,
    default: '64MiB',
    about: 'The same for all connections together; as much again may be held of unfinished packets.'
  },
  'limits.unreadBytesTotal': {
    ...size,
    default: '256MiB',
    about: 'Bytes that wait for all clients together to read them; above it the one that has read nothing for longest is disconnected.'
  },
  'limits.subscriptions': { ...count, default: 1000, about: 'Subscriptions of one client.' },
  'limits.retained': { ...count, default: 100_000, about: 'Retained messages in total.' },
  'limits.retainedBytes': { ...size, default: '64MiB', about: 'Bytes of all retained messages; one above it is not retained.' },
  'limits.remembered': {
    kind: 'integer',
    min: 1,
    max: 16_000_000,
    default: 500_000,
    about: 'Publishes of QoS 1 and 2 remembered for ten minutes, so that one sent again is stored once; above it the oldest are forgotten.'
  },
  'limits.rememberedBytes': { ...size, default: '32MiB', about: 'Memory for them, at 52 bytes a publish and 256 a client.' },
  'limits.sessions': {
    ...count,
    default: 10_000,
    about: 'Persistent sessions in total; at the limit one that is empty and has no connection makes room.'
  },
  'limits.queuedMessages': { ...count, default: 1000, about: 'Messages that wait for one offline session or one slow subscriber.' },
  'limits.queuedBytes': {
    ...size,
    default: '128MiB',
    about:
      'Bytes of the messages kept for all sessions together: those that wait, and those that are not acknowledged. Of these, clean sessions may have as many again.'
  },
  'limits.series': { ...count, default: 1_000_000, about: 'Series (source and field) in total; new ones above it become dead letters.' },
  'limits.seriesPerDevice': { ...count, default: 2000, about: 'Series of one device.' },
  'limits.payloadDepth': { kind: 'integer', min: 1, max: 64, default: 8, about: 'Nesting of a payload; a deeper one is a dead letter.' },
  'limits.payloadFields': {
    kind: 'integer',
    min: 1,
    max: 10_000,
    default: 256,
    about: 'Fields of a point after flattening; a wider payload is a dead letter.'
  },

  'journal.sync': {
    kind: 'choice',
    of: ['fsync', 'os', 'none'],
    default: 'fsync',
    about: 'When a publish is acknowledged: on disk, given to the operating system, or in memory.'
  },
  'journal.syncDelay': {
    kind: 'duration',
    min: '0ms',
    max: '1s',
    default: '2ms',
    about: 'Longest wait of a record for the group that it is written with.'
  },
  'journal.segmentBytes': { kind: 'size', min: '1MiB', max: '1GiB', default: '64MiB', about: 'Size at which a new segment file begins.' },
  'journal.maxBytes': {
    kind: 'size',
    min: '4MiB',
    max: '1024TiB',
    default: '4GiB',
    about: 'Bound of what is acknowledged and not yet in the store.'
  },
  'journal.reserve': { kind: 'size', min: '0B', max: '1024TiB', default: '256MiB', about: 'Disk space that the journal leaves free.' },
  'journal.whenFull': {
    kind: 'choice',
    of: ['reject-new', 'drop-oldest'],
    default: 'reject-new',
    about: 'When the journal is full: QoS 1 and 2 wait and QoS 0 is shed, or the oldest records are dropped. Both are counted.'
  },
  'journal.keep.time': {
    kind: 'duration',
    min: '0ms',
    max: '3650d',
    default: '24h',
    about: 'How long segments stay after all of them is stored.'
  },
  'journal.keep.bytes': {
    kind: 'size',
    min: '0B',
    max: '1024TiB',
    default: '1GiB',
    about: 'How many bytes of such segments stay; whichever bound comes first.'
  },

  'deadLetters.maxBytes': {
    kind: 'size',
    min: '1MiB',
    max: '1024TiB',
    default: '256MiB',
    about: 'Bound of the dead letters; the oldest go first, counted.'
  },

  'ingest.batchPoints': { kind: 'integer', min: 1, max: 1_000_000, default: 10_000, about: 'Points at which a batch is written.' },
  'ingest.batchBytes': { kind: 'size', min: '1KiB', max: '1GiB', default: '4MiB', about: 'Payload bytes at which a batch is written.' },
  'ingest.batchDelay': { kind: 'duration', min: '1ms', max: '60s', default: '250ms', about: 'Age at which a batch is written.' },
  'ingest.window.past': {
    kind: 'duration',
    min: '0ms',
    max: '36500d',
    default: '400d',
    about: 'How far before its receipt the time of a reading may lie.'
  },
  'ingest.window.future': {
    kind: 'duration',
    min: '0ms',
    max: '3650d',
    default: '10m',
    about: 'How far after its receipt the time of a reading may lie.'
  },

  'store.kind': {
    kind: 'choice',
    of: ['embedded', 'influx'],
    default: 'embedded',
    about: 'Where points are kept: a DuckDB file in the data folder, or InfluxDB.'
  },
  'store.queryTimeout': { kind: 'duration', min: '100ms', max: '1h', default: '30s', about: 'Longest run of one query.' },
  'store.embedded.memory': {
    kind: 'size',
    min: '64MiB',
    max: '1TiB',
    default: '256MiB',
    about: 'Memory limit of DuckDB. The default is a quarter of the RAM where that is less, 64MiB at least.'
  },
  'store.embedded.retention': {
    kind: 'duration',
    min: '1h',
    max: '36500d',
    default: '400d',
    about: 'Age at which points are deleted from the embedded store.'
  },
  'store.influx.url': { kind: 'url', default: 'http://127.0.0.1:8086', about: 'Address of InfluxDB.' },
  'store.influx.org': { kind: 'text', default: 'tidegate', about: 'Organisation in InfluxDB.' },
  'store.influx.bucket': { kind: 'text', default: 'tidegate', about: 'Bucket (InfluxDB 1: database).' },
  'store.influx.token': { kind: 'text', default: '', empty: true, secret: true, about: 'Token for InfluxDB.' },
  'store.influx.timeout': { kind: 'duration', min: '100ms', max: '10m', default: '10s', about: 'Longest wait for one answer of InfluxDB.' },

  'stream.ringBytes': {
    kind: 'size',
    min: '64KiB',
    max: '1GiB',
    default: '16MiB',
    about: 'Events kept in memory for streams that resume.'
  },
  'stream.clients': { kind: 'integer', min: 1, max: 10_000, default: 100, about: 'Live streams at once.' },

  routes: {
    kind: 'routes',
    default: [],
    about: 'Own routes, in order, before the built-in ones: topic, measurement, payload (auto, json, scalar, line), ignore, integers.'
  },

  'log.level': {
    kind: 'choice',
    of: ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    default: 'info',
    about: 'Least level that is logged.'
  }
} as const satisfies Record<ConfigPath, ConfigKey>

/** Every path of the table, in its order. */
export const configPaths: readonly string[] = Object.keys(configTable)

const byPath: ReadonlyMap<string, ConfigKey> = new Map(Object.entries(configTable))

/** The entry of a path, undefined for a path that is not one. */
export function configKey(path: string): ConfigKey | undefined {
  return byPath.get(path)
}

/** Flags of start, demo and config that have a name of their own; any key at all can be set by `--set key=value`. */
export const configFlags: readonly { readonly flag: string; readonly path: ConfigPath }[] = [
  { flag: '--data', path: 'data' },
  { flag: '--mqtt-host', path: 'mqtt.host' },
  { flag: '--mqtt-port', path: 'mqtt.port' },
  { flag: '--http-host', path: 'http.host' },
  { flag: '--http-port', path: 'http.port' },
  { flag: '--anonymous', path: 'access.anonymous' },
  { flag: '--store', path: 'store.kind' },
  { flag: '--log-level', path: 'log.level' }
]

/** The environment variable of a key: journal.syncDelay is TIDEGATE__JOURNAL__SYNC_DELAY. */
export function variableOf(path: string): string {
  const parts = path.split('.').map(part => part.replaceAll(/[A-Z]/g, capital => `_${capital}`).toUpperCase())
  return ['TIDEGATE', ...parts].join('__')
}
