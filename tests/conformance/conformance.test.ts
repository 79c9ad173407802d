import { describe, expect, test } from 'vitest'
import { connack, connecting, pingAndDisconnect } from './connect.ts'
import { format } from './format.ts'
import { judge } from './judge.ts'
import { flows, publishing } from './publish.ts'
import { serve } from './served.ts'
import { allStatements } from './statements.ts'
import type { TestedId } from './statements.ts'
import { subscribing, topicsAndErrors } from './subscribe.ts'
import { version31 } from './version31.ts'
import type { Check } from './wire.ts'

/** The type holds that each statement that we say something of has its check, and that no check is of another. */
const checks: Readonly<Record<TestedId, Check>> = {
  ...format,
  ...connecting,
  ...connack,
  ...publishing,
  ...subscribing,
  ...pingAndDisconnect,
  ...flows,
  ...topicsAndErrors,
  ...version31
}

describe('MQTT 3.1.1 and 3.1', () => {
  const all = new Map<string, Check>(Object.entries(checks))
  for (const [id, statement] of allStatements) {
    if (statement.verdict !== 'pass' && statement.verdict !== 'deviation') continue
    const but = statement.verdict === 'deviation' ? `, but: ${statement.why}` : ''
    test(`[${id}] ${statement.says}${but}`, async context => {
      await judge(context, { protocol: 3, id }, async () => {
        await using served = await serve()
        await all.get(id)?.(served)
        expect.hasAssertions()
      })
    })
  }
})
