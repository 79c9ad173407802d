import { configFlags, configKey, configPaths, configTable, variableOf } from '../../config/keys.ts'
import type { ConfigKey } from '../../config/keys.ts'
import { errorTable } from '../../errors.ts'
import { metricTable } from '../../metrics.ts'
import { allStatements } from '../conformance/statements.ts'
import type { Statement } from '../conformance/statements.ts'

/** The tables that documents take from the code, by the name of their marker. */
export const tables: Readonly<Record<string, () => string>> = {
  keys: () =>
    table(
      ['key', 'variable', 'takes', 'default', 'what'],
      configPaths.map(path => {
        const key: ConfigKey = configKey(path) ?? configTable.data
        return [code(path), code(variableOf(path)), takes(key), defaultText(key), key.about + (key.secret === true ? ' Secret.' : '')]
      })
    ),
  flags: () =>
    table(
      ['flag', 'key'],
      configFlags.map(({ flag, path }) => [code(flag), code(path)])
    ),
  errors: () =>
    table(
      ['code', 'meaning', 'outcome', 'HTTP status'],
      Object.entries(errorTable).map(([name, { title, outcome, status }]) => [code(name), title, outcome, String(status)])
    ),
  metrics: () =>
    table(
      ['metric', 'type', 'process', 'labels', 'what'],
      Object.entries<MetricEntry>(metricTable).map(([name, { type, process, labels, help }]) => [
        code(name),
        type,
        process,
        (labels ?? []).map(code).join(', '),
        help
      ])
    ),
  conformance: () =>
    table(
      ['', 'MQTT 3.1.1', 'MQTT 3.1'],
      Object.entries(verdicts).map(([verdict, text]) => {
        const count = (version31: boolean): string =>
          String(statementsOf(version31).filter(([, statement]) => statement.verdict === verdict).length)
        return [text, count(false), count(true)]
      })
    ),
  mqtt311: () => statementTable(false),
  mqtt31: () => statementTable(true)
}

const verdicts: Readonly<Record<Statement['verdict'], string>> = {
  pass: 'pass',
  deviation: 'deviation',
  client: 'duty of the client',
  unseen: 'not observable'
}

/** The statements of MQTT 3.1.1, or where MQTT 3.1 differs. */
function statementsOf(version31: boolean): typeof allStatements {
  return allStatements.filter(([id]) => id.startsWith('V3.1-') === version31)
}

function statementTable(version31: boolean): string {
  return table(
    ['statement', 'in short', 'Tidegate', 'reason'],
    statementsOf(version31).map(([id, statement]) => [
      code(id),
      statement.says,
      verdicts[statement.verdict],
      'why' in statement ? statement.why : ''
    ])
  )
}

interface MetricEntry {
  readonly type: string
  readonly process: string
  readonly help: string
  readonly labels?: readonly string[]
}

/** A document with every marked table as the code has it. An unknown or unclosed marker is an error. */
export function withTables(document: string): string {
  return document.replaceAll(/<!-- table: (\w+) -->\n[\s\S]*?(?:<!-- \/table -->|$)/g, (whole, name: string) => {
    const render = tables[name]
    if (render === undefined || !whole.endsWith('<!-- /table -->')) throw new Error(`the marker of the table "${name}" is wrong`)
    return `<!-- table: ${name} -->\n${render()}\n<!-- /table -->`
  })
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell => cell.replaceAll('|', String.raw`\|`)).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

function code(text: string): string {
  return `\`${text}\``
}

function takes(key: ConfigKey): string {
  switch (key.kind) {
    case 'duration':
    case 'size':
      return `${key.kind}, ${key.min} to ${key.max}`
    case 'integer':
      return `${key.min} to ${key.max}`
    case 'choice':
      return key.of.map(code).join(', ')
    case 'hosts':
      return 'list of host names'
    case 'routes':
      return 'list of routes'
    default:
      return key.kind
  }
}

function defaultText(key: ConfigKey): string {
  if (typeof key.default === 'object') return 'none'
  return key.default === '' ? 'empty' : code(String(key.default))
}
