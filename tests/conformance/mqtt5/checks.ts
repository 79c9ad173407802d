import { expect, test } from 'vitest'
import { judge } from '../judge.ts'
import { against, serve } from '../served.ts'
import { connack } from './connack.ts'
import { connecting } from './connect.ts'
import { ending } from './ending.ts'
import { flows } from './flows.ts'
import { format } from './format.ts'
import { limits } from './limits.ts'
import { publishing } from './publish.ts'
import { retained } from './retained.ts'
import { statements5 } from './statements.ts'
import type { Tested5 } from './statements.ts'
import { subscribing } from './subscribe.ts'
import { topics } from './topics.ts'
import { unnumbered } from './unnumbered.ts'
import { wills } from './will.ts'
import { World } from './world.ts'
import type { Check } from './world.ts'

/** What waits for seconds to pass, in a file of its own, so that it does so beside the others. */
const unhurried = { ...wills, ...retained, ...flows }

const others = {
  ...format,
  ...connecting,
  ...connack,
  ...publishing,
  ...limits,
  ...subscribing,
  ...ending,
  ...topics,
  ...unnumbered
}

/** The type holds that each statement that we say something of has its check. */
const checks: Readonly<Record<Tested5, Check>> = { ...unhurried, ...others }

/** A test for each statement that has a check: those about sessions, wills and time, or all others. */
export function testStatements(part: 'unhurried' | 'others'): void {
  const all = new Map<string, Check>(Object.entries(checks))
  for (const [id, statement] of Object.entries(statements5)) {
    const check = all.get(id)
    if (id in unhurried !== (part === 'unhurried')) continue
    // Some that cannot be seen of ours can be of others.
    if (check === undefined || (against === undefined && statement.verdict === 'unseen')) continue
    const but = statement.verdict === 'deviation' ? `, but: ${statement.why}` : ''
    test(`[${id}] ${statement.says}${but}`, async context => {
      await judge(context, { protocol: 5, id }, async () => {
        await using served = await serve()
        using world = new World(served)
        await check(world)
        world.expectNoFaults()
        expect.hasAssertions()
      })
    })
  }
}
