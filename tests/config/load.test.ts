import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { configPaths, variableOf } from '../../config/keys.ts'
import type { ConfigSources } from '../../config/layers.ts'
import { defaultConfig, loadConfig, resolveConfig } from '../../config/load.ts'

const MiB = 1024 ** 2

function from(yaml: string | undefined, more: ConfigSources & { files?: Record<string, string> } = {}): ConfigSources {
  const files: Record<string, string> = { ...more.files, ...(yaml === undefined ? {} : { '/srv/tidegate.yaml': yaml }) }
  return { folder: '/srv', readFile: file => files[file], memoryBytes: 8 * 1024 ** 3, ...more }
}

function faultsOf(sources: ConfigSources): string[] {
  return resolveConfig(sources).faults.map(({ where, key, message }) => `${where} | ${key} | ${message}`)
}

describe('defaults', () => {
  it('are those of the product without any file, variable or flag', () => {
    const config = loadConfig(from(undefined))
    expect(config.data).toBe('/srv/data')
    expect(config.mqtt).toEqual({ host: '127.0.0.1', port: 1883, maxPacketBytes: 262_144, maxKeepAlive: 65_535_000 })
    expect(config.http).toEqual({ host: '127.0.0.1', port: 8080, hosts: [] })
    expect(config.access.anonymous).toBe('loopback')
    expect(config.journal).toEqual({
      sync: 'fsync',
      syncDelay: 2,
      segmentBytes: 64 * MiB,
      maxBytes: 4096 * MiB,
      reserve: 256 * MiB,
      whenFull: 'reject-new',
      keep: { time: 86_400_000, bytes: 1024 * MiB }
    })
    expect(config.ingest).toEqual({
      batchPoints: 10_000,
      batchBytes: 4 * MiB,
      batchDelay: 250,
      window: { past: 34_560_000_000, future: 600_000 }
    })
    expect(config.store.embedded).toEqual({ memory: 256 * MiB, retention: 34_560_000_000 })
  })

  it.each([
    [64 * MiB, 64],
    [512 * MiB, 128],
    [1024 * MiB, 256],
    [65_536 * MiB, 256]
  ])('of %d bytes of RAM the embedded store gets %d MiB', (memoryBytes, mebibytes) => {
    expect(loadConfig(from(undefined, { memoryBytes })).store.embedded.memory).toBe(mebibytes * MiB)
  })

  it('defaultConfig reads no file and no variable', () => {
    const { data, ...rest } = defaultConfig('/tmp/somewhere')
    expect(data).toBe('/tmp/somewhere')
    const { data: _, ...plain } = loadConfig(from(undefined))
    expect({ ...rest, store: plain.store }).toEqual(plain)
  })
})

