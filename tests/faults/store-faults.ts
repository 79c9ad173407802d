import type { Fault } from './fault.ts'

/** Faults in the stores, the backup and the API. */
export const storeFaults: readonly Fault[] = [
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
    name: 'a backup takes its journal as it was before its database',
    file: 'backup/write-backup.ts',
    find: 'const { own, from, heldMs } = await this.#copyDatabase(pinJournal)\n',
    replace: `const early = await running?.pinJournal(this.#sources.settledBelow)
      if (running !== undefined && early !== undefined) running.pinJournal = async () => early
      const { own, from, heldMs } = await this.#copyDatabase(pinJournal)\n`,
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
  {
    name: 'the rows of the embedded store are taken from the tally',
    file: 'storage/embedded-store.ts',
    find: '(SELECT count(*) FROM points), c.journal',
    replace: 't.inserted - t.replaced - t.expired, c.journal',
    caughtBy: ['tests/storage/embedded-accounts.test.ts']
  },
  {
    name: 'expired points stay in the tally',
    file: 'storage/embedded-upkeep.ts',
    find: 'SET expired = expired + $expired',
    replace: 'SET expired = expired + 0 * $expired',
    caughtBy: ['tests/storage/embedded-accounts.test.ts']
  },
  {
    name: 'a point that is in the embedded store already is inserted beside it',
    file: 'storage/embedded-points.ts',
    find: 'rows.known[index] = greatestNs !== undefined && timeNs <= greatestNs\n',
    replace: 'rows.known[index] = greatestNs !== undefined && timeNs < greatestNs\n',
    caughtBy: ['tests/storage/embedded-store.test.ts']
  },
  {
    name: 'a restart of InfluxDB between two requests is not noticed',
    file: 'storage/influx-connection.ts',
    find: "socket.once('close', lost)\n",
    replace: '',
    caughtBy: ['tests/storage/influx-restarts.test.ts']
  },
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
  }
]
