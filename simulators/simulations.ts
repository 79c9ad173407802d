/** The room's front door: everything that the commands and the tests use. */
import { homes, models } from './fleet.ts'
import type { SimulationOptions } from './options.ts'

export type { SimulationOptions, SimulationProgress } from './options.ts'
export type { SimulationReport } from './report.ts'
export { formatReport, reportOk } from './report.ts'
export { runSimulation } from './simulation.ts'
export { SimulationFault } from './simulation-fault.ts'

/** What `npm run demo` runs beside the addresses: the demo home, about one message a second from each device, until stopped. */
export const demoHome = {
  home: 'demo',
  devices: 22,
  rate: 22,
  seed: 7,
  qos: 1,
  verify: false
} as const satisfies Partial<SimulationOptions>

/** The simulations that there are, for `sim list`. */
export function listSimulations(): readonly {
  readonly name: string
  readonly description: string
  readonly devices: number
  readonly verifiable: boolean
}[] {
  return homes.map(({ name, description, defaultDevices, verifiable }) => ({ name, description, devices: defaultDevices, verifiable }))
}

/** The device models that a home is made of, for `sim list`. */
export function listModels(): readonly { readonly kind: string; readonly description: string }[] {
  return models.map(({ kind, description }) => ({ kind, description }))
}
