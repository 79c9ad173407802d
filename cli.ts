import { Command, CommanderError } from 'commander'
import { addBackup } from './commands/backup.ts'
import { addConfig } from './commands/config.ts'
import { packageVersion } from './commands/context.ts'
import type { CommandContext } from './commands/context.ts'
import { addDeadLetters } from './commands/dead-letters.ts'
import { addDemo } from './commands/demo.ts'
import { addJournal } from './commands/journal.ts'
import { addMapping } from './commands/mapping.ts'
import { addRestore } from './commands/restore.ts'
import { addSimulate } from './commands/simulate.ts'
import { addStart } from './commands/start.ts'
import { TidegateError } from './errors.ts'

/** The command `tidegate` of this process: arguments without node and script. Sets the exit code; never rejects. */
export async function run(argv: string[]): Promise<void> {
  await runCommand(argv, {
    environment: process.env,
    folder: process.cwd(),
    print: text => void process.stdout.write(`${text}\n`),
    complain: text => void process.stderr.write(`${text}\n`),
    write: writeOut,
    exitWith: code => {
      process.exitCode = code
    }
  })
}

function writeOut(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Its error is the answer to this write; without a listener it would be a second one to the process.
    if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined)
    process.stdout.write(text, error => (error ? reject(error) : resolve()))
  })
}

/** The same for any context: a fault becomes a line on standard error and exit code 1. */
export async function runCommand(argv: readonly string[], context: CommandContext): Promise<void> {
  try {
    await buildProgram(context).parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return
    context.complain(argv.includes('--json') ? JSON.stringify({ error: faultOf(error) }) : `tidegate: ${faultOf(error).message}`)
    context.exitWith(1)
  }
}

const exitCodes = `
Exit codes: 0 = what the command promises is true; 1 = it is not, or a fault, said in one line on standard error.
Configuration: a file (--config, else ./tidegate.yaml), then variables (TIDEGATE__MQTT__PORT), then flags; docs/configuration.md.`

/** Every command that there is. */
export function buildProgram(context: CommandContext): Command {
  const program = new Command('tidegate')
    .description('MQTT telemetry in, queryable time series out, and nothing that was acknowledged is ever lost.')
    .version(packageVersion(), '--version')
    .helpOption('--help', 'this text')
    .helpCommand(false)
    .addHelpText('after', exitCodes)
    .exitOverride()
    .configureOutput({
      writeOut: text => context.print(text.trimEnd()),
      writeErr: text => context.complain(text.trimEnd()),
      outputError: () => undefined
    })
  addStart(program, context)
  addDemo(program, context)
  addSimulate(program, context)
  addConfig(program, context)
  addMapping(program, context)
  addJournal(program, context)
  addDeadLetters(program, context)
  addBackup(program, context)
  addRestore(program, context)
  return program
}

function faultOf(error: unknown): { readonly code: string; readonly message: string } & Readonly<Record<string, unknown>> {
  if (error instanceof TidegateError) return { code: error.code, message: error.message, ...error.context }
  if (error instanceof CommanderError) return { code: 'TG_OPTION_INVALID', message: usageText(error) }
  // A defect: the stack is what helps.
  return { code: 'TG_BUG', message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

/** Commander's words in one line. */
function usageText(error: CommanderError): string {
  if (error.code === 'commander.help') return 'name a command: the lines above show which there are'
  return error.message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .trim()
}
