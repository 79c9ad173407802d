import { request } from 'node:http'
import { expect, it } from 'vitest'
import type { ApiPorts, ReplayRange, ReplayReport } from '../../api/ports.ts'
import { TidegateError } from '../../errors.ts'
import { journal, listen, openApi, otherJournal, parseJson, responseOf, until } from './fakes.ts'

const url = '/api/v1/journal/replay'
const report = (position: number, more: Partial<ReplayReport> = {}): ReplayReport => ({
  from: 3,
  to: position,
  position,
  end: 900,
  beyondKept: false,
  records: position - 3,
  ignored: 1,
  deadLettered: 2,
  points: position * 2,
  refused: 0,
  damaged: 4,
  dropped: 5,
  ...more
})
const line = (position: number, done: boolean) => ({
  ...report(position),
  done,
  from: `${journal}:3`,
  to: `${journal}:${position}`,
  position: `${journal}:${position}`,
  end: `${journal}:900`
})

const linesOf = (body: string): unknown[] =>
  body
    .split('\n')
    .filter(text => text !== '')
    .map(text => parseJson<unknown>(text))

/** A replay that the test moves on. */
function steered(): {
  readonly replay: ApiPorts['replay']
  readonly ranges: ReplayRange[]
  progress(report: ReplayReport): void
  end(outcome: ReplayReport | Error): void
  readonly signal: () => AbortSignal | undefined
} {
  const ranges: ReplayRange[] = []
  let progress: (report: ReplayReport) => void = () => undefined
  let settle: (outcome: ReplayReport | Error) => void = () => undefined
  let signal: AbortSignal | undefined
  return {
    ranges,
    replay: async (range, given, onProgress) => {
      ranges.push(range)
      progress = onProgress
      signal = given
      return await new Promise((resolve, reject) => {
        settle = outcome => (outcome instanceof Error ? reject(outcome) : resolve(outcome))
      })
    },
    progress: each => progress(each),
    end: outcome => settle(outcome),
    signal: () => signal
  }
}

it('answers with how far it is, line by line, and with the whole at the end', async () => {
  const steer = steered()
  await using api = await openApi({ replay: steer.replay, options: { progressMs: 5 } })
  const address = await listen(api)
  const asked = request(`${address}${url}`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  asked.end(JSON.stringify({ from: `${journal}:3`, to: '2026-05-04T03:02:01Z', topic: 'devices/+/#' }))
  const response = await responseOf(asked)
  expect(response.statusCode).toBe(200)
  expect(response.headers['content-type']).toContain('application/x-ndjson')
  let body = ''
  response.on('data', (part: Buffer) => (body += part.toString()))
  for (const position of [10, 20]) {
    steer.progress(report(position))
    await until(() => linesOf(body.slice(0, body.lastIndexOf('\n'))).length === position / 10, 'a line')
  }
  steer.end(report(900))
  await until(() => body.includes('"done":true'), 'the end')
  expect(linesOf(body)).toEqual([line(10, false), line(20, false), line(900, true)])
  expect(steer.ranges).toEqual([{ from: { ordinal: 3 }, to: { timeNs: 1_777_863_721_000_000_000n }, topic: 'devices/+/#' }])
})

it('ends when its client goes away', async () => {
  const steer = steered()
  await using api = await openApi({ replay: steer.replay, options: { progressMs: 5 } })
  const address = await listen(api)
  const asked = request(`${address}${url}`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  asked.on('error', () => undefined)
  asked.end('{}')
  await responseOf(asked)
  expect(steer.signal()?.aborted).toBe(false)
  asked.destroy()
  await until(() => steer.signal()?.aborted === true, 'the abort')
  steer.end(new TidegateError('TG_QUERY_CANCELLED', 'left'))
})

it('a fault before the first line is a problem, and one after it a line', async () => {
  const refusing = async (): Promise<never> => await Promise.reject(new TidegateError('TG_REPLAY_RUNNING', 'a replay is running'))
  await using refused = await openApi({ replay: refusing })
  const headers = { host: 'localhost', 'content-type': 'application/json' }
  const answer = await refused.inject({ method: 'POST', url, headers, payload: '{}' })
  expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([409, 'TG_REPLAY_RUNNING'])

  const steer = steered()
  await using api = await openApi({ replay: steer.replay, options: { progressMs: 5 } })
  const running = api.inject({ method: 'POST', url, headers, payload: '{}' })
  await until(() => steer.ranges.length === 1, 'the start')
  await new Promise(resolve => setTimeout(resolve, 30))
  steer.end(new TidegateError('TG_STOPPING', 'ingest is closed'))
  const { statusCode, body } = await running
  expect(statusCode).toBe(200)
  expect(linesOf(body)).toEqual([{ error: expect.objectContaining({ code: 'TG_STOPPING', status: 503, detail: 'ingest is closed' }) }])
})

it.each([
  [{ from: `${otherJournal}:3` }, 'TG_POSITION_FOREIGN', 'from'],
  [{ to: `${journal}:x` }, 'TG_PARAMETER_INVALID', 'to'],
  [{ to: 'yesterday' }, 'TG_PARAMETER_INVALID', 'to'],
  [{ from: '2026-05-04T03:02:01' }, 'TG_PARAMETER_INVALID', 'from'],
  [{ from: 7 }, 'TG_BODY_INVALID', 'from'],
  [{ form: 'x' }, 'TG_BODY_INVALID', 'form'],
  [{ topic: '' }, 'TG_BODY_INVALID', 'topic']
])('refuses %j', async (payload, code, parameter) => {
  await using api = await openApi()
  const answer = await api.inject({ method: 'POST', url, headers: { host: 'localhost', 'content-type': 'application/json' }, payload })
  expect(answer.json()).toMatchObject({ status: 400, code, parameter })
})

it('asks for JSON and the same origin', async () => {
  await using api = await openApi()
  const plain = await api.inject({ method: 'POST', url, headers: { host: 'localhost', 'content-type': 'text/plain' }, payload: '{}' })
  expect(plain.json()).toMatchObject({ code: 'TG_MEDIA_TYPE' })
  const headers = { host: 'localhost', 'content-type': 'application/json', origin: 'http://elsewhere' }
  expect((await api.inject({ method: 'POST', url, headers, payload: {} })).json()).toMatchObject({ code: 'TG_ORIGIN_REFUSED' })
})
