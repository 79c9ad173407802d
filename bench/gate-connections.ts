import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type BrokerName, brokerNames, type MeasuredBroker, startBroker } from './brokers.ts'
import { openClient } from './clients.ts'
import { type Figures, median, round } from './figures.ts'
import { rssMiBOf } from './machine.ts'
import { short } from './rounds.ts'

const idle = short ? 1_500 : 15_000
const storm = short ? 500 : 5_000
const storms = short ? 1 : 5
/** Connections that are under way at once while the idle ones come. */
const atOnce = 200

/**
 * Resident memory of 15,000 idle connections above an empty broker, and how long a storm takes in which 5,000 of them are
 * cut and come back at once, until the last has its CONNACK. Bound: ≤ 20 KiB each; ≤ 3 s, none refused.
 */
export async function measureConnections(): Promise<Figures> {
  const figures: Record<string, number> = { connections: idle, storm }
  const stormMs: Partial<Record<BrokerName, number>> = {}
  for (const name of brokerNames) {
    await using broker = await startBroker(name)
    expectFiles(process.pid)
    expectFiles(broker.pid)
    const empty = await settledRss(broker.pid)
    const sockets = await connectIdle(broker)
    const full = await settledRss(broker.pid)
    const times: number[] = []
    let refused = 0
    for (let turn = 0; turn < storms; turn++) {
      const result = await storm5000(broker, sockets)
      times.push(result.ms)
      refused += result.refused
    }
    for (const socket of sockets) socket.resetAndDestroy()
    figures[`${name}EmptyRssMiB`] = round(empty, 0)
    figures[`${name}FullRssMiB`] = round(full, 0)
    figures[`${name}KiBEach`] = round(((full - empty) * 1024) / idle, 1)
    figures[`${name}StormMsMedian`] = round(median(times), 0)
    figures[`${name}StormMsMax`] = round(Math.max(...times), 0)
    figures[`${name}Refused`] = refused
    stormMs[name] = median(times)
  }
  figures['kibToMosquitto'] = round(Number(figures['tidegateKiBEach']) / Number(figures['mosquittoKiBEach']))
  figures['kibToAedes'] = round(Number(figures['tidegateKiBEach']) / Number(figures['aedesKiBEach']))
  figures['stormToMosquitto'] = round((stormMs.tidegate ?? Number.NaN) / (stormMs.mosquitto ?? Number.NaN))
  figures['stormToAedes'] = round((stormMs.tidegate ?? Number.NaN) / (stormMs.aedes ?? Number.NaN))
  return figures
}

/** A connection is a file on either side. */
function expectFiles(pid: number): void {
  const limit = /Max open files\s+(\S+)/.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]
  if (limit !== 'unlimited' && Number(limit) < idle + 1_000)
    throw new Error(`${idle} connections need as many open files, and ${limit} are allowed: raise \`ulimit -n\` to ${idle + 1_000}`)
}

/** Resident memory once it stands still: three seconds within 1 %, or after twenty. */
async function settledRss(pid: number): Promise<number> {
  const samples = [rssMiBOf(pid)]
  while (samples.length < 20) {
    await delay(1_000)
    samples.push(rssMiBOf(pid))
    const last = samples.slice(-4)
    if (last.length === 4 && Math.max(...last) <= Math.min(...last) * 1.01) break
  }
  return samples.at(-1) ?? Number.NaN
}

async function connectIdle(broker: MeasuredBroker): Promise<Socket[]> {
  const sockets: Socket[] = []
  let next = 0
  const connectOnward = async (): Promise<void> => {
    while (next < idle) {
      const number = next++
      sockets[number] = await connectNumber(broker, number)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, connectOnward))
  return sockets
}

/** 5,000 connections have an address of their own, so that ports and those that are closing never run out. */
async function connectNumber(broker: MeasuredBroker, number: number): Promise<Socket> {
  return await openClient(broker.port, { clientId: `idle-${number}`, localAddress: `127.0.0.${2 + Math.floor(number / 5_000)}` })
}

/** Cuts the first 5,000 without a word and lets them come back in the same moment. One refusal each counts; it is not tried again. */
async function storm5000(broker: MeasuredBroker, sockets: Socket[]): Promise<{ readonly ms: number; readonly refused: number }> {
  let refused = 0
  for (const socket of sockets.splice(0, storm)) socket.resetAndDestroy()
  const startedMs = performance.now()
  const back = Array.from({ length: storm }, async (_, number) => {
    try {
      return await connectNumber(broker, number)
    } catch {
      refused += 1
      return undefined
    }
  })
  const returned = await Promise.all(back)
  const ms = performance.now() - startedMs
  sockets.unshift(...returned.filter(socket => socket !== undefined))
  await delay(2_000)
  return { ms, refused }
}
