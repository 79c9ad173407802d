import { expect, test, vi } from 'vitest'
import { playRound } from './round.ts'
import { World } from './world.ts'

const packets = numberOf('TIDEGATE_FUZZ_PACKETS', 20_000)
const seed = numberOf('TIDEGATE_FUZZ_SEED', 1)

function numberOf(variable: string, otherwise: number): number {
  const given = Number(process.env[variable] ?? otherwise)
  if (!Number.isSafeInteger(given) || given < 1) throw new Error(`${variable} is not a whole number above 0`)
  return given
}

test(
  `${packets} damaged packets from seed ${seed} on are judged as the specification says, and harm nobody`,
  { timeout: 7_200_000 },
  async () => {
    // No keep alive expires: a slow machine is no fault of the broker's.
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const total = { packets: 0, connections: 0, violations: 0, bytes: 0 }
    const uncaught: unknown[] = []
    const note = (error: unknown): void => void uncaught.push(error)
    process.on('uncaughtException', note)
    process.on('unhandledRejection', note)
    const start = performance.now()
    try {
      for (let round = seed; total.packets < packets; round++) {
        try {
          await using world = await World.open()
          const tally = await playRound(world, round)
          total.packets += tally.packets
          total.connections += tally.connections
          total.violations += tally.violations
          total.bytes += tally.bytes
          if (uncaught.length > 0) throw uncaught[0]
        } catch (error) {
          throw new Error(`replay it with: npm run test:fuzz -- --packets 1 --seed ${round}`, { cause: error })
        }
      }
    } finally {
      process.off('uncaughtException', note)
      process.off('unhandledRejection', note)
      vi.useRealTimers()
    }
    const seconds = (performance.now() - start) / 1000
    console.log(JSON.stringify({ ...total, seconds: Math.round(seconds), packetsPerSecond: Math.round(total.packets / seconds) }))
    expect(total.packets).toBeGreaterThanOrEqual(packets)
  }
)
