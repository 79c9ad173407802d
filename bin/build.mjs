// Builds dist/ when it is missing or older than the sources: the server by tsconfig.build.json, the page by tsconfig.page.json.
//   node bin/build.mjs             builds; without TypeScript it says what to do and exits 1
//   node bin/build.mjs --prepare   the same from `npm ci`; without TypeScript it says so in one line and succeeds
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const top = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const stamp = path.join(top, 'dist', '.built')
// Folders at any depth that dist/ does not come from.
const notSources = /^(?:\.|dist|node_modules$|tests$|docs$|deploy$|data$|results$)/

function newestMs(folder) {
  let newest = 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    if (entry.isDirectory()) {
      if (!notSources.test(entry.name)) newest = Math.max(newest, newestMs(file))
    } else if (/\.(ts|json|html|css|svg)$/.test(entry.name)) newest = Math.max(newest, statSync(file).mtimeMs)
  }
  return newest
}

/** True when dist/ is there and no source is newer than it, or where there are no sources (in a container). */
export function isBuilt() {
  if (!existsSync(stamp)) return false
  return !existsSync(path.join(top, 'cli.ts')) || newestMs(top) <= statSync(stamp).mtimeMs
}

function compilerPath() {
  try {
    return path.join(path.dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
  } catch {
    return undefined
  }
}

/** Builds dist/ if it is not current. Returns undefined, or one line that says why it could not. */
export function build() {
  if (isBuilt()) return undefined
  const tsc = compilerPath()
  if (tsc === undefined)
    return 'dist/ is missing or older than the sources and TypeScript is not installed: run `npm ci --include=dev` once, then try again'
  const startedAt = new Date()
  const next = path.join(top, `dist.${process.pid}`)
  try {
    for (const [project, out] of [
      ['tsconfig.build.json', next],
      ['tsconfig.page.json', path.join(next, 'dashboard')]
    ]) {
      const run = spawnSync(process.execPath, [tsc, '-p', project, '--outDir', out], { cwd: top, stdio: ['ignore', 'inherit', 'inherit'] })
      if (run.status !== 0) return `tsc -p ${project} failed: the lines above say where`
    }
    mkdirSync(path.join(next, 'dashboard'), { recursive: true })
    for (const entry of readdirSync(path.join(top, 'dashboard')))
      if (/\.(html|css|svg)$/.test(entry)) cpSync(path.join(top, 'dashboard', entry), path.join(next, 'dashboard', entry))
    // Its time is when the build began: a source saved meanwhile is newer.
    writeFileSync(path.join(next, '.built'), startedAt.toISOString() + '\n')
    utimesSync(path.join(next, '.built'), startedAt, startedAt)
    // Two builds at once: each moves a whole dist/ aside and never deletes in one that another may have put there.
    const old = path.join(top, `dist.${process.pid}.old`)
    try {
      if (existsSync(path.join(top, 'dist'))) renameSync(path.join(top, 'dist'), old)
      renameSync(next, path.join(top, 'dist'))
    } catch (error) {
      if (!isBuilt()) throw error // else another process has built the same meanwhile
    } finally {
      rmSync(old, { recursive: true, force: true })
    }
  } finally {
    rmSync(next, { recursive: true, force: true })
  }
  return undefined
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const fault = build()
  if (fault !== undefined) {
    const preparing = process.argv.includes('--prepare') && compilerPath() === undefined
    console.log(
      preparing ? 'tidegate: TypeScript is not installed, so dist/ was not built (`npm ci --include=dev` builds it)' : `tidegate: ${fault}`
    )
    process.exitCode = preparing ? 0 : 1
  }
}
