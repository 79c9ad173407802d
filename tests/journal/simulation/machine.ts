import type { Dice } from './dice.ts'
import type { SimulatedDisk } from './simulated-disk.ts'
import { SimulatedProcess } from './simulated-process.ts'
import type { SimulatedTime } from './simulated-time.ts'

/** Calls that can be made to fail. */
export type FaultyCall = 'create' | 'write' | 'datasync' | 'truncate' | 'unlink' | 'rename' | 'syncFolder' | 'makeFolder' | 'freeBytes'

/** A fault that calls meet until it is used up. `short`: a write takes fewer bytes than it was given. */
export interface DiskFault {
  readonly calls: readonly FaultyCall[]
  readonly error: 'EIO' | 'ENOSPC' | 'short'
  /** Hits one call in so many. */
  readonly oneIn: number
  left: number
}

export interface MachineOptions {
  readonly time: SimulatedTime
  readonly disk: SimulatedDisk
  readonly dice: Dice
  /** Called before each call with what it is, to follow a run. */
  readonly trace?: (call: string) => void
}

/** A computer: its disk, what goes wrong on it, and how long a sync takes. */
export class Machine {
  readonly options: MachineOptions
  faults: DiskFault[] = []
  longestSyncMs = 2

  constructor(options: MachineOptions) {
    this.options = options
  }

  start(): SimulatedProcess {
    return new SimulatedProcess(this)
  }

  /** The error that a call meets, if any. */
  faultOf(call: FaultyCall, takesSpace: boolean): DiskFault['error'] | undefined {
    const fault = this.faults.find(
      ({ calls, error, oneIn, left }) =>
        left > 0 && calls.includes(call) && (takesSpace || error !== 'ENOSPC') && this.options.dice.oneIn(oneIn)
    )
    if (fault === undefined) return undefined
    fault.left--
    return fault.error
  }
}
