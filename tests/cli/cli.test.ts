import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { buildProgram } from '../../cli.ts'
import { tidegate } from './harness.ts'

function commandsOf(command: Command, path: readonly string[] = []): (readonly string[])[] {
  return command.commands.flatMap(child => [[...path, child.name()], ...commandsOf(child, [...path, child.name()])])
}

const nothing = (): void => undefined
const program = buildProgram({
  environment: {},
  folder: '/',
  print: nothing,
  complain: nothing,
  write: async () => undefined,
  exitWith: nothing
})

describe('every command', () => {
  const paths = commandsOf(program)
  it('is one of those that the documents name', () => {
    expect(paths.map(path => path.join(' '))).toEqual([
      'start',
      'demo',
      'sim',
      'sim run',
      'sim list',
      'config',
      'config check',
      'config print',
      'config schema',
      'mapping',
      'mapping test',
      'journal',
      'journal ls',
      'journal verify',
      'journal export',
      'journal replay',
      'dead-letters',
      'dead-letters list',
      'dead-letters replay',
      'dead-letters purge',
      'backup',
      'restore'
    ])
  })

  it.each(paths.map(path => [path.join(' ')]))('%s --help says what it does on standard output, with exit code 0', async name => {
    const { code, out, err } = await tidegate([...name.split(' '), '--help'])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toMatch(/^Usage: tidegate /)
  })

  it.each(
    paths.filter(path => !['sim', 'config', 'mapping', 'journal', 'dead-letters'].includes(path.join(' '))).map(path => [path.join(' ')])
  )('%s knows --json', async name => {
    expect((await tidegate([...name.split(' '), '--help'])).out).toContain('--json')
  })
})

describe('a wrong use', () => {
  it.each([
    [['start', '--mqtt-prot', '1884'], "tidegate: unknown option '--mqtt-prot' (Did you mean --mqtt-port?)"],
    [['stort'], "tidegate: unknown command 'stort' (Did you mean start?)"],
    [['start', '--mqtt-port'], "tidegate: option '--mqtt-port <value>' argument missing"],
    [['start', 'now'], "tidegate: too many arguments for 'start'. Expected 0 arguments but got 1."],
    [
      ['start', '--set', 'journal.syncDelay'],
      'tidegate: --set journal.syncDelay: write --set key=value, for example --set journal.syncDelay=5ms'
    ],
    [['start', '--mqtt-port', 'abc'], 'tidegate: mqtt.port: "abc" is not a whole number from 0 to 65535 (--mqtt-port)'],
    [['start', '--set', 'journal.syncDelay=5'], 'tidegate: journal.syncDelay: "5" has no unit: write 5ms, 5s, 5m, 5h or 5d (--set)'],
    [['start', '--config', 'none.yaml'], 'tidegate: there is no file none.yaml (--config)'],
    [['sim', 'run', 'castle'], 'tidegate: no simulation is called "castle"; there are: home, demo'],
    [['sim', 'run', '--duration', '30'], 'tidegate: --duration: "30" has no unit: write 30ms, 30s, 30m, 30h or 30d'],
    [['sim', 'run', '--qos', '3'], 'tidegate: --qos: "3" is not 0, 1 or 2'],
    [['sim', 'run', '--rate', 'fast'], 'tidegate: --rate: "fast" is not a number'],
    [['mapping', 'test', 'a'], "tidegate: missing required argument 'payload'"]
  ])('%j is one line that names it, and exit code 1', async (argv, line) => {
    expect(await tidegate(argv)).toEqual({ code: 1, out: '', err: line })
  })

  it('without a command the help is shown, and exit code 1', async () => {
    for (const argv of [[], ['sim'], ['config']]) {
      const { code, out, err } = await tidegate(argv)
      expect({ code, out }).toEqual({ code: 1, out: '' })
      expect(err).toContain('Commands:')
    }
  })

  it('with --json the fault is JSON with its code', async () => {
    const { code, err } = await tidegate(['start', '--json', '--http-port', '-1'])
    expect(code).toBe(1)
    expect(JSON.parse(err)).toMatchObject({
      error: { code: 'TG_CONFIG_INVALID', faults: [{ where: '--http-port', key: 'http.port' }] }
    })
  })

  it('a wrong variable stops start and names itself', async () => {
    const { code, err } = await tidegate(['start'], { environment: { TIDEGATE__MQTT__PROT: '1' } })
    expect({ code, err }).toEqual({
      code: 1,
      err: 'tidegate: TIDEGATE__MQTT__PROT is not a variable of Tidegate: did you mean TIDEGATE__MQTT__PORT? (TIDEGATE__MQTT__PROT)'
    })
  })

  it('a wrong route stops start and names itself', async () => {
    const { code, err } = await tidegate(['start', '--set', 'routes=[{"topic":"a/b"},{"topic":"a/{}/b"}]'])
    expect(code).toBe(1)
    expect(err).toMatch(/^tidegate: routes\[1\]: .* \(--set\)$/)
  })
})

it('the version is that of the package', async () => {
  expect(await tidegate(['--version'])).toEqual({ code: 0, out: '0.1.0', err: '' })
})
