import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { Script } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { buildProgram } from '../../cli.ts'
import { loadConfig } from '../../config/load.ts'
import { metricTable } from '../../metrics.ts'
import { outcomes } from '../../telemetry.ts'
import { top } from '../layout/sources.ts'

interface Service {
  readonly image?: string
  readonly build?: string
  readonly environment?: Readonly<Record<string, string>>
  readonly ports?: readonly string[]
  readonly volumes?: readonly string[]
  readonly profiles?: readonly string[]
  readonly command?: readonly string[]
  readonly read_only?: boolean
  readonly depends_on?: Readonly<Record<string, unknown>>
}

const read = (file: string): string => readFileSync(path.join(top, file), 'utf8')
const compose: { services: Readonly<Record<string, Service>>; volumes: Readonly<Record<string, unknown>> } = parse(
  read('docker-compose.yml')
)
const services = Object.entries(compose.services)

/** A text as compose would fill it in with an empty environment. */
function filled(text: string): string {
  return text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')
}

/** The ENV of the Dockerfile's last stage. */
function imageEnvironment(): Record<string, string> {
  const last =
    read('Dockerfile')
      .split(/^FROM /m)
      .at(-1) ?? ''
  const env = /^ENV ((?:.*\\\n)*.*)$/m.exec(last)?.[1] ?? ''
  return Object.fromEntries([...env.matchAll(/(\w+)=(\S+)/g)].map(match => [match[1] ?? '', match[2] ?? '']))
}

describe('docker-compose.yml', () => {
  it('has the store, Tidegate, Grafana and the simulator as a profile', () => {
    expect(Object.keys(compose.services)).toEqual(['influxdb', 'tidegate', 'grafana', 'simulator'])
    expect(services.filter(([, service]) => service.profiles !== undefined).map(([name]) => name)).toEqual(['simulator'])
    expect(compose.services['influxdb']?.image).toMatch(/^influxdb:2\.\d+/)
  })

  it('sets variables for Tidegate that start would accept, and that make the store InfluxDB', () => {
    const own = Object.entries(compose.services['tidegate']?.environment ?? {}).map(([name, value]) => [name, filled(value)] as const)
    const environment: Record<string, string> = { ...imageEnvironment(), ...Object.fromEntries(own) }
    const config = loadConfig({ folder: '/app', environment, readFile: () => undefined })
    const influx = compose.services['influxdb']?.environment ?? {}
    expect(config.store.kind).toBe('influx')
    expect(config.store.influx).toMatchObject({
      url: 'http://influxdb:8086',
      org: influx['DOCKER_INFLUXDB_INIT_ORG'],
      bucket: influx['DOCKER_INFLUXDB_INIT_BUCKET'],
      token: filled(influx['DOCKER_INFLUXDB_INIT_ADMIN_TOKEN'] ?? '')
    })
    expect(config).toMatchObject({ data: '/data', mqtt: { host: '0.0.0.0' }, http: { host: '0.0.0.0' }, access: { anonymous: 'any' } })
  })

  it('sets no variable of Tidegate anywhere else', () => {
    for (const [name, { environment }] of services) {
      if (name !== 'tidegate') expect(Object.keys(environment ?? {}).filter(variable => variable.startsWith('TIDEGATE'))).toEqual([])
    }
  })

  it('publishes ports on 127.0.0.1 only', () => {
    const ports = services.flatMap(([, service]) => service.ports ?? [])
    expect(ports.length).toBeGreaterThan(3)
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/)
  })

  it('mounts what exists, and names every volume', () => {
    for (const volume of services.flatMap(([, service]) => service.volumes ?? [])) {
      const from = volume.split(':')[0] ?? ''
      expect(from.startsWith('./') ? existsSync(path.join(top, from)) : from in compose.volumes, volume).toBe(true)
    }
  })

  it('runs Tidegate with a read-only root and its data in a volume', () => {
    expect(compose.services['tidegate']).toMatchObject({ read_only: true, volumes: ['tidegate:/data'], cap_drop: ['ALL'] })
  })

  it("gives the simulator a command of this version, and the address of the service's name", () => {
    const command = compose.services['simulator']?.command ?? []
    const run = buildProgram({
      environment: {},
      folder: '/',
      print: String,
      complain: String,
      write: async () => undefined,
      exitWith: Number
    })
      .commands.find(candidate => candidate.name() === command[0])
      ?.commands.find(candidate => candidate.name() === command[1])
    const flags = command.filter(word => word.startsWith('--'))
    expect(run?.options.map(({ long }) => long)).toEqual(expect.arrayContaining(flags))
    expect(command).toEqual(expect.arrayContaining(['mqtt://tidegate:1883']))
  })
})

