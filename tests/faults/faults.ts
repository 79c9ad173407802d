import { edgeFaults } from './edge-faults.ts'
import { ingestFaults } from './ingest-faults.ts'
import { journalFaults } from './journal-faults.ts'
import { sessionFaults } from './session-faults.ts'
import { storeFaults } from './store-faults.ts'

/** Every fault that is planted, in the order of a message's way. */
export const faults = [...edgeFaults, ...journalFaults, ...sessionFaults, ...ingestFaults, ...storeFaults]
