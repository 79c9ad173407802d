import type { FieldValue } from '../../telemetry.ts'
import type { RouteConfig } from '../../config.ts'
import { Refusals } from '../refusals.ts'
import { decodeJson } from './json.ts'
import type { Line } from './line-protocol.ts'
import { decodeLinesInSteps } from './line-protocol.ts'
import { decodeScalar } from './scalar.ts'

export type PayloadKind = NonNullable<RouteConfig['payload']>

/** What a payload is once its codec has read it. */
export type Decodings =
  | { readonly kind: 'json'; readonly value: unknown; readonly text: string }
  | { readonly kind: 'scalar'; readonly value: FieldValue }
  | { readonly kind: 'line'; readonly lines: readonly Line[] }

/**
 * Reads a payload by the codec asked for. `auto` looks at it: { or [ first is JSON, at least one good line is line
 * protocol, all else is a plain value. Ends with undefined when nothing could be read; refusals say why. Never throws. Lines
 * are read in steps; the rest takes a few milliseconds at most.
 */
export function* decodePayload(payload: Uint8Array, kind: PayloadKind, refusals: Refusals): Generator<void, Decodings | undefined, void> {
  if (payload.byteLength === 0) {
    refusals.add('empty-payload', 'the payload has no bytes')
    return undefined
  }
  const text = decodeText(payload, refusals)
  if (text === undefined) return undefined
  switch (kind) {
    case 'json':
      return json(text, refusals)
    case 'scalar':
      return scalar(text, refusals)
    case 'line':
      return { kind: 'line', lines: yield* decodeLinesInSteps(text, refusals) }
    case 'auto':
      return looksLikeJson(text) ? json(text, refusals) : ((yield* linesOf(text, refusals)) ?? scalar(text, refusals))
  }
}

/** Text of UTF-8 bytes without a byte order mark, or undefined and a refusal. */
function decodeText(payload: Uint8Array, refusals: Refusals): string | undefined {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  const text = bytes.toString('utf8')
  // Wrong bytes become U+FFFD; a text may also contain that one honestly. Searching costs nothing where all is ASCII.
  if (text.includes('\uFFFD') && !isUtf8(payload)) {
    refusals.add('not-utf8', `the payload of ${payload.byteLength} bytes is not UTF-8`)
    return undefined
  }
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

function looksLikeJson(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === 0x7b || code === 0x5b) return true
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return false
  }
  return false
}

function json(text: string, refusals: Refusals): Decodings | undefined {
  const decoded = decodeJson(text, refusals)
  return decoded && { kind: 'json', value: decoded.value, text }
}

function scalar(text: string, refusals: Refusals): Decodings | undefined {
  const value = decodeScalar(text, refusals)
  return value === undefined ? undefined : { kind: 'scalar', value }
}

/** Lines, if the text has at least one good one: its bad ones are then refused, else the text is something else. */
function* linesOf(text: string, refusals: Refusals): Generator<void, Decodings | undefined, void> {
  if (!text.includes('=') || !text.includes(' ')) return undefined
  const found = new Refusals()
  const lines = yield* decodeLinesInSteps(text, found)
  if (lines.length === 0) return undefined
  refusals.addAll(found)
  return { kind: 'line', lines }
}
