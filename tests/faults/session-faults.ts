import type { Fault } from './fault.ts'

const promises = 'tests/broker/state/promises.test.ts'

/** Faults in what survives of sessions and retained messages. */
export const sessionFaults: readonly Fault[] = [
  {
    name: 'CONNECT and SUBSCRIBE are answered before their change is durable',
    file: 'broker/state/session-state.ts',
    find: 'this.#source === undefined || (this.#replies.size === 0',
    replace: 'this.#source !== undefined || (this.#replies.size === 0',
    caughtBy: [promises]
  },
  {
    name: 'the journal behind the snapshot is not applied',
    file: 'broker/state/journal-replay.ts',
    find: 'if (ordinal < this.#restoration.position) return\n',
    replace: 'if (ordinal >= 0) return\n',
    caughtBy: [promises]
  },
  {
    name: 'segments behind the snapshot are removed',
    file: 'journal/retention.ts',
    find: 'if (end <= this.heldFrom) return false\n',
    replace: 'if (end >= 0) return false\n',
    caughtBy: [promises, 'tests/journal/retention.test.ts']
  },
  {
    name: 'what was said of records that a loss of power took counts for those that got their ordinals',
    file: 'broker/state/session-state.ts',
    find: 'const rebased = restoration.rebase(journal.uuid, journal.head)\n',
    replace: 'const rebased = journal.head < 0\n',
    caughtBy: ['tests/broker/state/session-state.test.ts']
  },
  {
    name: 'packet ids that were given out before a crash are given to other messages',
    file: 'broker/state/restored-session.ts',
    find: 'this.#passOver(passedOverIds)',
    replace: 'this.#passOver(1)',
    caughtBy: ['tests/broker/state/restored-session.test.ts']
  },
  {
    name: 'what was sent before a crash comes again without DUP',
    file: 'broker/state/restored-session.ts',
    find: 'if (message.packetId > 0 || message.ordinal >= below',
    replace: 'if (message.packetId >= 0 || message.ordinal >= below',
    caughtBy: [promises]
  },
  {
    name: 'half of a snapshot counts as a whole one',
    file: 'broker/state/restoration.ts',
    find: 'if (this.#unfinished?.at === entry.begin) this.#current = this.#unfinished\n',
    replace: 'if (this.#unfinished !== undefined) this.#current = new Restoration(this.#unfinished.begin, entry.begin)\n',
    caughtBy: ['tests/broker/state/session-state.test.ts']
  }
]
