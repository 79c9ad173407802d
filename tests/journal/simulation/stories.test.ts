import { expect, test, vi } from 'vitest'
import type { Ending, Setting, Step } from './steps.ts'
import { World } from './world.ts'

vi.mock('node:crypto', async original => ({ ...(await original<object>()), randomInt: () => 0x1234_5678 }))

/** Stories that broke a promise once, each told with chance falling in many ways. */
const usual: Setting = {
  sync: 'fsync',
  syncDelayMs: 0,
  segmentBytes: 100_000,
  maxBytes: 1_000_000,
  reserveBytes: 0,
  whenFull: 'reject-new',
  keep: { timeMs: 86_400_000, bytes: 10_000_000 },
  pendingBytes: 40_000,
  firstOrdinal: 0
}
const append = (count: number, bytes = 200): Step => ({ kind: 'append', client: 1, count, bytes })
const pass = (ms: number): Step => ({ kind: 'pass', ms })
const fails = (calls: Extract<Step, { kind: 'fault' }>['calls'], error: 'EIO' | 'ENOSPC', times = 1000): Step => ({
  kind: 'fault',
  calls,
  error,
  oneIn: 1,
  times
})
const end = (how: Ending['how'], when: Ending['when'] = 0): Step => ({ kind: 'end', how, when, openingMs: undefined, forgets: 'nothing' })
const heal: Step = { kind: 'heal' }
const read: Step = { kind: 'read', maxRecords: 1000, maxBytes: 1_000_000 }

const stories: readonly { readonly name: string; readonly setting?: Partial<Setting>; readonly steps: readonly Step[] }[] = [
  {
    name: 'a group whose sync failed is found in the cache by the next process, and the power goes',
    steps: [
      append(3),
      pass(20),
      fails(['datasync'], 'EIO', 1),
      fails(['create'], 'EIO'),
      append(8),
      pass(5),
      end('kill'),
      heal,
      end('power')
    ]
  },
  {
    name: 'a segment whose folder was not synced is found by the next process on a full disk, and the power goes',
    steps: [fails(['syncFolder', 'unlink'], 'EIO'), append(3), pass(3), heal, fails(['create'], 'ENOSPC'), end('kill'), heal, end('power')]
  },
  {
    name: 'a full disk costs committed segments while nothing else says where the ordinals go on',
    setting: { segmentBytes: 400 },
    steps: [append(5), pass(20), end('close'), fails(['create', 'write'], 'ENOSPC'), read, append(1), pass(200), end('power')]
  },
  {
    name: 'what failing groups left comes back with the power',
    steps: [append(1), pass(20), fails(['datasync', 'syncFolder'], 'EIO', 20), append(3), pass(3000), end('power'), end('kill')]
  },
  {
    name: 'records that were told and never synced',
    steps: [append(20), end('power', 'told'), append(20, 1500), end('power', 'told')]
  },
  {
    name: 'a journal that is closed while its disk fails, and its disk full when it opens',
    steps: [
      append(5),
      fails(['write'], 'EIO', 3),
      append(5),
      end('close'),
      append(5),
      fails(['create', 'write'], 'ENOSPC'),
      end('close'),
      heal
    ]
  }
]

test.each([...stories])('$name: nothing promised is lost', async ({ setting, steps }) => {
  for (let dice = 0; dice < 40; dice++) {
    await expect(World.play({ setting: { ...usual, ...setting }, steps, dice }), `dice ${dice}`).resolves.toBeUndefined()
  }
})
