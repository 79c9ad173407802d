import { expect, it } from 'vitest'
import { standIn, type StandIn, tidegate } from './harness.ts'

const report = {
  done: true,
  from: 'j:3',
  to: 'j:9',
  position: 'j:9',
  end: 'j:9',
  beyondKept: false,
  records: 6,
  ignored: 0,
  deadLettered: 1,
  points: 11,
  refused: 0,
  damaged: 0,
  dropped: 0
}

/** A stand-in for the API that answers with the lines, and keeps what it was asked. */
async function serve(lines: readonly unknown[], status = 200): Promise<StandIn> {
  return await standIn(response => {
    response.writeHead(status, { 'content-type': 'application/x-ndjson' })
    for (const line of lines) if (line !== 'break') response.write(`${JSON.stringify(line)}\n\n`)
    if (lines.includes('break')) response.write(' ', () => response.destroy())
    else response.end()
  })
}

it('asks for the range, says how far it is, and prints what was done', async () => {
  await using api = await serve([{ ...report, done: false, position: 'j:5', records: 2, points: 4 }, report])
  const args = ['journal', 'replay', '--from', 'j:3', '--to', '2026-05-04T03:02:01Z', '--topic', 'devices/#', '--http', api.url]
  const { code, out, err } = await tidegate(args)
  expect({ code, err }).toEqual({ code: 0, err: 'at j:5 of j:9: 2 records, 4 points' })
  expect(out.split('\n').map(line => line.split(/ +/))).toEqual([
    ['from', 'j:3'],
    ['to', 'j:9'],
    ['records', '6'],
    ['points', '11'],
    ['ignored', '0'],
    ['deadLettered', '1'],
    ['refused', '0'],
    ['damaged', '0'],
    ['dropped', '0']
  ])
  expect(api.asked).toEqual([
    {
      method: 'POST',
      url: '/api/v1/journal/replay',
      type: 'application/json',
      body: { from: 'j:3', to: '2026-05-04T03:02:01Z', topic: 'devices/#' }
    }
  ])
})

it('--json prints the report', async () => {
  await using api = await serve([report])
  const { code, out } = await tidegate(['journal', 'replay', '--json', '--http', api.url])
  expect(code).toBe(0)
  expect(JSON.parse(out)).toEqual(report)
})

it.each([
  [{ beyondKept: true }, 'The range begins before the oldest record that is kept'],
  [{ damaged: 2 }, '2 records of the range cannot be read any more.'],
  [{ dropped: 3 }, '3 records of the range were dropped'],
  [{ refused: 4 }, '4 points were refused by the store.']
])('what is not in the store, %j, is exit code 1 and a line', async (more, line) => {
  await using api = await serve([{ ...report, ...more }])
  const { code, err } = await tidegate(['journal', 'replay', '--http', api.url])
  expect(code).toBe(1)
  expect(err).toContain(line)
  expect((await tidegate(['journal', 'replay', '--json', '--http', api.url])).code).toBe(1)
})

it.each([
  [[{ ...report, done: false }], 'ended the answer before the replay was through'],
  [[{ ...report, done: false }, { error: { code: 'TG_STOPPING', detail: 'ingest is closed' } }], 'ingest is closed'],
  [[{ ...report, done: false }, 'break'], 'broke'],
  [[], 'ended the answer before']
])('an answer that ends early, %j, is exit code 1', async (lines, words) => {
  await using api = await serve(lines)
  const { code, out, err } = await tidegate(['journal', 'replay', '--http', api.url])
  expect([code, out]).toEqual([1, ''])
  expect(err).toContain(words)
})

it('a refused request is one line', async () => {
  await using api = await serve([{ title: 'A replay is running', detail: 'a replay is running: try again' }], 409)
  expect(await tidegate(['journal', 'replay', '--http', api.url])).toEqual({
    code: 1,
    out: '',
    err: `tidegate: ${api.url} refuses the request: a replay is running: try again`
  })
  expect((await tidegate(['journal', 'replay', '--http', 'http://127.0.0.1:9'])).err).toContain('no Tidegate answers')
  expect((await tidegate(['journal', 'replay', '--http', 'here'])).err).toContain('--http: "here" is not an address')
})
