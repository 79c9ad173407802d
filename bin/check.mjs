// `npm run check`: types, type-aware lint, format, dead code, and no runtime dependency with an install script.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** @type {readonly (readonly [string, string, readonly string[]])[]} */
const steps = [
  ['types', 'tsc', ['-p', 'tsconfig.json', '--noEmit']],
  ['types of the page', 'tsc', ['-p', 'tsconfig.page.json', '--noEmit']],
  ['lint', 'oxlint', ['--type-aware', '--deny-warnings']],
  ['format', 'oxfmt', ['--check', '.']],
  ['dead code', 'knip', []]
]
for (const [name, tool, args] of steps) {
  const startedMs = performance.now()
  const run = spawnSync('npx', ['--no-install', tool, ...args], { stdio: ['ignore', 'inherit', 'inherit'] })
  if (run.status !== 0) {
    console.error(`check: ${name} failed (${tool} ${args.join(' ')})`)
    process.exit(1)
  }
  console.log(`check: ${name} ok (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`)
}
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'))
for (const [folder, entry] of Object.entries(lock.packages)) {
  if (entry.hasInstallScript && !entry.dev) {
    console.error(`check: ${folder} has an install script`)
    process.exit(1)
  }
  if (entry.resolved !== undefined && !entry.resolved.startsWith('https://registry.npmjs.org/')) {
    console.error(`check: ${folder} is not from the public registry`)
    process.exit(1)
  }
}
console.log('check: no runtime dependency has an install script')
