import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))

/** Path of a program of the folder of measuring tools, which lies beside the checkout; undefined where it is not there. */
export function toolPath(name: string): string | undefined {
  const file = path.join(top, '..', 'shared', 'tools', name)
  return existsSync(file) ? file : undefined
}

/** With the folder in which Debian keeps daemons, which not everybody has on PATH. */
const environment = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` }

/** What mqtt-load.mjs prints. Latencies in ms from the intended time of a publish to its PUBACK. */
export interface LoadResult {
  readonly ackedTotal: number
  readonly perSecond: number
  readonly late: number
  readonly closed: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  readonly cpuPerMillion: readonly number[]
  readonly cores: readonly number[]
  readonly rssMb: readonly number[]
  readonly generatorCores: number
}

/** Runs a measuring tool in a process of its own and answers the JSON that it prints last. */
export async function runTool(name: string, options: Readonly<Record<string, string | number>>): Promise<unknown> {
  const file = toolPath(name)
  if (file === undefined) throw new Error(`${name} is not in ../shared/tools`)
  const args = Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)])
  const { stdout } = await promisify(execFile)(process.execPath, [file, ...args], { maxBuffer: 1 << 24, env: environment })
  const parsed: unknown = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
  return parsed
}

export async function runLoad(options: Readonly<Record<string, string | number>>): Promise<LoadResult> {
  return (await runTool('mqtt-load.mjs', options)) as LoadResult // the tool's own format, described above
}
