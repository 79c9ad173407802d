// Runs the crash tests.
//   node bin/crash.mjs [--cycles 30] [--seed 7] [vitest's own arguments]
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'

const settings = { '--cycles': 'TIDEGATE_CRASH_CYCLES', '--seed': 'TIDEGATE_CRASH_SEED' }
const env = { ...process.env }
const rest = []
const args = process.argv
  .slice(2)
  .flatMap(arg => (/^--\w+=/.test(arg) ? [arg.slice(0, arg.indexOf('=')), arg.slice(arg.indexOf('=') + 1)] : arg))
for (let index = 0; index < args.length; index++) {
  const variable = settings[args[index]]
  if (variable === undefined) {
    rest.push(args[index])
    continue
  }
  const value = args[++index]
  if (!/^[1-9]\d{0,8}$/.test(value ?? '')) {
    console.error(`${args[index - 1]} takes a whole number from 1 on`)
    process.exit(1)
  }
  env[variable] = value
}
const vitest = path.join(path.dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const { status } = spawnSync(process.execPath, [vitest, 'run', '--project', 'crash', ...rest], { stdio: 'inherit', env })
const { TIDEGATE_CRASH_CYCLES: cycles = '30', TIDEGATE_CRASH_SEED: seed = '7' } = env
if (status !== 0) console.error(`repeat it with: npm run test:crash -- ${['--cycles', cycles, '--seed', seed, ...rest].join(' ')}`)
process.exit(status ?? 1)
