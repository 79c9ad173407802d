import type { Fault } from './fault.ts'
import { endToEnd, rare } from './fault.ts'

/** Faults in ingest: one outcome for each record, stored once, counted. */
export const ingestFaults: readonly Fault[] = [
  {
    name: 'the pipeline moves its checkpoint before the write',
    file: 'ingest/pipeline.ts',
    find: 'const settlement = await this.#writer.write(batch, this.#checkpoint, this.#closing.signal)\n',
    replace: `const before = this.#checkpoint
    this.#checkpoint = { ...before, position: batch.to }
    const settlement = await this.#writer.write(batch, before, this.#closing.signal)\n`,
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'waiting for a record ends before the write',
    file: 'ingest/pipeline.ts',
    find: 'const settlement = await this.#writer.write(batch, this.#checkpoint, this.#closing.signal)\n',
    replace: `this.#waiters.reached(batch.to)
    const settlement = await this.#writer.write(batch, this.#checkpoint, this.#closing.signal)\n`,
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'the checkpoint does not wait until dead letters are durable',
    file: 'ingest/settlement.ts',
    find: 'if (deadLettered > 0) await deadLetters.durable()\n',
    replace: '',
    caughtBy: ['tests/ingest/pipeline-model.test.ts']
  },
  {
    name: 'a batch that fails is given up',
    file: 'ingest/batch-writer.ts',
    find: 'await clock.sleep(backOffMs, signal)\n',
    replace: 'if (failures > 3) return undefined\n      await clock.sleep(backOffMs, signal)\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'ingest loses one record in 100,000 and counts it as stored',
    file: 'ingest/decoding-turns.ts',
    find: 'decoded = this.#decoder.decode(record)\n',
    replace: `decoded = this.#decoder.decode(record)
      if (${rare('record.ordinal')}) decoded = { ...decoded, points: [] }\n`,
    caughtBy: [endToEnd]
  },
  {
    name: 'damaged records are not counted',
    file: 'ingest/settlement.ts',
    find: 'damaged: totals.damaged + batch.damaged\n',
    replace: 'damaged: totals.damaged\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'a checkpoint that is ahead of the journal stays in the catalogue',
    file: 'ingest/pipeline.ts',
    find: 'if (known !== undefined && anew !== undefined) {\n',
    replace: 'if (known === undefined && anew === undefined) {\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'the letter of a lost record stands for another with its ordinal',
    file: 'ingest/dead-letters.ts',
    find: 'if (this.has(record.ordinal, received)) return 0\n',
    replace: 'if (this.has(record.ordinal)) return 0\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'a dead letter is forgotten when its record turns out damaged or ignored',
    file: 'ingest/settlement.ts',
    find: 'deadLettered: totals.deadLettered + deadLettered + batch.lettered,\n',
    replace: 'deadLettered: totals.deadLettered + deadLettered,\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'the ledger always balances',
    file: 'ingest/ledger-check.ts',
    find: 'faults: faults.filter(fault => fault !== undefined)',
    replace: 'faults: faults.filter(fault => fault !== undefined).slice(4)',
    caughtBy: ['tests/ingest/ledger-check.test.ts']
  },
  {
    name: 'the outcomes are not added up',
    file: 'ingest/ledger-check.ts',
    find: 'const faults = [outcomeFault(checkpoint), ',
    replace: 'const faults = [',
    caughtBy: ['tests/ingest/ledger-check.test.ts']
  },
  {
    name: 'the journal is not counted',
    file: 'ingest/ledger-check.ts',
    find: 'to: head,\n',
    replace: 'to: checkpoint.position,\n',
    caughtBy: ['tests/ingest/ledger-check.test.ts']
  },
  {
    name: 'records that are damaged count as found',
    file: 'ingest/journal-count.ts',
    find: "if (step.kind === 'gap' && step.why === 'damaged') ",
    replace: "if (step.kind === 'gap' && !step.reported) ",
    caughtBy: ['tests/ingest/journal-count.test.ts']
  },
  {
    name: 'records that got their outcome during the check have to be found',
    file: 'ingest/journal-count.ts',
    find: 'const from = Math.max(options.from, Math.min(to, position()))\n',
    replace: 'const { from } = options\n',
    caughtBy: ['tests/ingest/journal-count.test.ts']
  },
  {
    name: 'the ledger takes the end of ingest for the end of its range',
    file: 'ingest/journal-count.ts',
    find: 'Math.min(to, position())',
    replace: 'position()',
    caughtBy: ['tests/ingest/journal-count.test.ts']
  },
  {
    name: 'the dead letters are not counted',
    file: 'ingest/ledger-check.ts',
    find: 'if (found >= count.least && found <= count.most) return undefined\n',
    replace: 'if (found >= 0) return undefined\n',
    caughtBy: ['tests/ingest/ledger-check.test.ts']
  },
  {
    name: 'letters that are on their way are too many for the ledger',
    file: 'ingest/ledger-check.ts',
    find: 'most: pipeline.position.totals.deadLettered + letters.unsettled\n',
    replace: 'most: checkpoint.totals.deadLettered\n',
    caughtBy: ['tests/ingest/ledger-check.test.ts']
  },
  {
    name: 'the rows of the embedded store are not held against the tally',
    file: 'ingest/ledger-check.ts',
    find: 'const expected = tally.inserted - tally.replaced - tally.expired\n',
    replace: 'const expected = found + 0 * tally.inserted\n',
    caughtBy: ['tests/ingest/ledger-check.test.ts']
  },
  {
    name: 'the ledger says again and again that it does not balance',
    file: 'ingest/ledger.ts',
    find: 'if (faults.length > 0 && balanced) ',
    replace: 'if (faults.length > 0) ',
    caughtBy: ['tests/ingest/ledger.test.ts']
  },
  {
    name: 'the ledger is checked every second whatever the backlog is',
    file: 'ingest/ledger.ts',
    find: 'backlog() && !signal.aborted',
    replace: 'backlog() && signal.aborted',
    caughtBy: ['tests/ingest/ledger.test.ts']
  },
  {
    name: 'dead letters are evicted before it is written down how many',
    file: 'ingest/dead-letters.ts',
    find: 'await bound.save(next)\n',
    replace: '',
    caughtBy: ['tests/ingest/dead-letters.test.ts']
  },
  {
    name: 'dead letters of records beyond the checkpoint are evicted',
    file: 'ingest/dead-letters.ts',
    find: 'block.lastRecord >= this.#settled || ',
    replace: '',
    caughtBy: ['tests/ingest/dead-letters.test.ts']
  },
  {
    name: 'a dead letter has its tombstone before its record is durable again',
    file: 'ingest/letter-changes.ts',
    find: 'const sent = await sendPage(page, options)\n',
    replace: `await deadLetters.bury(page, 'replayed')
      const sent = await sendPage(page, options)\n`,
    caughtBy: ['tests/ingest/dead-letters-model.test.ts', 'tests/ingest/letter-changes.test.ts']
  },
  {
    name: 'a record that was dead-lettered before a crash counts as ignored',
    file: 'ingest/batch-builder.ts',
    find: 'if (this.#letters.has(record.ordinal, receivedNs(record))) this.#lettered += 1',
    replace: 'if (record.ordinal < 0) this.#lettered += 1',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'a purge of dead letters writes no tombstone',
    file: 'ingest/dead-letters.ts',
    find: 'const ordinal = this.#options.journal.append(tombstones)\n',
    replace: "const ordinal = fate === 'purged' ? this.#options.journal.head : this.#options.journal.append(tombstones)\n",
    caughtBy: ['tests/ingest/dead-letters.test.ts', 'tests/ingest/dead-letters-model.test.ts']
  },
  {
    name: 'a purge answers before its tombstones are durable',
    file: 'ingest/dead-letters.ts',
    find: 'await this.durable()\n    void this.#free()\n',
    replace: 'void this.#free()\n',
    caughtBy: ['tests/ingest/dead-letters.test.ts', 'tests/ingest/dead-letters-model.test.ts']
  },
  {
    name: 'a replayed dead letter gets the time of the replay',
    file: 'ingest/letter-changes.ts',
    find: 'received: { ms: receivedMs, subNs: receivedSubNs }',
    replace: 'received: { ms: Date.now(), subNs: receivedSubNs }',
    caughtBy: ['tests/ingest/letter-changes.test.ts', 'tests/ingest/dead-letters-model.test.ts']
  },
  {
    name: 'ingest stores one record in 100,000 twice',
    file: 'ingest/decoding-turns.ts',
    find: 'decoded = this.#decoder.decode(record)\n',
    replace: `decoded = this.#decoder.decode(record)
      const twice = decoded.points.flatMap(point => [point, { ...point, timeNs: point.timeNs + 1n }])
      if (${rare('record.ordinal')}) decoded = { ...decoded, points: twice }\n`,
    caughtBy: [endToEnd]
  },
  {
    name: 'a record that is written again gets a second dead letter',
    file: 'ingest/dead-letters.ts',
    find: 'if (this.has(record.ordinal, received)) return 0\n',
    replace: '',
    caughtBy: ['tests/ingest/pipeline-model.test.ts']
  },
  {
    name: 'a store that came back is not given again what it may have forgotten',
    file: 'ingest/pipeline.ts',
    find: "options.storage.onReturn(() => pipeline.#rewriting.owe('outage'))\n",
    replace: '',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  },
  {
    name: 'a rewrite that fails in the middle is left to the next start',
    file: 'ingest/rewriting.ts',
    find: `    } catch (error) {
      this.#oweStill({ cause, from, release })\n`,
    replace: '    } catch (error) {\n',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  },
  {
    name: 'letters of records that the journal has lost count for those with their ordinals',
    file: 'ingest/dead-letters.ts',
    find: 'await letters.#disown(records.lostFrom)\n',
    replace: '',
    caughtBy: ['tests/ingest/dead-letters.test.ts', 'tests/ingest/pipeline.test.ts']
  },
  {
    name: 'nothing is written again at the start',
    file: 'ingest/pipeline.ts',
    find: "if (anew === undefined && rewriteFrom !== undefined) pipeline.#rewriting.owe('start', rewriteFrom)\n",
    replace: '',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  },
  {
    name: 'a rewrite moves the checkpoint',
    file: 'ingest/batch-writer.ts',
    find: 'checkpoint = this.#withFloor(this.#checkpoint)\n',
    replace: 'checkpoint = this.#withFloor({ ...this.#checkpoint, position: from })\n',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  },
  {
    name: 'an older value that is written again stands over a newer one',
    file: 'ingest/rewrite-pass.ts',
    find: 'if (this.#filter.empty) return !signal.aborted\n',
    replace: 'if (!this.#filter.empty) return !signal.aborted\n',
    caughtBy: ['tests/ingest/rewriting-model.test.ts']
  },
  {
    name: 'what was written again is not remembered for the next death of the store',
    file: 'ingest/batch-writer.ts',
    find: 'if (points.length > 0) this.#options.floor.note(from)\n',
    replace: '',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  }
]
