/** A defect to plant: a place in a source file, what to put there, and the suites that must notice. */
export interface Fault {
  readonly name: string
  readonly file: string
  /** Stands in the file exactly once. */
  readonly find: string
  readonly replace: string
  /** The smallest suites that notice: test files, as vitest takes them. */
  readonly caughtBy: readonly string[]
}

const endToEnd = 'tests/e2e/acknowledged.test.ts'

/** One record in 100,000: the end-to-end suite sends 105,000. */
const rare = (ordinal: string): string => `${ordinal} % 100_000 === 77_777`

export const faults: readonly Fault[] = [
  // Promise 1: acknowledged is on disk.
  {
    name: 'the journal says durable before the sync',
    file: 'journal/journal.ts',
    find: 'const group = this.#pending.take()\n',
    replace: 'const group = this.#pending.take()\n      this.#durableListeners.notify(group.at(-1)?.end ?? 0)\n',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'groups are not synced',
    file: 'journal/segment-writer.ts',
    find: 'await files.datasync(this.#fd)\n',
    replace: '',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'the folder of a new segment is not synced',
    file: 'journal/segment-writer.ts',
    find: 'await files.syncFolder(folder)\n',
    replace: '',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'a failed sync is tried again on the same file',
    file: 'journal/steady-writer.ts',
    find: 'await this.#options.writer.seal()\n',
    replace: '',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'the gate acknowledges at the append',
    file: 'broker/publisher-side.ts',
    find: 'acknowledgement.puback, packetId, ordinal)',
    replace: 'acknowledgement.puback, packetId, -1)',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'a PUBREC goes out at the append',
    file: 'broker/publisher-side.ts',
    find: 'push(this, acknowledgement.pubrec, packetId, ordinal)',
    replace: 'push(this, acknowledgement.pubrec, packetId, -1)',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'POST /api/v1/telemetry answers before the record is durable',
    file: 'broker/gate.ts',
    find: 'if (ordinal < this.#journal.durable) return\n',
    replace: 'if (ordinal >= 0) return\n',
    caughtBy: ['tests/broker/broker.test.ts']
  },
  {
    name: 'a will is routed and not journaled',
    file: 'broker/gate.ts',
    find: 'if (this.appendPublish({ clientId, user, topic, payload, qos, retain, will: true, received: undefined }) < 0) return false\n',
    replace: `const ordinal = this.lastOrdinal
    if (!this.router.hasRoom()) return false
    this.router.push({ ordinal, topic: utf8(topic), payload: Buffer.from(payload), qos, retain, clientId: utf8(clientId) })
    this.router.release(this.#journal.durable)\n`,
    caughtBy: ['tests/broker/connecting.test.ts']
  },

  // Promise 2: a record leaves the journal only with its outcome.
  {
    name: 'the embedded store commits the checkpoint before the points',
    file: 'storage/embedded-store.ts',
    find: 'await this.#database.transaction(async transaction => {\n        const added',
    replace: `const early = settle([])
      settle = () => early
      await early.catch(error => {
        unsettled = { error }
        throw error
      })
      await this.#database.transaction(async first => await this.catalogue.moveCheckpoint(await early, first))
      await this.#database.transaction(async transaction => {\n        const added`,
    caughtBy: ['tests/storage/embedded-store.test.ts']
  },
  {
    name: 'the InfluxDB store moves the checkpoint before the points are there',
    file: 'storage/influx-store.ts',
    find: 'const rejected = await this.#watch(this.#writer.write(batch.points), batch.points.length > 0)\n',
    replace: `await this.catalogue.commit({ checkpoint: await settle([]), fields: [], devices: [], series: [] })
      const rejected = await this.#watch(this.#writer.write(batch.points), batch.points.length > 0)\n`,
    caughtBy: ['tests/storage/influx-store.test.ts']
  },
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
    name: 'segments that are not committed are removed with the committed ones',
    file: 'journal/retention.ts',
    find: 'if (segment.end > ordinal) segment.committedAtMs = undefined\n',
    replace: 'if (segment.first > ordinal) segment.committedAtMs = undefined\n',
    caughtBy: ['tests/journal/retention.test.ts']
  },
  {
    name: 'a pin keeps nothing in the journal',
    file: 'journal/retention.ts',
    find: 'for (const { from } of this.#pins) if (segment.end > from) return true\n',
    replace: '',
    caughtBy: ['tests/backup/backup.test.ts']
  },
  {
    name: 'a backup takes its journal as it was before its database',
    file: 'backup/write-backup.ts',
    find: 'const { checkpoint, heldMs } = await this.#copyDatabase()\n',
    replace: `const early = await running?.pinJournal(position)
      if (running !== undefined && early !== undefined) running.pinJournal = async () => early
      const { checkpoint, heldMs } = await this.#copyDatabase()\n`,
    caughtBy: ['tests/backup/backup.test.ts']
  },
  {
    name: 'a backup is taken for whole without looking at its files',
    file: 'backup/restore.ts',
    find: 'for (const file of manifest.files) await checkFile(files, backup, file)\n',
    replace: '',
    caughtBy: ['tests/backup/backup.test.ts']
  },
  {
    name: 'the lock on the database ends with a backup',
    file: 'storage/embedded-held-files.ts',
    find: 'for (const descriptor of beside) await closeFile(descriptor)\n',
    replace: `for (const descriptor of beside) await closeFile(descriptor)
      this.close()\n`,
    caughtBy: ['tests/storage/embedded-held-files.test.ts']
  },

  // Promise 5: nothing is lost or passed over without a count.
  {
    name: 'the journal loses one record in 100,000',
    file: 'journal/journal.ts',
    find: 'this.#pending.append(record, ordinal, time.ms, time.subNs)\n',
    replace: `if (!(${rare('ordinal')})) this.#pending.append(record, ordinal, time.ms, time.subNs)\n`,
    caughtBy: [endToEnd]
  },
  {
    name: 'the reader loses one record in 100,000',
    file: 'journal/cursor.ts',
    find: 'records.push(decodeFrame(walker.bytes, walker.at))\n',
    replace: `if (!(${rare('ordinal')})) records.push(decodeFrame(walker.bytes, walker.at))\n`,
    caughtBy: [endToEnd]
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
    name: 'a frame is trusted without its CRC',
    file: 'journal/frame.ts',
    find: 'if (crc32(bytes.subarray(offset + 8, behind)) !== get32(bytes, offset + 4)) return frameDamaged\n',
    replace: '',
    caughtBy: ['tests/journal/model.test.ts']
  },
  {
    name: 'a body may hold the marker of its journal',
    file: 'journal/frame.ts',
    find: 'if (checked.indexOf(marker) !== -1) {\n',
    replace: 'if (checked.length === 0) {\n',
    caughtBy: ['tests/journal/moved-blocks.test.ts', 'tests/journal/corruption.test.ts']
  },
  {
    name: 'a reader passes over records that lie behind a later one',
    file: 'journal/cursor.ts',
    find: 'surveySegment({ files, fd, marker, offset }, { from, below })\n',
    replace: 'surveySegment({ files, fd, marker, offset }, { from: ordinal === Infinity ? from : ordinal, below })\n',
    caughtBy: ['tests/journal/moved-blocks.test.ts', 'tests/journal/corruption.test.ts']
  },
  {
    name: 'files that are no segments, or copies of some, hide the records of others',
    file: 'journal/repair.ts',
    find: 'const quarantinedFiles = await arrangeSegments(options, found, marks)\n',
    replace: 'const quarantinedFiles = arrangeSegments.length * 0\n',
    caughtBy: ['tests/journal/damaged-files.test.ts', 'tests/journal/corruption.test.ts']
  },
  {
    name: 'a segment of a later format is taken for junk',
    file: 'journal/frame.ts',
    find: 'return version !== undefined && version > formatVersion ? version : undefined\n',
    replace: 'return version !== undefined && version < formatVersion ? version : undefined\n',
    caughtBy: ['tests/journal/damaged-files.test.ts']
  },
  {
    name: 'damaged bytes that a reader passes over are not counted',
    file: 'journal/cursor.ts',
    find: 'this.counts.damagedBytes += bytes - known\n',
    replace: '',
    caughtBy: ['tests/journal/damage.test.ts']
  },
  {
    name: 'a checkpoint that is ahead of the journal stays in the catalogue',
    file: 'ingest/pipeline.ts',
    find: 'if (known !== undefined && anew !== undefined) {\n',
    replace: 'if (known === undefined && anew === undefined) {\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'a checkpoint that is ahead looks right once enough records came',
    file: 'channel/supervisor.ts',
    find: 'const checkpointAtMost = this.#checkpointTold ? durable : this.#openedAt\n',
    replace: 'const checkpointAtMost = this.#checkpointTold ? durable : Math.max(durable, this.#openedAt)\n',
    caughtBy: ['tests/channel/supervisor.test.ts']
  },
  {
    name: 'the letter of a lost record stands for another with its ordinal',
    file: 'ingest/dead-letters.ts',
    find: 'if (this.has(record.ordinal, receivedNs(record))) return 0\n',
    replace: 'if (this.has(record.ordinal)) return 0\n',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },
  {
    name: 'a QoS 0 publish that is shed is not counted',
    file: 'broker/publisher-side.ts',
    find: 'statistics.shed += 1\n',
    replace: 'statistics.shed += 0\n',
    caughtBy: ['tests/broker/publishing.test.ts']
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
    find: 'if (this.#letters.has(record.ordinal)) this.#lettered += 1',
    replace: 'if (record.ordinal < 0) this.#lettered += 1',
    caughtBy: ['tests/ingest/pipeline.test.ts']
  },

  // Promise 6: once.
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
    name: 'a QoS 2 id whose PUBREL has not come is taken again',
    file: 'broker/publisher-side.ts',
    find: 'const known = receivedIds.get(packetId)\n',
    replace: 'const known = receivedIds.size < 0 ? receivedIds.get(packetId) : undefined\n',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'a resend is recognised without a look at its bytes',
    file: 'broker/resends.ts',
    find: 'publishes.hasDigest(index, digest.low, digest.high) ?',
    replace: 'publishes.timeOf(index) <= this.#now() ?',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a start does not read what may be sent again',
    file: 'broker/broker.ts',
    find: 'await gate.recall()\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a later publish under a packet id does not end the one before',
    file: 'broker/resends.ts',
    find: 'if (known !== none) publishes.remove(known)\n    else if',
    replace: 'if (known !== none) return\n    if',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a publish that waited when its connection broke is taken for an older one',
    file: 'broker/publisher-side.ts',
    find: 'if (parser.header >> 4 === 3) this.#passOver(parser)\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a resend is acknowledged before its original is durable',
    file: 'broker/publisher-side.ts',
    find: 'if (!this.#reply(type, packetId, original))',
    replace: 'if (!this.#reply(type, packetId, -1))',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a resend after DISCONNECT is recognised',
    file: 'broker/publisher-side.ts',
    find: 'this.#gate.resends.forgetFrom(this.#client, this.#firstOrdinal)\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a record that is written again gets a second dead letter',
    file: 'ingest/dead-letters.ts',
    find: 'if (this.#recent.has(record.ordinal)) return 0\n',
    replace: '',
    caughtBy: ['tests/ingest/pipeline-model.test.ts']
  },
  {
    name: 'a point that is in the embedded store already is inserted beside it',
    file: 'storage/embedded-points.ts',
    find: 'rows.known[index] = greatestNs !== undefined && timeNs <= greatestNs\n',
    replace: 'rows.known[index] = greatestNs !== undefined && timeNs < greatestNs\n',
    caughtBy: ['tests/storage/embedded-store.test.ts']
  },

  // What is written into the store again.
  {
    name: 'a store that came back is not given again what it may have forgotten',
    file: 'ingest/pipeline.ts',
    find: "options.storage.onReturn(() => pipeline.#rewriting.owe('outage'))\n",
    replace: '',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  },
  {
    name: 'nothing is written again at the start',
    file: 'ingest/pipeline.ts',
    find: "if (anew === undefined && rewriteFrom !== undefined) pipeline.#rewriting.owe('start', rewriteFrom)\n",
    replace: '',
    caughtBy: ['tests/ingest/rewriting.test.ts']
  },
  {
    name: 'a restart of InfluxDB between two requests is not noticed',
    file: 'storage/influx-connection.ts',
    find: "socket.once('end', lost)\n",
    replace: '',
    caughtBy: ['tests/storage/influx-restarts.test.ts']
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
  },
  {
    name: 'the journal removes what may have to be written again',
    file: 'journal/retention.ts',
    find: ' && oldest.end <= this.keepFrom\n',
    replace: '\n',
    caughtBy: ['tests/journal/retention.test.ts']
  },

  // What the API answers and to whom.
  {
    name: 'the next page begins one nanosecond late',
    file: 'api/query-plan.ts',
    find: 'encodeCursor(binding, [...range, String(row.timeNs), row.source.key])',
    replace: 'encodeCursor(binding, [...range, String(row.timeNs + 1n), row.source.key])',
    caughtBy: ['tests/api/query.test.ts']
  },
  {
    name: 'the embedded store answers the row of the cursor again',
    file: 'storage/embedded-pieces.ts',
    find: 'one.source.key > after.sourceKey',
    replace: 'one.source.key >= after.sourceKey',
    caughtBy: ['tests/contract/embedded.test.ts']
  },
  {
    name: 'any Host is accepted',
    file: 'api/access.ts',
    find: 'if (!isHostAccepted(host, options.hosts)) {',
    replace: "if (host === 'nobody') {",
    caughtBy: ['tests/api/access.test.ts']
  },
  {
    name: 'any Origin may change something',
    file: 'api/access.ts',
    find: "checkOrigin(request.headers.origin, host ?? '')\n",
    replace: '',
    caughtBy: ['tests/api/access.test.ts']
  },
  {
    name: 'other machines are served without credentials',
    file: 'broker/gate.ts',
    find: "return address === '::1' || address.startsWith('127.')",
    replace: "return address !== ''",
    caughtBy: ['tests/broker/connecting.test.ts']
  },
  // What the fuzzer has to notice.
  {
    name: 'a packet id of 0 is taken',
    file: 'broker/publish-packet.ts',
    find: "return into.packetId === 0 ? 'packet id is 0' : undefined",
    replace: 'return undefined',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  },
  {
    name: 'a remaining length may have five bytes',
    file: 'broker/frame-parser.ts',
    find: 'if (shift === 21) return',
    replace: 'if (shift === 28) return',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  },
  {
    name: 'a topic that is not UTF-8 is taken',
    file: 'broker/topics.ts',
    find: 'return ascii || isUtf8(buffer.subarray(start, end)) ?',
    replace: 'return ascii || end > start ?',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  },
  {
    name: 'what follows CONNECT is not held until CONNACK',
    file: 'broker/connection.ts',
    find: "if (this.#state === 'opening' && !this.#block('connack')) break\n",
    replace: '',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  }
]
