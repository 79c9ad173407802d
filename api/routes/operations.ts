import { Type } from 'typebox'
import type { ApiPorts } from '../ports.ts'
import { NoParameters, problemResponses } from '../routing.ts'
import type { Api } from '../routing.ts'

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
    balanced: Type.Boolean({ description: 'The outcomes add up to what was worked off' }),
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
      const ledger = await ports.ledger()
      return { ...ledger, sinceStart: { ...ledger.sinceStart } }
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
