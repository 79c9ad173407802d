import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Type } from 'typebox'
import { TidegateError } from '../../errors.ts'
import { decodePosition, encodePosition } from '../../telemetry.ts'
import type { ApiPorts, ReplayEnd, ReplayReport } from '../ports.ts'
import { encodeProblem, toTidegateError } from '../problems.ts'
import { NoParameters, textResponses, watchClient } from '../routing.ts'
import type { Api } from '../routing.ts'
import { parseTime } from '../times.ts'

const Range = Type.Object(
  {
    from: Type.Optional(
      Type.String({ minLength: 1, maxLength: 100, description: 'First record: a position, or its received time (default the oldest kept)' })
    ),
    to: Type.Optional(
      Type.String({ minLength: 1, maxLength: 100, description: 'Behind the last record: a position, or a received time (default all)' })
    ),
    topic: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'An MQTT topic filter' }))
  },
  { additionalProperties: false, title: 'ReplayRange' }
)

const Report = Type.Object(
  {
    done: Type.Boolean({ description: 'true in the last line: all of the range that is kept is in the store' }),
    from: Type.String({ description: 'Position of the first record in the range' }),
    to: Type.String({ description: 'Position behind the last one so far' }),
    position: Type.String({ description: 'Position that is looked at next' }),
    end: Type.String({ description: 'Position at which everything has been looked at' }),
    beyondKept: Type.Boolean({ description: 'The range that was asked for begins before the oldest record that is kept' }),
    records: Type.Integer({ description: 'Records in the range that were read' }),
    ignored: Type.Integer({ description: 'Of those: a route ignores them' }),
    deadLettered: Type.Integer({ description: 'Of those: nothing of them was ever stored' }),
    points: Type.Integer({ description: 'Points written, those of later records that were written again to keep the order included' }),
    refused: Type.Integer({ description: 'Points that the store refuses' }),
    damaged: Type.Integer({ description: 'Records in the range that cannot be read' }),
    dropped: Type.Integer({ description: 'Records in the range that were dropped' })
  },
  { title: 'ReplayReport' }
)

const schema = {
  operationId: 'replayJournal',
  summary: 'Writes kept records into the store again; no outcome changes',
  description:
    'For a store that was emptied or restored: points that are there already stay as they are. The answer is NDJSON: how far it is, ' +
    'about once a second, then a line with done = true. A fault after the first line is a line with a problem as `error`. One replay ' +
    'runs at a time; it ends when its client goes away. Ends of the range are positions, or times: ISO 8601 with a zone or epoch milliseconds.',
  tags: ['operations'],
  querystring: NoParameters,
  body: Range,
  response: textResponses({
    200: { description: 'One report a line', content: { 'application/x-ndjson': { schema: Report } } }
  })
} as const

/** POST /api/v1/journal/replay. */
export function journalRoutes(api: Api, ports: ApiPorts): void {
  const { progressMs = 1_000 } = ports.options
  api.post('/api/v1/journal/replay', { schema }, async (request, reply) => {
    const { from, to, topic } = request.body
    const range = {
      ...(from === undefined ? {} : { from: parseEnd('from', from, ports.journal) }),
      ...(to === undefined ? {} : { to: parseEnd('to', to, ports.journal) }),
      ...(topic === undefined ? {} : { topic })
    }
    const client = watchClient(reply)
    let last: ReplayReport | undefined
    const running = ports.replay(range, client.signal, report => {
      last = report
    })
    // Whatever speaks against it is said at once, and as a problem.
    await Promise.race([running, delay(progressMs, undefined, { ref: false })])
    const lines = linesOf(running, () => last, { journal: ports.journal, progressMs })
    return await reply.type('application/x-ndjson; charset=utf-8').send(Readable.from(lines, { objectMode: false }))
  })
}

async function* linesOf(
  running: Promise<ReplayReport>,
  progress: () => ReplayReport | undefined,
  { journal, progressMs }: { readonly journal: string; readonly progressMs: number }
): AsyncGenerator<string, void, void> {
  const ended = running.then(
    report => ({ report }),
    (error: unknown) => ({ error })
  )
  let said: ReplayReport | undefined
  for (;;) {
    const end = await Promise.race([ended, delay(progressMs, undefined, { ref: false })])
    if (end !== undefined) {
      yield 'report' in end ? encodeReport(end.report, true, journal) : encodeFault(end.error)
      return
    }
    const report = progress()
    // An empty line keeps a connection alive on which there is nothing new, while the store is away.
    yield report === undefined || report === said ? '\n' : encodeReport(report, false, journal)
    said = report
  }
}

function encodeReport({ from, to, position, end, ...counts }: ReplayReport, done: boolean, journal: string): string {
  const at = (ordinal: number): string => encodePosition(journal, ordinal)
  return `${JSON.stringify({ done, from: at(from), to: at(to), position: at(position), end: at(end), ...counts })}\n`
}

function encodeFault(error: unknown): string {
  const { code, message, context } = toTidegateError(error)
  return `{"error":${encodeProblem(code, message, context['parameter'])}}\n`
}

function parseEnd(parameter: string, text: string, journal: string): ReplayEnd {
  const position = decodePosition(text)
  if (position === undefined) return { timeNs: parseTime(parameter, text, 'a position') }
  if (position.journal === journal) return { ordinal: position.ordinal }
  throw new TidegateError('TG_POSITION_FOREIGN', `${parameter}: the position is of another journal`, { context: { parameter } })
}
