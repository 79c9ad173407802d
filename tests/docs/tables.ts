import { configFlags, configKey, configPaths, configTable, variableOf } from '../../config/keys.ts'
import type { ConfigKey } from '../../config/keys.ts'
import { errorTable } from '../../errors.ts'
import { metricTable } from '../../metrics.ts'
import { statements5 } from '../conformance/mqtt5/statements.ts'
import { statements } from '../conformance/statements.ts'
import type { Statement } from '../conformance/statement.ts'

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
      ['', ...Object.keys(protocols)],
      Object.entries(verdicts).map(([verdict, text]) => [
        text,
        ...Object.values(protocols).map(list => String(list.filter(([, statement]) => statement.verdict === verdict).length))
      ])
    ),
  mqtt5: () => statementTable('MQTT 5.0'),
  mqtt5more: () => statementTable('MQTT 5.0, without a number'),
  mqtt311: () => statementTable('MQTT 3.1.1'),
  mqtt31: () => statementTable('MQTT 3.1')
}

const verdicts: Readonly<Record<Statement['verdict'], string>> = {
  pass: 'pass',
  deviation: 'deviation',
  client: 'duty of the client',
  unseen: 'not observable'
}

type Statements = readonly (readonly [id: string, statement: Statement])[]

const beginning = (prefix: string, table: Readonly<Record<string, Statement>>): Statements =>
  Object.entries(table).filter(([id]) => id.startsWith(prefix))

/** The statements by the column that counts them. */
const protocols = {
  'MQTT 5.0': beginning('MQTT-', statements5),
  'MQTT 5.0, without a number': beginning('V5-', statements5),
  'MQTT 3.1.1': beginning('MQTT-', statements),
  'MQTT 3.1': beginning('V3.1-', statements)
}

function statementTable(protocol: keyof typeof protocols): string {
  return table(
    ['statement', 'in short', 'Tidegate', 'reason'],
    protocols[protocol].map(([id, statement]) => [
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
