import type { SourceFile } from './sources.ts'

/** The folders whose code may import only what stands here, besides its own folder and the shared top-level files. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  config: [],
  journal: [],
  channel: ['journal'],
  broker: ['journal'],
  ingest: ['journal', 'storage/port.ts'],
  storage: [],
  api: ['storage/port.ts'],
  backup: ['journal', 'storage/port.ts'],
  simulators: [],
  dashboard: []
}

/** What the server shares at the top level, and the simulators must do without. */
const entryPoints = /^(?:cli|main|service|edge-metrics)\.ts$/

/** Packages that one place alone imports. */
const isolated: readonly { readonly packages: RegExp; readonly files: RegExp }[] = [
  { packages: /^(?:aedes|aedes-persistence|mqemitter)(?:\/|$)/, files: /^bench\/aedes-broker\.ts$/ },
  { packages: /^@influxdata\//, files: /^(?:storage\/influx|tests\/storage\/)/ },
  { packages: /^@duckdb\//, files: /^(?:storage\/embedded|tests\/storage\/)/ },
  { packages: /^playwright-core(?:\/|$)/, files: /^tests\/browser\// },
  { packages: /^commander$/, files: /^(?:cli\.ts|commands\/|tests\/cli\/)/ },
  { packages: /^(?:fastify|typebox)(?:\/|$)|^@fastify\//, files: /^(?:api|tests\/api)\// }
]

/** Longest that a file may be, in lines: what is tested, and a test. */
const maxLines = 400
const maxTestLines = 600

/** Every way in which the files break the layout, one line each. */
export function layoutFaults(sources: readonly SourceFile[]): readonly string[] {
  return sources.flatMap(source => [...roomFaults(source), ...packageFaults(source), ...environmentFaults(source), ...sizeFaults(source)])
}

function roomFaults({ file, imports }: SourceFile): string[] {
  const room = file.split('/')[0] ?? ''
  const allowed = file.includes('/') ? rooms[room] : undefined
  if (allowed === undefined) return []
  return imports
    .filter(target => /\.(?:ts|js)$/.test(target) && !isAllowed(room, allowed, target))
    .map(target => `${file} imports ${target}`)
}

function isAllowed(room: string, allowed: readonly string[], target: string): boolean {
  if (target.startsWith(`${room}/`)) return true
  // The shared vocabulary; simulators know Tidegate only through MQTT and HTTP, the page runs in a browser.
  if (!target.includes('/')) return room !== 'simulators' && room !== 'dashboard' && !entryPoints.test(target)
  return allowed.some(place => target === place || target.startsWith(`${place}/`))
}

function packageFaults({ file, imports }: SourceFile): string[] {
  return isolated.flatMap(({ packages, files }) =>
    files.test(file) ? [] : imports.filter(target => packages.test(target)).map(target => `${file} imports ${target}`)
  )
}

function environmentFaults({ file, text }: SourceFile): string[] {
  const mayRead = /^(?:cli|main|service|vitest\.config)\.ts$|^(?:bench|tests)\//
  return !mayRead.test(file) && /\bprocess\s*\.\s*env\b|\bprocess\[['"]env/.test(text) ? [`${file} reads process.env`] : []
}

function sizeFaults({ file, text }: SourceFile): string[] {
  const lines = text.split('\n').length - 1
  const most = file.startsWith('tests/') ? maxTestLines : maxLines
  return lines > most ? [`${file} has ${lines} lines, more than ${most}`] : []
}
