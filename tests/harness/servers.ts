import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { describe } from 'vitest'

/**
 * Where a real program that a test talks to is: $TIDEGATE_SERVERS or ~/.cache/tidegate-servers/bin first (influxd there is
 * InfluxDB 2, Debian's is 1.6), then PATH. Undefined when the machine has none.
 */
export function programPath(name: string): string | undefined {
  const folders = [
    process.env['TIDEGATE_SERVERS'] ?? path.join(homedir(), '.cache/tidegate-servers/bin'),
    ...(process.env['PATH'] ?? '').split(':')
  ]
  return folders.map(folder => path.join(folder, name)).find(file => existsSync(file))
}

/**
 * A describe block that needs real programs. Where one is missing the block is skipped with the reason in its name; with
 * TIDEGATE_CI=1 it fails instead.
 */
export function describeWith(programs: readonly string[], name: string, body: () => void): void {
  const missing = programs.filter(program => programPath(program) === undefined)
  describeWhere(missing.length === 0 ? undefined : `${missing.join(', ')} not installed`, name, body)
}

/** The same for anything that a machine may lack: `fault` says what speaks against it, undefined that nothing does. */
export function describeWhere(fault: string | undefined, name: string, body: () => void): void {
  if (fault === undefined) {
    describe(name, body)
    return
  }
  if (process.env['TIDEGATE_CI'] === '1') throw new Error(`TIDEGATE_CI=1 and ${fault}: ${name}`)
  describe.skip(`${name} (skipped: ${fault})`, body)
}
