import { expect } from 'vitest'
import type { TestContext } from 'vitest'
import { deviationOf } from './mosquitto.ts'
import { OnlyOurs } from './served.ts'

/**
 * Runs a check. Against another server than ours a test ends where it looks into our broker (skipped, if nothing was seen
 * before), and is skipped when it fails where that server is known to be another than the specification says.
 */
export async function judge(
  context: TestContext,
  statement: { readonly protocol: 3 | 5; readonly id: string },
  check: () => Promise<void>
): Promise<void> {
  try {
    await check()
  } catch (error) {
    if (error instanceof OnlyOurs) {
      if (expect.getState().assertionCalls === 0) context.skip('it needs a look into our broker')
      return
    }
    const why = deviationOf(statement.protocol, statement.id)
    if (why === undefined) throw error
    context.skip(`known of this server: ${why}`)
  }
}
