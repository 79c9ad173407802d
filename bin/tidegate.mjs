#!/usr/bin/env node
// The command: builds dist/ first when it is missing or older than the sources, then runs it.
import { build } from './build.mjs'

const fault = build()
if (fault === undefined) {
  const { run } = await import('../dist/cli.js')
  await run(process.argv.slice(2))
} else {
  console.error(`tidegate: ${fault}`)
  process.exitCode = 1
}
