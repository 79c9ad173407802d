/**
 * The page: numbers, devices and one chart, moved by the live stream. Everything is drawn from state a few times a
 * second at most, so a busy stream costs the reading of its messages and nothing else.
 */
import { loadDevices, loadLatest, loadLedger, loadLetterCount, loadReadiness, loadRecent } from './api.ts'
import { Chart, loadLibrary } from './chart.ts'
import type { PlottedSeries } from './chart-panel.ts'
import { ChartPanel } from './chart-panel.ts'
import { DeviceCards, setText } from './device-cards.ts'
import { formatCount, formatRate } from './format.ts'
import { LiveFeed } from './live-feed.ts'
import { RateMeter } from './rate-meter.ts'
import type { LedgerNumbers, Readiness } from './readings.ts'

declare global {
  interface Window {
    /** What the chart shows, for tests. */
    readonly tidegateChart: PlottedSeries | undefined
  }
}

/** Where the page was found is where devices find it. */
const host = location.hostname === '' ? '127.0.0.1' : location.hostname
/** So long after loading the page a missing answer is no loss yet. */
const startingMs = 5000
const lostText = 'No answer from Tidegate: what stands here is what it said last. It goes on by itself when the answer comes.'
const drawEveryMs = 200
const statusEveryMs = 2000
const devicesEveryMs = 10_000

function element<E extends HTMLElement>(id: string, kind: abstract new (...args: never) => E): E {
  const found = document.getElementById(id)
  if (found instanceof kind) return found
  throw new Error(`no element #${id}`)
}

const state = element('state', HTMLElement)
const mqtt = element('mqtt', HTMLElement)
const served = element('served', HTMLElement)
const reasons = element('reasons', HTMLUListElement)
const chartElement = element('chart', HTMLElement)
const panel = new ChartPanel(
  {
    panel: element('chart-panel', HTMLElement),
    title: element('chart-title', HTMLElement),
    value: element('chart-value', HTMLElement),
    note: element('chart-note', HTMLElement),
    controls: element('controls', HTMLElement),
    field: element('field', HTMLSelectElement),
    range: element('range', HTMLSelectElement),
    chart: chartElement
  },
  new Chart(chartElement, await loadLibrary())
)
const cards = new DeviceCards(element('devices', HTMLUListElement), pick)
const rate = new RateMeter()
const feed = new LiveFeed({
  message: items => {
    rate.add(performance.now(), 1)
    for (const item of items) {
      cards.take(item, true)
      panel.take(item)
    }
  },
  gap: () => void reload(),
  state: connected => {
    streaming = connected
    // what was stored while the stream was away and had no id yet is only in the store
    if (connected && lost) void reload()
    lost = !connected
  }
})
let streaming = false
let lost = false
/** The newest answer of /readyz, and whether the newest question got one. */
let readiness: Readiness | undefined
let answering = false
let ledger: (LedgerNumbers & { readonly atMs: number }) | undefined
let ledgerRate = 0
let letterCount: number | undefined
let moreDevices = false
let loaded = false
let drawnMs = 0

Object.defineProperty(window, 'tidegateChart', { get: () => panel.plotted })

/** A choice by hand: from a card far down the chart would change out of sight. */
function pick(device: string): void {
  choose(device)
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches
  element('chart-panel', HTMLElement).scrollIntoView({ block: 'nearest', behavior: still ? 'auto' : 'smooth' })
}

function choose(device: string): void {
  cards.mark(device)
  feed.follow(device)
  void panel.show(device)
}

/** Everything from the API: what a start needs, and what a gap in the stream left out. */
async function reload(): Promise<void> {
  try {
    await refreshDevices()
    for (const item of (await loadRecent()).toReversed()) cards.take(item, false)
    loaded = true
    await panel.reload()
  } catch {
    // the state line says what is wrong; the next round tries again
  }
}

async function refreshDevices(): Promise<void> {
  const { items, more } = await loadDevices()
  moreDevices = more
  for (const entry of items) cards.seen(entry)
}

/** Devices that have said nothing lately have no values from the recent readings. */
async function fillQuietCards(): Promise<void> {
  for (const device of cards.withoutValues().slice(0, 20)) for (const item of await loadLatest(device)) cards.take(item, false)
}

async function refreshStatus(): Promise<void> {
  try {
    readiness = await loadReadiness()
    answering = true
  } catch {
    answering = false
  }
  try {
    const numbers = await loadLedger()
    const atMs = performance.now()
    if (ledger !== undefined) ledgerRate = Math.max(0, ((numbers.stored - ledger.stored) * 1000) / (atMs - ledger.atMs))
    ledger = { ...numbers, atMs }
    letterCount = await loadLetterCount()
  } catch {
    // the last numbers stay
  }
}

