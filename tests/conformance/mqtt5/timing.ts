import { expect } from 'vitest'
import { against } from '../served.ts'
import type { Client } from './world.ts'

/** Others count whole seconds of a clock, so that the first may be a short one. */
const graceMs = against === undefined ? 0 : 1000

/** What is described so comes, and not before these seconds are over. `began`: monotonic milliseconds before they could begin. */
export async function expectAfter(client: Client, described: string, began: number, seconds: number): Promise<void> {
  await client.sees(described)
  const arrival = client.arrivals[client.seen.indexOf(described)] ?? 0
  expect(arrival - began, `seconds until ${described}`).toBeGreaterThanOrEqual(seconds * 1000 - graceMs - 5)
}
