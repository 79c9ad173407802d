import { runCommand } from '../../cli.ts'

export interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a command in this process, with its own environment, folder and output. */
export async function tidegate(
  argv: readonly string[],
  { folder = '/nonexistent', environment = {} }: { folder?: string; environment?: Readonly<Record<string, string>> } = {}
): Promise<Run> {
  const out: string[] = []
  const err: string[] = []
  let code = 0
  await runCommand(argv, {
    environment,
    folder,
    print: text => void out.push(text),
    complain: text => void err.push(text),
    write: async text => void out.push(text.replace(/\n$/, '')),
    exitWith: wanted => {
      code = wanted
    }
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}
