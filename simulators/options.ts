import type { Home } from './fleet.ts'
import { homes } from './fleet.ts'
import { SimulationFault } from './simulation-fault.ts'

export type SimulationPhase = 'connecting' | 'publishing' | 'verifying'

/** How far a simulation is. */
export interface SimulationProgress {
  readonly phase: SimulationPhase
  readonly sent: number
  readonly acknowledged: number
  /** Devices whose readings are all found, while verifying. */
  readonly complete: number
  readonly devices: number
}

export interface SimulationOptions {
  /** Name of the home, one of listSimulations(); default `home`. */
  readonly home?: string
  /** MQTT address, mqtt://host:port. */
  readonly url: string
  /** HTTP address, http://host:port; only verification asks it. */
  readonly http?: string
  /** Default: what the home has. */
  readonly devices?: number
  /** Messages a second of all devices together; default one for each device. */
  readonly rate?: number
  /** Default: until the signal aborts. */
  readonly durationMs?: number
  /** Integer of 32 bits without sign that fixes every value; default 1. */
  readonly seed?: number
  /** Reads everything back at the end; default false. */
  readonly verify?: boolean
  /** Default 1. */
  readonly qos?: 0 | 1 | 2
  /** How long the last acknowledgements are waited for; default 30 s. */
  readonly drainTimeoutMs?: number
  /** How long verification waits without any reading becoming visible; default 30 s. */
  readonly patienceMs?: number
  /** Ends publishing early. */
  readonly signal?: AbortSignal
  /** Called at the start of each phase and about once a second. */
  readonly progress?: (progress: SimulationProgress) => void
}

/** The options with every default filled in. */
export interface SimulationPlan {
  readonly home: Home
  readonly url: string
  readonly http: string
  readonly devices: number
  readonly rate: number
  readonly seed: number
  readonly verify: boolean
  readonly qos: 0 | 1 | 2
  /** Messages in all; Infinity without a duration. */
  readonly total: number
  readonly drainTimeoutMs: number
  readonly patienceMs: number
  readonly signal: AbortSignal
  readonly progress: (progress: SimulationProgress) => void
}

/** Readings that one verified run may have: two bits each, 50 MB. */
const verifiableReadings = 200_000_000

/**
 * Checks the options and fills in the defaults.
 * @throws SimulationFault that names the first option that is wrong
 */
export function checkOptions(options: SimulationOptions): SimulationPlan {
  const name = options.home ?? 'home'
  const home = homes.find(home => home.name === name)
  if (home === undefined)
    throw new SimulationFault(`no simulation is called "${name}"; there are: ${homes.map(home => home.name).join(', ')}`)
  const devices = options.devices ?? home.defaultDevices
  if (!Number.isInteger(devices) || devices < 1 || devices > home.maxDevices)
    throw new SimulationFault(`--devices must be a whole number from 1 to ${home.maxDevices} for "${name}", not ${devices}`)
  const rate = options.rate ?? devices
  if (!(rate > 0 && rate <= devices * 1000))
    throw new SimulationFault(`--rate must be above 0 and at most 1000 messages a second for each device (${devices * 1000}), not ${rate}`)
  const seed = options.seed ?? 1
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff)
    throw new SimulationFault(`--seed must be a whole number from 0 to 4294967295, not ${seed}`)
  const qos = options.qos ?? 1
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new SimulationFault(`--qos must be 0, 1 or 2, not ${String(qos)}`)
  const { durationMs } = options
  if (durationMs !== undefined && !(durationMs > 0 && Number.isFinite(durationMs)))
    throw new SimulationFault(`--duration must be above 0, not ${durationMs} ms`)
  const total = durationMs === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.round((durationMs * rate) / 1000))
  const verify = options.verify ?? false
  if (verify) {
    if (!home.verifiable) throw new SimulationFault(`--verify does not work with "${name}": some of its devices send no time of their own`)
    if (durationMs === undefined) throw new SimulationFault('--verify needs a --duration')
    if (options.http === undefined) throw new SimulationFault('--verify needs --http, the address of the API')
    if (total > verifiableReadings)
      throw new SimulationFault(`--verify can follow ${verifiableReadings} readings; --rate and --duration make ${total}`)
  }
  return {
    home,
    url: checkUrl('--url', options.url, ['mqtt:', 'tcp:'], 'mqtt://127.0.0.1:1883'),
    http: options.http === undefined ? '' : checkUrl('--http', options.http, ['http:', 'https:'], 'http://127.0.0.1:8080'),
    devices,
    rate,
    seed,
    verify,
    qos,
    total,
    drainTimeoutMs: options.drainTimeoutMs ?? 30_000,
    patienceMs: options.patienceMs ?? 30_000,
    signal: options.signal ?? new AbortController().signal,
    progress: options.progress ?? (() => undefined)
  }
}

function checkUrl(option: string, value: string, protocols: readonly string[], example: string): string {
  if (URL.canParse(value) && protocols.includes(new URL(value).protocol)) return value
  throw new SimulationFault(`${option} must be an address like ${example}, not "${value}"`)
}