function stateName(): 'connecting' | 'ready' | 'limited' | 'not-ready' | 'lost' {
  if (!answering || readiness === undefined) return performance.now() < startingMs ? 'connecting' : 'lost'
  if (!readiness.ready) return 'not-ready'
  if (readiness.reasons.length > 0) return 'limited'
  if (streaming) return 'ready'
  return lost || performance.now() > startingMs ? 'lost' : 'connecting'
}

function drawState(): void {
  const name = stateName()
  const text = {
    connecting: 'connecting',
    ready: 'ready',
    limited: 'ready, with restrictions',
    'not-ready': 'not ready',
    lost: 'connection lost, trying again'
  }[name]
  if (state.dataset['state'] !== name) state.dataset['state'] = name
  setText(state, text)
  const list = name === 'lost' ? [lostText] : answering ? (readiness?.reasons ?? []) : []
  reasons.hidden = list.length === 0
  while (reasons.childElementCount > list.length) reasons.lastElementChild?.remove()
  while (reasons.childElementCount < list.length) reasons.append(document.createElement('li'))
  for (const [index, reason] of list.entries()) {
    const line = reasons.children[index]
    if (line !== undefined) setText(line, reason)
  }
  if (readiness === undefined) return
  const { mqttPort, anonymous } = readiness
  setText(mqtt, mqttPort === undefined ? '' : `mqtt://${host}:${mqttPort}`)
  setText(served, servedText(anonymous))
}

function servedText(anonymous: string | undefined): string {
  switch (anonymous) {
    case 'loopback':
      return 'Without credentials only this machine is served (access.anonymous: loopback)'
    case 'any':
      return 'Anyone who can reach it is served without credentials (access.anonymous: any)'
    case 'never':
      return 'Nobody is served without credentials (access.anonymous: never)'
    default:
      return ''
  }
}

function drawNumbers(nowMs: number): void {
  setText(element('message-rate', HTMLElement), formatRate(feed.flooded ? ledgerRate : rate.rate(nowMs)))
  setText(element('device-count', HTMLElement), loaded ? `${formatCount(cards.count)}${moreDevices ? '+' : ''}` : '–')
  if (ledger !== undefined) {
    setText(element('stored', HTMLElement), formatCount(ledger.stored))
    setText(element('in-journal', HTMLElement), formatCount(ledger.inJournal))
  }
  if (letterCount !== undefined) setText(element('dead-letters', HTMLElement), formatCount(letterCount))
  const { matching, hidden } = cards.found
  const more = element('more', HTMLElement)
  more.hidden = hidden === 0 && matching > 0 && !feed.flooded
  setText(
    more,
    feed.flooded
      ? 'Too much is going on to show everything live: the cards rest, the numbers and the chart go on.'
      : matching === 0
        ? 'No device has such a name.'
        : `${formatCount(hidden)} more devices: search for one by its name.`
  )
}

function drawEmpty(): void {
  const empty = loaded && cards.count === 0
  element('empty', HTMLElement).hidden = !empty
  element('devices-panel', HTMLElement).hidden = cards.count === 0
  if (!empty) return
  const port = readiness?.mqttPort ?? 1883
  const at = `-h ${host.replace(/^\[|\]$/g, '')} -p ${port}`
  setText(element('example', HTMLElement), `mosquitto_pub ${at} -q 1 -t devices/kitchen/telemetry -m '{"temperature":21.5}'`)
  setText(
    element('example-http', HTMLElement),
    `curl '${location.origin}/api/v1/telemetry?topic=devices/kitchen/telemetry' -H 'content-type: application/json' -d '{"temperature":21.5}'`
  )
  setText(element('example-simulation', HTMLElement), `npx tidegate sim run home --url mqtt://${host}:${port}`)
}

function draw(): void {
  requestAnimationFrame(draw)
  const nowMs = performance.now()
  if (nowMs - drawnMs < drawEveryMs) return
  drawnMs = nowMs
  drawState()
  drawNumbers(nowMs)
  drawEmpty()
  cards.draw(Date.now(), chartElement)
  panel.draw(Date.now())
  if (panel.device !== '' || !loaded) return
  const first = cards.firstNumeric(Date.now())
  if (first !== undefined) choose(first)
}

/** Runs a task again and again with a pause between the runs, whatever becomes of it. */
function repeat(everyMs: number, task: () => Promise<void>): void {
  const run = (): void => {
    void task()
      .catch(() => undefined)
      .finally(() => setTimeout(run, document.hidden ? everyMs * 5 : everyMs))
  }
  run()
}

element('search', HTMLInputElement).addEventListener('input', event => {
  if (event.target instanceof HTMLInputElement) cards.search(event.target.value)
})
feed.follow('')
repeat(statusEveryMs, refreshStatus)
repeat(devicesEveryMs, async () => {
  if (!loaded) await reload()
  else await refreshDevices()
  await fillQuietCards()
})
requestAnimationFrame(draw)
