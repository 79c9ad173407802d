// `node tests/harness/suite.mjs <project> [flags]`: runs one of vitest's projects. The flags below become variables that the
// suite reads (`npm run test:crash -- --cycles 200`); everything else goes to vitest as it is.
import { spawnSync } from 'node:child_process'

/** @type {Readonly<Record<string, Readonly<Record<string, string>>>>} */
const flagsOf = {
  conformance: { '--against': 'TIDEGATE_CONFORMANCE_AGAINST' },
  crash: { '--cycles': 'TIDEGATE_CRASH_CYCLES', '--seed': 'TIDEGATE_CRASH_SEED' },
  fuzz: { '--packets': 'TIDEGATE_FUZZ_PACKETS', '--seed': 'TIDEGATE_FUZZ_SEED' },
  journal: {
    '--seeds': 'TIDEGATE_JOURNAL_SEEDS',
    '--seed': 'TIDEGATE_JOURNAL_SEED',
    '--corruptions': 'TIDEGATE_CORRUPTIONS',
    '--corruption': 'TIDEGATE_CORRUPTION'
  }
}
// What a suite does when it is not told: more than in `npm test`, where it runs too.
/** @type {Readonly<Record<string, Readonly<Record<string, string>>>>} */
const defaults = { fuzz: { TIDEGATE_FUZZ_PACKETS: '1000000' }, journal: { TIDEGATE_JOURNAL_SEEDS: '4000', TIDEGATE_CORRUPTIONS: '10000' } }

const [project = '', ...args] = process.argv.slice(2)
const variables = flagsOf[project]
if (variables === undefined) {
  console.error(`suite: ${project || 'no project'}; expected one of ${Object.keys(flagsOf).join(', ')}`)
  process.exit(2)
}
const env = { ...defaults[project], ...process.env }
const rest = []
while (args.length > 0) {
  const [flag = '', ...values] = (args.shift() ?? '').split('=')
  const variable = variables[flag]
  if (variable === undefined) {
    rest.push([flag, ...values].join('='))
    continue
  }
  const value = values.length > 0 ? values.join('=') : args.shift()
  const [fits, what] =
    flag === '--against' ? [/\{port\}/, `a command, as in ${flag} 'mosquitto -p {port}'`] : [/^\d/, `a number, as in ${flag} 200`]
  if (value === undefined || !fits.test(value)) {
    console.error(`suite: ${flag} needs ${what}`)
    process.exit(2)
  }
  env[variable] = value
}
const run = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', project, ...rest], { stdio: 'inherit', env })
process.exit(run.status ?? 1)