describe('the Dockerfile', () => {
  const stages = read('Dockerfile')
    .split(/^FROM /m)
    .slice(1)
  const last = stages.at(-1) ?? ''

  it('builds in stages and ships no development package', () => {
    expect(stages).toHaveLength(3)
    expect(stages[1]).toContain('npm ci --omit=dev')
    expect(last).not.toContain('npm')
    for (const copied of last.matchAll(/--from=(\w+)/g)) expect(read('Dockerfile')).toMatch(new RegExp(`^FROM .* AS ${copied[1]}$`, 'm'))
  })

  it('runs as a user without rights, with its data in a volume', () => {
    expect(last.match(/^USER (.*)$/m)?.[1]).toBe('node')
    expect(last).toMatch(/^VOLUME \/data$/m)
    expect(imageEnvironment()['TIDEGATE__DATA']).toBe('/data')
  })

  it('asks /healthz by Node, and the command that it names parses', () => {
    const command: unknown = JSON.parse(/HEALTHCHECK[\s\S]*?CMD (\[.*\])$/m.exec(last)?.[1] ?? 'null')
    expect(command).toEqual(['node', '-e', expect.stringContaining('/healthz')])
    const script = Array.isArray(command) ? String(command[2]) : ''
    expect(() => new Script(script)).not.toThrow()
  })

  it('copies only what the context has', () => {
    const ignored = read('.dockerignore').split('\n')
    for (const line of read('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
      for (const source of (line[1] ?? '').split(' ')) {
        expect(existsSync(path.join(top, source)), source).toBe(true)
        expect(ignored).not.toContain(source)
      }
    }
  })
})

describe('deploy/', () => {
  it("Grafana's data source asks the compose file's InfluxDB by InfluxQL, with its token", () => {
    const { datasources } = parse(read('deploy/grafana/provisioning/datasources/tidegate.yaml'))
    const environment = compose.services['tidegate']?.environment ?? {}
    expect(datasources).toEqual([
      expect.objectContaining({
        uid: 'tidegate',
        type: 'influxdb',
        url: environment['TIDEGATE__STORE__INFLUX__URL'],
        jsonData: expect.objectContaining({ version: 'InfluxQL', dbName: environment['TIDEGATE__STORE__INFLUX__BUCKET'] }),
        secureJsonData: { httpHeaderValue1: 'Token $INFLUX_TOKEN' }
      })
    ])
    expect(compose.services['grafana']?.environment?.['INFLUX_TOKEN']).toBe(environment['TIDEGATE__STORE__INFLUX__TOKEN'])
  })

  it('every dashboard is JSON whose panels use that data source', () => {
    const files = readdirSync(path.join(top, 'deploy/grafana/dashboards'))
    expect(files).toContain('home.json')
    for (const file of files) {
      const dashboard: { uid: string; panels: { datasource: { uid: string }; targets: { query: string }[] }[] } = JSON.parse(
        read(`deploy/grafana/dashboards/${file}`)
      )
      expect(dashboard.panels.length).toBeGreaterThan(0)
      for (const { datasource, targets } of dashboard.panels) {
        expect(datasource.uid).toBe('tidegate')
        for (const { query } of targets) expect(query).toContain('$timeFilter')
      }
    }
  })

  it('the systemd unit runs a command that there is and sets variables of the table', () => {
    const unit = read('deploy/systemd/tidegate.service')
    expect(unit).toMatch(/^ExecStart=\/usr\/bin\/node \S+\/bin\/tidegate\.mjs start --config \S+$/m)
    const variables = [...unit.matchAll(/(TIDEGATE__\w+)=(\S+)/g)].map(match => [match[1] ?? '', match[2] ?? ''] as const)
    expect(loadConfig({ folder: '/', environment: Object.fromEntries(variables), readFile: () => undefined }).data).toBe(
      '/var/lib/tidegate'
    )
  })

  it('Prometheus scrapes the path and port that Tidegate has by default', () => {
    const { scrape_configs: jobs } = parse(read('deploy/prometheus/prometheus.yml'))
    expect(jobs).toEqual([{ job_name: 'tidegate', metrics_path: '/metrics', static_configs: [{ targets: ['127.0.0.1:8080'] }] }])
  })

  it('every alert of Prometheus asks for a metric that there is', () => {
    const { groups }: { groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[] } = parse(
      read('deploy/prometheus/tidegate-alerts.yml')
    )
    for (const { alert, expr } of groups.flatMap(({ rules }) => rules)) {
      if (alert === 'TidegateDown') continue
      const names = [...expr.matchAll(/\btidegate_\w+/g)].map(([name]) => name)
      expect(names, alert).not.toEqual([])
      for (const name of names) expect(Object.keys(metricTable)).toContain(name)
      for (const [, outcome] of expr.matchAll(/outcome="(\w+)"/g)) expect(outcomes).toContain(outcome)
    }
  })
})
