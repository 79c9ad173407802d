import { LineCounter, isAlias, isMap, isNode, isPair, isScalar, isSeq, parseDocument } from 'yaml'
import type { Document } from 'yaml'
import { shown } from './values.ts'

/** One thing that is wrong with the configuration. */
export interface ConfigFault {
  /** Where it stands: file:line:column, a variable or a flag. */
  readonly where: string
  /** The key that it is about; empty for the file as a whole. */
  readonly key: string
  /** What is wrong and what to do. */
  readonly message: string
}

/** A value as somebody wrote it, and where: the text of a scalar, a list, or the entries of a map. */
export interface Given {
  readonly where: string
  readonly is:
    | { readonly type: 'scalar'; readonly text: string }
    | { readonly type: 'nothing' }
    | { readonly type: 'list'; readonly items: readonly Given[] }
    | { readonly type: 'map'; readonly entries: readonly { readonly key: string; readonly where: string; readonly given: Given }[] }
}

/** Deeper than any configuration is; keeps a file that refers to itself from recursing for ever. */
const maxDepth = 12

/** What a YAML file gives, every value with its line and column. A file with syntax faults gives those instead. */
export function givenFromYaml(text: string, file: string): { readonly given: Given | undefined; readonly faults: readonly ConfigFault[] } {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: false })
  const whereIs = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${line}:${col}`
  }
  const faults = [...document.errors, ...document.warnings].map(error => ({
    where: whereIs(error.pos[0]),
    key: '',
    message: `is not valid YAML: ${error.message}`
  }))
  if (faults.length > 0 || document.contents === null) return { given: undefined, faults }
  return { given: fromNode(document.contents, document, whereIs, 0), faults }
}

function fromNode(node: unknown, document: Document, whereIs: (offset: number) => string, depth: number): Given {
  const target = isAlias(node) ? node.resolve(document) : node
  const where = whereIs(offsetOf(node))
  const nothing: Given = { where, is: { type: 'nothing' } }
  if (depth > maxDepth) return nothing
  if (isMap(target)) {
    const entries = target.items.filter(isPair).map(pair => {
      const key = isScalar(pair.key) ? String(pair.key.value) : '(a list or map)'
      const keyWhere = whereIs(offsetOf(pair.key))
      const given = pair.value === null ? { where: keyWhere, is: nothing.is } : fromNode(pair.value, document, whereIs, depth + 1)
      return { key, where: keyWhere, given }
    })
    return { where, is: { type: 'map', entries } }
  }
  if (isSeq(target)) return { where, is: { type: 'list', items: target.items.map(item => fromNode(item, document, whereIs, depth + 1)) } }
  if (!isScalar(target) || target.value === null) return nothing
  // The source and not the value, so that an unquoted token such as 0123 or 1e5 stays what was written.
  const text = typeof target.value === 'string' ? target.value : (target.source ?? JSON.stringify(target.value))
  return { where, is: { type: 'scalar', text } }
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0
}

/** What a variable or a flag gives: lists and maps as JSON, anything else as it is. */
export function givenFromText(text: string, where: string, asJson: boolean): { readonly given: Given } | { readonly fault: string } {
  if (!asJson) return { given: { where, is: { type: 'scalar', text } } }
  try {
    return { given: fromJson(JSON.parse(text), where, 0) }
  } catch {
    return { fault: `"${shown(text)}" is not JSON: write a list such as ["a","b"]` }
  }
}

function fromJson(value: unknown, where: string, depth: number): Given {
  if (value === null || value === undefined || depth > maxDepth) return { where, is: { type: 'nothing' } }
  if (Array.isArray(value)) return { where, is: { type: 'list', items: value.map(item => fromJson(item, where, depth + 1)) } }
  if (typeof value === 'object') {
    const entries = Object.entries(value).map(([key, inner]) => ({ key, where, given: fromJson(inner, where, depth + 1) }))
    return { where, is: { type: 'map', entries } }
  }
  return { where, is: { type: 'scalar', text: typeof value === 'string' ? value : JSON.stringify(value) } }
}
