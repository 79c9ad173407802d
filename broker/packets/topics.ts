import { isUtf8 } from 'node:buffer'
import { malformed, protocolError, reasonCodes } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'

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

/** A topic that is well formed and that this server does not take. */
function refused(fault: string): Fault {
  return { fault, code: reasonCodes.topicNameInvalid }
}

const nameFaults = {
  empty: protocolError('topic is empty'),
  wildcard: malformed('topic has a wildcard'),
  utf8: malformed('topic is not UTF-8'),
  long: refused('topic is too long'),
  reserved: refused('topic is reserved'),
  levels: refused('topic has too many levels')
} as const

/**
 * Why these bytes are not a topic name that may be published to, or undefined when they are: 1 … 256 bytes of UTF-8,
 * at most 16 levels, no wildcard [MQTT-3.3.2-2], not one of the server's own (`$…`). The fault is topic name invalid only
 * when the topic is well formed.
 */
export function topicNameFault(buffer: Buffer, start: number, end: number): Fault | undefined {
  if (end === start) return nameFaults.empty
  let levels = 1
  let ascii = true
  for (let at = start; at < end; at++) {
    const byte = buffer[at] ?? 0
    if (byte === slash) levels += 1
    else if (byte === plus || byte === hash) return nameFaults.wildcard
    else if (byte === 0) return nameFaults.utf8
    else if (byte > 0x7f) ascii = false
  }
  if (!ascii && !isUtf8(buffer.subarray(start, end))) return nameFaults.utf8
  if (end - start > maxTopicBytes) return nameFaults.long
  if (buffer[start] === dollar) return nameFaults.reserved
  return levels > maxTopicLevels ? nameFaults.levels : undefined
}

/** True for a well-formed string that is a topic name [MQTT-4.7.3-1], [MQTT-4.7.1-1], whether it may be published to or not. */
export function isTopicName(buffer: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (buffer[at] === plus || buffer[at] === hash) return false
  return end > start
}

const filterFaults = {
  empty: malformed('topic filter is empty'),
  utf8: malformed('topic filter is not UTF-8'),
  wildcard: malformed('topic filter has a misplaced wildcard'),
  long: { fault: 'topic filter is too long', code: reasonCodes.topicFilterInvalid },
  levels: { fault: 'topic filter has too many levels', code: reasonCodes.topicFilterInvalid }
} as const

/**
 * Why these bytes are not a topic filter [MQTT-4.7.1-2, -3], or undefined when they are. The fault is topic filter invalid
 * only when the filter is well formed.
 */
export function topicFilterFault(buffer: Buffer, start: number, end: number): Fault | undefined {
  if (end === start) return filterFaults.empty
  if (!isMqttString(buffer, start, end)) return filterFaults.utf8
  let levels = 1
  for (let at = start; at < end; at++) {
    const byte = buffer[at]
    if (byte === slash) levels += 1
    if (byte !== plus && byte !== hash) continue
    const alone = (at === start || buffer[at - 1] === slash) && (at + 1 === end || buffer[at + 1] === slash)
    if (!alone || (byte === hash && at + 1 !== end)) return filterFaults.wildcard
  }
  if (end - start > maxTopicBytes) return filterFaults.long
  return levels > maxTopicLevels ? filterFaults.levels : undefined
}
