import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { buildProgram } from '../../cli.ts'
import { configPaths } from '../../config/keys.ts'
import { loadConfig } from '../../config/load.ts'
import { errorTable } from '../../errors.ts'
import { metricTable } from '../../metrics.ts'
import { statements5 } from '../conformance/mqtt5/statements.ts'
import { statements } from '../conformance/statements.ts'
import { top } from '../layout/sources.ts'
import { tables, withTables } from './tables.ts'

const read = (file: string): string => readFileSync(path.join(top, file), 'utf8')

const tableDocuments = ['docs/configuration.md', 'docs/errors.md', 'docs/metrics.md', 'docs/protocol.md']

/** First cells of the rows between a marker and its end. */
function namesIn(document: string, marker: string): string[] {
  const part = document.split(`<!-- table: ${marker} -->`)[1]?.split('<!-- /table -->')[0] ?? ''
  return [...part.matchAll(/^\| `([^`]+)` \|/gm)].map(match => match[1] ?? '')
}

describe('the tables in the documents are those of the code (`npm run docs` writes them)', () => {
  it.each(tableDocuments)('%s', async file => {
    await expect(withTables(read(file))).toMatchFileSnapshot(path.join(top, file))
  })

  it('each table is in one document, with every name of the code and no other', () => {
    const documents = withTables(tableDocuments.map(read).join('\n'))
    expect(namesIn(documents, 'keys')).toEqual(configPaths)
    expect(namesIn(documents, 'errors')).toEqual(Object.keys(errorTable))
    expect(namesIn(documents, 'metrics')).toEqual(Object.keys(metricTable))
    expect([...namesIn(documents, 'mqtt311'), ...namesIn(documents, 'mqtt31')]).toEqual(Object.keys(statements))
    expect([...namesIn(documents, 'mqtt5'), ...namesIn(documents, 'mqtt5more')]).toEqual(Object.keys(statements5))
    for (const name of Object.keys(tables)) expect(documents.split(`<!-- table: ${name} -->`)).toHaveLength(2)
  })

  it('a marker that is wrong is an error and no silence', () => {
    expect(() => withTables('<!-- table: nothing -->\n<!-- /table -->')).toThrow('nothing')
    expect(() => withTables('<!-- table: errors -->\n')).toThrow('errors')
  })
})

describe('what the documents say', () => {
  const markdown = ['README.md', ...readdirSync(path.join(top, 'docs'), { recursive: true }).map(name => `docs/${String(name)}`)].filter(
    file => file.endsWith('.md')
  )

  it('the example of docs/configuration.md is accepted', () => {
    const yaml = /```yaml\n([\s\S]*?)```/.exec(read('docs/configuration.md'))?.[1] ?? ''
    const config = loadConfig({ folder: '/', configFile: 'example.yaml', readFile: file => (file === '/example.yaml' ? yaml : undefined) })
    expect(config.journal).toMatchObject({ syncDelay: 5, keep: { time: 172_800_000 } })
    expect(config.routes).toHaveLength(3)
  })

  it.each(markdown)('every code, variable and path that %s names exists', file => {
    const text = read(file)
    for (const [name] of text.matchAll(/\bTG_[A-Z_]+\b/g)) expect(Object.keys(errorTable)).toContain(name)
    for (const [name] of text.matchAll(/\btidegate_[a-z_]+\b/g)) expect(Object.keys(metricTable)).toContain(name)
    for (const [name] of text.matchAll(/\bTIDEGATE__[A-Z_]*[A-Z]=/g)) {
      const environment = { [name.slice(0, -1)]: '\u0007' }
      const faults = (): unknown => loadConfig({ folder: '/', environment, readFile: () => undefined })
      expect(faults, name).not.toThrow('is not a variable')
    }
    for (const match of text.matchAll(/\]\(([^)#:]+)\)/g)) {
      expect(existsSync(path.join(top, path.dirname(file), match[1] ?? '')), match[1]).toBe(true)
    }
    for (const match of text.matchAll(/\b((?:deploy|tests)\/[\w./-]*\w)/g))
      expect(existsSync(path.join(top, match[1] ?? '')), match[1]).toBe(true)
  })

  it('every npm script that a document names exists', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(read('package.json'))
    for (const match of [...markdown.map(read), read('.ci/run')].join('\n').matchAll(/\bnpm run ([\w:]+)/g))
      expect(scripts).toHaveProperty([match[1] ?? ''])
  })

  it('README lists every command, and no other', () => {
    const program = buildProgram({
      environment: {},
      folder: '/',
      print: String,
      complain: String,
      write: async () => undefined,
      exitWith: Number
    })
    const commands = program.commands.flatMap(command =>
      command.commands.length === 0 ? [command.name()] : command.commands.map(child => `${command.name()} ${child.name()}`)
    )
    const section = read('README.md').split('## Commands')[1]?.split('each with')[0] ?? ''
    expect([...section.matchAll(/`([^`]+)`/g)].map(match => match[1])).toEqual(commands)
  })

  it('the two commands come first in README', () => {
    const first = /```sh\n([\s\S]*?)```/
      .exec(read('README.md'))?.[1]
      ?.split('\n')
      .map(line => line.split('#')[0]?.trim())
    expect(first?.slice(0, 2)).toEqual(['npm ci && npm run demo', 'npm ci && npm test'])
  })

  it.each(readdirSync(path.join(top, 'docs/decisions')))('docs/decisions/%s has objective, decision, is / is not and cost', file => {
    const parts = [...read(`docs/decisions/${file}`).matchAll(/^\*\*([^*]+)\.\*\*/gm)].map(match => match[1])
    expect(parts).toEqual(['Objective', 'Decision', 'Is / Is not', 'Cost'])
  })
})
