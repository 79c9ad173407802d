import { Type } from 'typebox'
import type { ApiPorts } from '../ports.ts'
import { NoParameters, problemResponses } from '../routing.ts'
import type { Api } from '../routing.ts'
import { msToNs, timeToText } from '../times.ts'

const Count = Type.Integer({ minimum: 0 })

const LedgerBody = Type.Object(
  {
    since: Type.Integer({ minimum: 0, description: 'Ordinal at which the totals start' }),
    accepted: Count,
    stored: Count,
    inJournal: Count,
    deadLettered: Count,
    ignored: Count,
    deduplicated: Count,
    dropped: Count,
    damaged: Count,
    balanced: Type.Union([Type.Boolean(), Type.Null()], {
      description: 'Do the independent counts of the newest check agree? Null until the first check after a start has ended'
    }),
    checkedAt: Type.Union([Type.String(), Type.Null()], { description: 'When the newest check began' }),
    checkedHead: Type.Union([Count, Type.Null()], { description: 'The newest check is about the records below this ordinal' }),
    faults: Type.Array(
      Type.Object({
        count: Type.Union([Type.Literal('outcomes'), Type.Literal('journal'), Type.Literal('deadLetters'), Type.Literal('points')], {
          description: 'Which count disagrees'
        }),
        expected: Type.Integer(),
        found: Type.Integer(),
        message: Type.String({ description: 'The same in plain words' })
      }),
      { description: 'What disagreed in the newest check; empty when nothing did' }
    ),
    sinceStart: Type.Object({ shed: Count, resends: Count, refused: Count }, { description: 'What never entered, since the start' })
  },
  { title: 'Ledger', description: 'What was accepted and what became of it' }
)

const ReadinessBody = Type.Object(
  {
    ready: Type.Boolean(),
    mqttPort: Type.Union([Type.Integer(), Type.Null()], { description: 'Where devices publish; null while the edge starts' }),
    anonymous: Type.Union([Type.Literal('loopback'), Type.Literal('any'), Type.Literal('never')], {
      description: 'Who is served without credentials: this machine, anybody, nobody'
    }),
    reasons: Type.Array(
      Type.Object({
        code: Type.String(),
        message: Type.String(),
        counts: Type.Optional(Type.Record(Type.String(), Type.Integer(), { description: 'What the message says, as numbers' }))
      }),
      { description: 'Also what is wrong without standing in the way' }
    )
  },
  { title: 'Readiness', description: 'Whether publishes can be acknowledged' }
)

/** GET /api/v1/ledger, /healthz, /readyz and /metrics. */
export function operationsRoutes(api: Api, ports: ApiPorts): void {
  const tags = ['operations']

  api.get(
    '/api/v1/ledger',
    {
      schema: {
        operationId: 'getLedger',
        summary: 'The balance of accepted records',
        tags,
        querystring: NoParameters,
        response: { 200: LedgerBody, ...problemResponses }
      }
    },
    async () => {
      const { check, sinceStart, ...numbers } = await ports.ledger()
      return {
        ...numbers,
        balanced: check === undefined ? null : check.faults.length === 0,
        checkedAt: check === undefined ? null : timeToText(msToNs(check.atMs), 'iso'),
        checkedHead: check?.head ?? null,
        faults: check?.faults.map(fault => ({ ...fault })) ?? [],
        sinceStart: { ...sinceStart }
      }
    }
  )

  api.get(
    '/healthz',
    {
      config: { open: true },
      schema: {
        operationId: 'getHealth',
        summary: 'Is the service alive?',
        tags,
        querystring: NoParameters,
        response: { 200: Type.Object({ status: Type.Literal('ok') }, { description: 'It is' }), ...problemResponses }
      }
    },
    async () => ({ status: 'ok' as const })
  )

  api.get(
    '/readyz',
    {
      config: { open: true },
      schema: {
        operationId: 'getReadiness',
        summary: 'Can publishes be acknowledged?',
        tags,
        querystring: NoParameters,
        response: { 200: ReadinessBody, 503: ReadinessBody, '4xx': problemResponses['4xx'] }
      }
    },
    async (_request, reply) => {
      const { ready, mqttPort = null, reasons } = ports.readiness()
      const { anonymous } = ports.options
      return await reply.code(ready ? 200 : 503).send({
        ready,
        mqttPort,
        anonymous,
        reasons: reasons.map(({ code, message, counts }) => ({
          code,
          message,
          ...(counts === undefined ? {} : { counts: { ...counts } })
        }))
      })
    }
  )

  api.get(
    '/metrics',
    {
      schema: {
        operationId: 'getMetrics',
        summary: 'Metrics of both processes (Prometheus text format 0.0.4)',
        tags,
        querystring: NoParameters,
        response: { 200: { description: 'Metrics', content: { 'text/plain': { schema: Type.String() } } }, ...problemResponses }
      }
    },
    async (_request, reply) => await reply.type('text/plain; version=0.0.4; charset=utf-8').send(await ports.metrics())
  )
}
