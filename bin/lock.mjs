// `npm run lock`: writes package-lock.json anew, for every platform. npm leaves a platform's optional package out of the
// lock when the registry in use (a mirror, say) does not have it, and `npm ci` then refuses the lock everywhere; so what is
// missing is added by name and version, without a checksum.
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'

const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32']
const processors = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']

/** What the name of a platform's package says about where it runs. */
function platformOf(name) {
  const parts = name.split(/[-/]/)
  const os = systems.filter(system => parts.includes(system))
  const cpu = processors.filter(processor => parts.includes(processor))
  const libc = parts.some(part => part.startsWith('musl')) ? ['musl'] : parts.some(part => part.startsWith('gnu')) ? ['glibc'] : []
  return Object.fromEntries(Object.entries({ cpu, libc, os }).filter(([, values]) => values.length > 0))
}

rmSync('package-lock.json', { force: true })
const run = spawnSync('npm', ['install', '--package-lock-only', '--ignore-scripts'], { stdio: 'inherit' })
if (run.status !== 0) process.exit(1)
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'))
const packages = new Map(Object.entries(lock.packages))
for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const platform = platformOf(name)
    if (packages.has(`node_modules/${name}`) || Object.keys(platform).length === 0) continue
    packages.set(`node_modules/${name}`, { version, ...(entry.dev ? { dev: true } : {}), optional: true, ...platform })
    console.log(`lock: added ${name}@${version}`)
  }
}
lock.packages = Object.fromEntries([...packages].toSorted(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync('package-lock.json', `${JSON.stringify(lock, undefined, 2)}\n`)
