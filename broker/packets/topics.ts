import { isUtf8 } from 'node:buffer'

/** Bytes and levels of a topic name or filter at most. */
export const maxTopicBytes = 256
export const maxTopicLevels = 16

const slash = 0x2f
const plus = 0x2b
const hash = 0x23
const dollar = 0x24

/** True for a UTF-8 encoded string as MQTT 3.1.1 §1.5.3 asks: well formed, no surrogates, no U+0000. */
export function isMqttString(buffer: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = buffer[at] ?? 0
    if (byte === 0) return false
    if (byte > 0x7f) {
      const rest = buffer.subarray(at, end)
      return !rest.includes(0) && isUtf8(rest)
    }
  }
  return true
}

/**
 * Why these bytes are not a topic name that may be published to, or undefined when they are: 1 … 256 bytes of UTF-8,
 * at most 16 levels, no wildcard [MQTT-3.3.2-2], not one of the server's own (`$…`).
 */
export function topicNameFault(buffer: Buffer, start: number, end: number): string | undefined {
  if (end === start) return 'topic is empty'
  if (end - start > maxTopicBytes) return 'topic is too long'
  if (buffer[start] === dollar) return 'topic is reserved'
  let levels = 1
  let ascii = true
  for (let at = start; at < end; at++) {
    const byte = buffer[at] ?? 0
    if (byte === slash) levels += 1
    else if (byte === plus || byte === hash) return 'topic has a wildcard'
    else if (byte === 0) return 'topic is not UTF-8'
    else if (byte > 0x7f) ascii = false
  }
  if (levels > maxTopicLevels) return 'topic has too many levels'
  return ascii || isUtf8(buffer.subarray(start, end)) ? undefined : 'topic is not UTF-8'
}

/** Why these bytes are not a topic filter [MQTT-4.7.1-2, -3], or undefined when they are. */
export function topicFilterFault(buffer: Buffer, start: number, end: number): string | undefined {
  if (end === start) return 'topic filter is empty'
  if (end - start > maxTopicBytes) return 'topic filter is too long'
  if (!isMqttString(buffer, start, end)) return 'topic filter is not UTF-8'
  let levels = 1
  for (let at = start; at < end; at++) {
    const byte = buffer[at]
    if (byte === slash) levels += 1
    if (byte !== plus && byte !== hash) continue
    const alone = (at === start || buffer[at - 1] === slash) && (at + 1 === end || buffer[at + 1] === slash)
    if (!alone || (byte === hash && at + 1 !== end)) return 'topic filter has a misplaced wildcard'
  }
  return levels > maxTopicLevels ? 'topic filter has too many levels' : undefined
}
