import { expect, test } from 'vitest'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import { bindIngestMetrics } from '../../ingest/ingest-metrics.ts'
import { Metrics } from '../../metrics.ts'
import { FakeBoundFile, FakeJournal, journalUuid, recordOf, silent } from './fakes.ts'
import { openPipeline, worldOf } from './world.ts'

test('a scrape says what became of the records', async () => {
  const world = worldOf([
    recordOf({ ordinal: 0, payload: '{"ts":1,"v":1}' }),
    'damaged',
    recordOf({ ordinal: 2, topic: 'a/set', payload: '1' })
  ])
  const letterJournal = new FakeJournal()
  const deadLetters = await DeadLetters.open({
    journal: letterJournal,
    scan: letterJournal.scan,
    bound: new FakeBoundFile(),
    maxBytes: 1000,
    records: { journal: journalUuid, position: 0, since: 0 },
    log: silent
  })
  deadLetters.append(recordOf({ ordinal: 9 }), 'no-fields', '')
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(2, new AbortController().signal)
  const metrics = new Metrics()
  bindIngestMetrics(metrics, { pipeline, deadLetters, ledger: { newest: undefined } })
  const text = await metrics.render()
  for (const line of [
    'tidegate_ingest_records_total{outcome="stored"} 1',
    'tidegate_ingest_records_total{outcome="damaged"} 1',
    'tidegate_ingest_records_total{outcome="ignored"} 1',
    'tidegate_ingest_records_total{outcome="deadLettered"} 0',
    'tidegate_ingest_device_time_unused_total{reason="outside"} 1',
    'tidegate_ingest_lag_records 0',
    'tidegate_ingest_rewritten_records_total{cause="outage"} 0',
    'tidegate_ingest_rewriting 0',
    'tidegate_dead_letters 1',
    'tidegate_dead_letters_replayed_total 0',
    'tidegate_dead_letters_purged_total 0'
  ]) {
    expect(text.split('\n')).toContain(line)
  }
})
