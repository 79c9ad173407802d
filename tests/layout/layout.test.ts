import { describe, expect, it } from 'vitest'
import { layoutFaults } from './rules.ts'
import { importsOf, readSources } from './sources.ts'

describe('the tree', () => {
  const sources = readSources()

  it('is read: the entry points and the rooms are found', () => {
    const files = sources.map(({ file }) => file)
    expect(files).toEqual(expect.arrayContaining(['cli.ts', 'config.ts', 'storage/port.ts', 'tests/layout/layout.test.ts']))
    expect(sources.find(({ file }) => file === 'storage/port.ts')?.imports).toEqual(['telemetry.ts'])
  })

  it('keeps to the layout: imports go one way, packages stay in their place, files stay short', () => {
    expect(layoutFaults(sources)).toEqual([])
  })
})

describe('the rules', () => {
  const faultsOf = (file: string, text: string): readonly string[] => layoutFaults([{ file, text, imports: importsOf(file, text) }])

  it.each([
    ['broker/gate.ts', "import { x } from '../ingest/routes.ts'"],
    ['broker/gate.ts', "import type { X } from '../storage/port.ts'"],
    ['ingest/pipeline.ts', "import { x } from '../storage/embedded-storage.ts'"],
    ['ingest/codecs/json.ts', "import { x } from '../../broker/gate.ts'"],
    ['api/app.ts', "export * from '../ingest/routes.ts'"],
    ['api/app.ts', "export type { X } from '../journal/journal.ts'"],
    ['storage/influx/influx.ts', "import { x } from '../../ingest/routes.ts'"],
    ['simulators/fleet.ts', "import { x } from '../config.ts'"],
    ['simulators/fleet.ts', "const x = await import('../api/app.ts')"],
    ['dashboard/page.ts', "import { x } from '../telemetry.ts'"],
    ['journal/journal.ts', "import { run } from '../cli.ts'"],
    ['journal/journal.ts', "import {\n  a,\n  b\n} from '../broker/gate.ts'"],
    ['broker/gate.ts', "import aedes from 'aedes'"],
    ['bench/run.ts', "import { Aedes } from 'aedes'"],
    ['api/app.ts', "import { InfluxDB } from '@influxdata/influxdb-client'"],
    ['ingest/x.ts', "import * as duckdb from '@duckdb/node-api'"],
    ['storage/influx.ts', "import * as duckdb from '@duckdb/node-api'"],
    ['tests/e2e/page.test.ts', "import { chromium } from 'playwright-core'"],
    ['config/load.ts', 'const x = process.env.HOME'],
    ['api/app.ts', "const { x } = process['env']"],
    ['api/app.ts', 'x\n'.repeat(401)]
  ])('%s may not say %j', (file, text) => {
    expect(faultsOf(file, text)).toHaveLength(1)
  })

  it.each([
    ['broker/gate.ts', "import type { JournalWriter } from '../journal/record.ts'\nimport { TidegateError } from '../errors.ts'"],
    ['bench/aedes-broker.ts', "import { Aedes } from 'aedes'"],
    ['ingest/pipeline.ts', "import type { Storage } from '../storage/port.ts'"],
    ['api/app.ts', "import type { Storage } from '../storage/port.ts'\nimport Fastify from 'fastify'"],
    ['storage/embedded/open.ts', "import { DuckDBInstance } from '@duckdb/node-api'"],
    ['main.ts', "import { Broker } from './broker/broker.ts'\nimport { Journal } from './journal/journal.ts'"],
    ['simulators/fleet.ts', "import mqtt from 'mqtt'\n// unlike '../broker/gate.ts'\nimport { x } from './models/model.ts'"],
    ['service.ts', 'const x = process.env'],
    ['api/app.ts', 'x\n'.repeat(400)]
  ])('%s may say %j', (file, text) => {
    expect(faultsOf(file, text)).toEqual([])
  })
})
