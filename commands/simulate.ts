import type { Command } from 'commander'
import { parseDuration } from '../config/values.ts'
import { TidegateError } from '../errors.ts'
import { SimulationFault, formatReport, listModels, listSimulations, reportOk, runSimulation } from '../simulators/simulations.ts'
import type { SimulationOptions, SimulationProgress } from '../simulators/simulations.ts'
import type { CommandContext } from './context.ts'

interface RunOptions {
  readonly url: string
  readonly http: string
  readonly devices?: string
  readonly rate?: string
  readonly duration?: string
  readonly seed?: string
  readonly qos?: string
  readonly verify?: boolean
  readonly json?: boolean
}

/** Adds `sim run` and `sim list`. */
export function addSimulate(program: Command, context: CommandContext): void {
  const sim = program.command('sim').helpCommand(false).description('simulated devices that publish over real MQTT')
  sim
    .command('run')
    .argument('[simulation]', 'name, as sim list shows it', 'home')
    .description(
      'publish on schedule and, with --verify, read everything back; exit code 0 only if nothing acknowledged is missing, duplicated or wrong'
    )
    .option('--url <address>', 'MQTT address', 'mqtt://127.0.0.1:1883')
    .option('--http <address>', 'HTTP address, for --verify', 'http://127.0.0.1:8080')
    .option('--devices <number>', 'devices (default: what the simulation has)')
    .option('--rate <number>', 'messages a second of all devices together (default: one for each device)')
    .option('--duration <duration>', 'how long to publish, for example 30s (default: until Ctrl-C)')
    .option('--seed <number>', 'fixes every value (default: 1)')
    .option('--qos <0|1|2>', 'quality of service (default: 1)')
    .option('--verify', 'read everything back through the API and compare')
    .option('--json', 'the report as JSON')
    .action(async (name: string, options: RunOptions) => await runOne(name, options, context))
  sim
    .command('list')
    .description('the simulations and device models that there are')
    .option('--json', 'as JSON')
    .action((options: { readonly json?: boolean }) =>
      context.print(options.json === true ? JSON.stringify(lists(), undefined, 2) : listText())
    )
}

async function runOne(home: string, options: RunOptions, context: CommandContext): Promise<void> {
  const stop = new AbortController()
  const abort = (): void => stop.abort()
  process.once('SIGINT', abort)
  process.once('SIGTERM', abort)
  try {
    const report = await runSimulation({
      home,
      ...simulationOptions(options),
      signal: stop.signal,
      progress: progress => context.complain(progressText(progress))
    })
    context.print(options.json === true ? JSON.stringify({ ...report, ok: reportOk(report) }, undefined, 2) : formatReport(report))
    if (!reportOk(report)) context.exitWith(1)
  } catch (error) {
    if (error instanceof SimulationFault) throw new TidegateError('TG_OPTION_INVALID', error.message, { cause: error })
    throw error
  } finally {
    process.off('SIGINT', abort)
    process.off('SIGTERM', abort)
  }
}

function simulationOptions(options: RunOptions): Omit<SimulationOptions, 'signal' | 'progress'> {
  const { devices, rate, duration, seed, qos, url, http } = options
  const level = qos === undefined ? 1 : Number(qos)
  if (level !== 0 && level !== 1 && level !== 2) throw new TidegateError('TG_OPTION_INVALID', `--qos: "${qos}" is not 0, 1 or 2`)
  return {
    url,
    http,
    qos: level,
    verify: options.verify === true,
    ...(devices === undefined ? {} : { devices: readNumber('--devices', devices) }),
    ...(rate === undefined ? {} : { rate: readNumber('--rate', rate) }),
    ...(seed === undefined ? {} : { seed: readNumber('--seed', seed) }),
    ...(duration === undefined ? {} : { durationMs: readDuration('--duration', duration) })
  }
}

function readNumber(flag: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new TidegateError('TG_OPTION_INVALID', `${flag}: "${text}" is not a number`)
  return Number(text)
}

function readDuration(flag: string, text: string): number {
  const parsed = parseDuration(text)
  if ('fault' in parsed) throw new TidegateError('TG_OPTION_INVALID', `${flag}: ${parsed.fault}`)
  return parsed.value
}

function progressText({ phase, sent, acknowledged, complete, devices }: SimulationProgress): string {
  return phase === 'verifying'
    ? `verifying: ${complete} of ${devices} devices complete`
    : `${phase}: ${sent} sent, ${acknowledged} acknowledged`
}

function lists() {
  return { simulations: listSimulations(), models: listModels() }
}

function listText(): string {
  const { simulations, models } = lists()
  const width = Math.max(...simulations.map(({ name }) => name.length), ...models.map(({ kind }) => kind.length)) + 2
  return [
    'Simulations (sim run <name>):',
    ...simulations.map(
      ({ name, description, devices, verifiable }) =>
        `  ${name.padEnd(width)}${description} (${devices} devices${verifiable ? ', can be verified' : ''})`
    ),
    'Device models:',
    ...models.map(({ kind, description }) => `  ${kind.padEnd(width)}${description}`)
  ].join('\n')
}