describe('the layers', () => {
  it('a file overrides the defaults, a variable the file, a flag the variable', () => {
    const yaml = 'mqtt:\n  port: 2001\n  host: 192.0.2.1\nhttp:\n  port: 2002\nlog:\n  level: warn\n'
    const { config, origins } = resolveConfig(
      from(yaml, {
        environment: { TIDEGATE__HTTP__PORT: '2003', TIDEGATE__MQTT__PORT: '2004' },
        argvFlags: [{ flag: '--mqtt-port', path: 'mqtt.port', text: '2005' }]
      })
    )
    expect(config?.mqtt).toMatchObject({ port: 2005, host: '192.0.2.1' })
    expect(config?.http.port).toBe(2003)
    expect(config?.log.level).toBe('warn')
    expect(Object.fromEntries(origins)).toEqual({
      'mqtt.port': '--mqtt-port',
      'mqtt.host': 'tidegate.yaml:3:9',
      'http.port': 'TIDEGATE__HTTP__PORT',
      'log.level': 'tidegate.yaml:7:10'
    })
  })

  it('every key can be set by its variable and by --set', () => {
    for (const key of configPaths) {
      const wrong = { folder: '/srv', readFile: () => undefined }
      expect(faultsOf({ ...wrong, environment: { [variableOf(key)]: '\u0007' } }).map(fault => fault.split(' | ')[1])).toEqual([key])
      expect(faultsOf({ ...wrong, argvFlags: [{ flag: '--set', path: key, text: '\u0007' }] })).toHaveLength(1)
    }
    expect(variableOf('journal.keep.bytes')).toBe('TIDEGATE__JOURNAL__KEEP__BYTES')
    expect(variableOf('deadLetters.maxBytes')).toBe('TIDEGATE__DEAD_LETTERS__MAX_BYTES')
  })

  it('lists come as JSON from the environment', () => {
    const config = loadConfig(
      from(undefined, {
        environment: {
          TIDEGATE__HTTP__HOSTS: '["pi.lan","[fe80::1]:8080"]',
          TIDEGATE__ROUTES: '[{"topic":"a/{device}","payload":"scalar","ignore":false,"integers":["n"]}]'
        }
      })
    )
    expect(config.http.hosts).toEqual(['pi.lan', '[fe80::1]:8080'])
    expect(config.routes).toEqual([{ topic: 'a/{device}', payload: 'scalar', ignore: false, integers: ['n'] }])
  })

  it('a secret comes from a file, without the line break at its end', () => {
    const environment = { TIDEGATE__STORE__INFLUX__TOKEN__FILE: '/run/secrets/influx' }
    expect(loadConfig(from(undefined, { environment, files: { '/run/secrets/influx': 's3cret=\n' } })).store.influx.token).toBe('s3cret=')
    expect(faultsOf(from(undefined, { environment }))).toEqual([
      'TIDEGATE__STORE__INFLUX__TOKEN__FILE | store.influx.token | there is no file /run/secrets/influx'
    ])
    const both = { ...environment, TIDEGATE__STORE__INFLUX__TOKEN: 'x' }
    expect(faultsOf(from(undefined, { environment: both, files: { '/run/secrets/influx': 's' } }))).toEqual([
      'TIDEGATE__STORE__INFLUX__TOKEN__FILE | store.influx.token | TIDEGATE__STORE__INFLUX__TOKEN is set too: keep one of both'
    ])
  })

  it('variables of others, with one underscore, are left alone', () => {
    const environment = { TIDEGATE_CI: '1', TIDEGATE_MQTT_PORT: 'tcp://10.0.0.1:1883', PATH: '/bin' }
    expect(loadConfig(from(undefined, { environment })).mqtt.port).toBe(1883)
  })

  it('a file named by --config must be there, ./tidegate.yaml need not', () => {
    expect(faultsOf(from('mqtt: { port: 1 }', { configFile: 'other.yaml' }))).toEqual(['--config |  | there is no file other.yaml'])
    expect(loadConfig(from(undefined, { configFile: 'x/o.yaml', files: { '/srv/x/o.yaml': 'mqtt: { port: 9 }' } })).mqtt.port).toBe(9)
  })

  it('reads real files, and says why one cannot be read', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-config-'))
    try {
      expect(loadConfig({ folder }).mqtt.port).toBe(1883)
      await writeFile(path.join(folder, 'tidegate.yaml'), 'mqtt:\n  port: 4711\n')
      expect(loadConfig({ folder }).mqtt.port).toBe(4711)
      expect(faultsOf({ folder, configFile: '.' })[0]).toMatch(/^--config \| {2}\| \. cannot be read: EISDIR/)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe('YAML', () => {
  it('an unquoted token or number stays the text that was written', () => {
    const config = loadConfig(from('store:\n  influx:\n    token: 0123e5\n    org: 12\n    bucket: true\n'))
    expect(config.store.influx).toMatchObject({ token: '0123e5', org: '12', bucket: 'true' })
  })

  it('an empty file, an empty section and comments alone are fine', () => {
    for (const yaml of ['', '# nothing\n', 'mqtt:\n  # port: 1\n', '---\n']) expect(loadConfig(from(yaml)).mqtt.port).toBe(1883)
  })

  it('anchors work, and one that contains itself ends', () => {
    expect(loadConfig(from('http: { port: &p 4001 }\nmqtt: { port: *p, host: 192.0.2.2 }\n')).mqtt.port).toBe(4001)
    expect(faultsOf(from('routes: &r\n  - *r\n'))).not.toEqual([])
    expect(faultsOf(from('mqtt: &m\n  mqtt: *m\n'))).toHaveLength(1)
  })

  it('syntax faults are given with line and column', () => {
    expect(faultsOf(from('mqtt:\n  port: [1\n'))[0]).toMatch(/^tidegate\.yaml:3:1 \| {2}\| is not valid YAML: /)
    expect(faultsOf(from('mqtt: { port: 1 }\nmqtt: { port: 2 }\n'))[0]).toMatch(/^tidegate\.yaml:2:1 .*unique/)
    expect(faultsOf(from('mqtt: { port: 1 }\n---\nhttp: {}\n'))[0]).toMatch(/not valid YAML/)
  })

  it('a file that is not a map, and a section that is not one, are faults', () => {
    expect(faultsOf(from('- a\n'))).toEqual(['tidegate.yaml:1:1 |  | the file takes sections such as "mqtt:"'])
    expect(faultsOf(from('journal:\n  keep: 5s\n'))).toEqual([
      'tidegate.yaml:2:9 | journal.keep | is a section with the keys time or bytes'
    ])
    expect(faultsOf(from('mqtt:\n  port: [1]\n  host:\n'))).toEqual([
      'tidegate.yaml:2:9 | mqtt.port | takes one value, not a list',
      'tidegate.yaml:3:8 | mqtt.host | has no value: give it one or remove the key'
    ])
  })
})

describe('faults', () => {
  it('all are listed at once, each with place, key, reason and what to do', () => {
    const yaml =
      'mqtt:\n  prot: 1\njournal:\n  syncDelay: 5\n  sync: fsnyc\nroutes:\n  - topic: a\n    paylod: x\n  - payload: yaml\n    topic: b\n  - ignore: true\n'
    const sources = from(yaml, {
      environment: { TIDEGATE__JOURNAL__SYNCDELAY: '5ms', TIDEGATE__MQTT: '1', TIDEGATE__HTTP__HOSTS: 'a' },
      argvFlags: [
        { flag: '--set', path: 'mqtt.syncDelay', text: '1ms' },
        { flag: '--http-port', path: 'http.port', text: '' }
      ]
    })
    expect(new Set(faultsOf(sources))).toEqual(
      new Set([
        'tidegate.yaml:2:3 | mqtt.prot | is not a key: did you mean mqtt.port?',
        'tidegate.yaml:4:14 | journal.syncDelay | "5" has no unit: write 5ms, 5s, 5m, 5h or 5d',
        'tidegate.yaml:5:9 | journal.sync | "fsnyc" is not one of fsync, os or none: did you mean fsync?',
        'tidegate.yaml:8:5 | routes[0].paylod | is not a key of a route: did you mean payload?',
        'tidegate.yaml:9:14 | routes[1].payload | "yaml" is not one of auto, json, scalar or line',
        'tidegate.yaml:11:5 | routes[2] | has no topic: add one',
        'TIDEGATE__JOURNAL__SYNCDELAY |  | TIDEGATE__JOURNAL__SYNCDELAY is not a variable of Tidegate: did you mean TIDEGATE__JOURNAL__SYNC_DELAY?',
        'TIDEGATE__MQTT |  | TIDEGATE__MQTT is a section: name one of its keys, such as TIDEGATE__MQTT__HOST',
        'TIDEGATE__HTTP__HOSTS | http.hosts | "a" is not JSON: write a list such as ["a","b"]',
        '--set | mqtt.syncDelay | is not a key: did you mean journal.syncDelay?',
        '--http-port | http.port | "" is not a whole number from 0 to 65535'
      ])
    )
    expect(() => loadConfig(sources)).toThrow(
      expect.objectContaining({
        code: 'TG_CONFIG_INVALID',
        message: expect.stringMatching(/^11 faults in the configuration:\n(.*\n){10}.*$/)
      })
    )
  })

  it('a single fault is one line', () => {
    expect(() => loadConfig(from('mqtt: { port: x }'))).toThrow(
      expect.objectContaining({ message: 'mqtt.port: "x" is not a whole number from 0 to 65535 (tidegate.yaml:1:15)' })
    )
  })

  it('keys of JavaScript objects are unknown keys like any other', () => {
    for (const key of ['__proto__', 'constructor', 'toString', '<<']) {
      expect(faultsOf(from(`${key}: { port: 1 }\n`))).toHaveLength(1)
      expect(faultsOf(from(`mqtt:\n  ${key}: 1\n`))).toHaveLength(1)
      expect(faultsOf(from(undefined, { environment: { [`TIDEGATE__${key}`]: '1' } }))).toHaveLength(1)
    }
  })

  it('a fault in a value that another layer overrides is still a fault', () => {
    expect(faultsOf(from('mqtt: { port: x }', { argvFlags: [{ flag: '--mqtt-port', path: 'mqtt.port', text: '1' }] }))).toHaveLength(1)
  })

  it('values out of bounds name the bounds', () => {
    expect(faultsOf(from('journal: { syncDelay: 2s, segmentBytes: 1KiB }'))).toEqual([
      'tidegate.yaml:1:23 | journal.syncDelay | 2s is not from 0ms to 1s',
      'tidegate.yaml:1:41 | journal.segmentBytes | 1KiB is not from 1MiB to 1GiB'
    ])
  })

  it('keys that contradict each other are faults', () => {
    expect(faultsOf(from('http: { port: 1883 }'))).toEqual([
      'tidegate.yaml:1:15 | mqtt.port | is 1883 like http.port: choose another for one of both'
    ])
    expect(faultsOf(from('journal: { maxBytes: 32MiB }'))).toEqual([
      'tidegate.yaml:1:22 | journal.segmentBytes | is more than journal.maxBytes'
    ])
    expect(loadConfig(from('http: { port: 0 }\nmqtt: { port: 0 }')).mqtt.port).toBe(0)
  })

  it('a secret is never in a message', () => {
    const faults = faultsOf(from(undefined, { environment: { TIDEGATE__STORE__INFLUX__TOKEN: 'hush-hush\u0000' } }))
    expect(faults).toHaveLength(1)
    expect(faults.join()).not.toContain('hush')
  })

  it('routes are checked by the function that is given, with their line', () => {
    const yaml = 'routes:\n  - topic: a/{x}\n  - topic: b/{y\n'
    const routeFaults: NonNullable<ConfigSources['routeFaults']> = routes =>
      routes.flatMap((route, index) => (route.topic.endsWith('{y') ? [{ index, message: 'has an open brace' }] : []))
    expect(faultsOf(from(yaml, { routeFaults }))).toEqual(['tidegate.yaml:3:5 | routes[1] | has an open brace'])
  })
})
