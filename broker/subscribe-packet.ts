import { topicFilterFault } from './topics.ts'

/** A SUBSCRIBE or UNSUBSCRIBE: its topic filters in order and, of a SUBSCRIBE, the QoS that is asked for each. */
export interface FilterList {
  readonly packetId: number
  readonly filters: readonly string[]
  readonly qos: readonly number[]
}

/** Why it is refused. */
export interface FilterFault {
  readonly fault: string
}

/** Reads a SUBSCRIBE (MQTT 3.1.1 §3.8): packet id, then at least one filter with its QoS. */
export function decodeSubscribe(buffer: Buffer, start: number, end: number): FilterList | FilterFault {
  return decodeFilters(buffer, start, end, 1)
}

/** Reads an UNSUBSCRIBE (MQTT 3.1.1 §3.10): packet id, then at least one filter. */
export function decodeUnsubscribe(buffer: Buffer, start: number, end: number): FilterList | FilterFault {
  return decodeFilters(buffer, start, end, 0)
}

function decodeFilters(buffer: Buffer, start: number, end: number, qosBytes: 0 | 1): FilterList | FilterFault {
  if (end - start < 2) return { fault: 'packet is cut' }
  const packetId = buffer.readUInt16BE(start)
  if (packetId === 0) return { fault: 'packet id is 0' }
  const filters: string[] = []
  const qos: number[] = []
  let at = start + 2
  while (at < end) {
    if (end - at < 2) return { fault: 'topic filter is cut' }
    const filterEnd = at + 2 + buffer.readUInt16BE(at)
    if (filterEnd + qosBytes > end) return { fault: 'topic filter is cut' }
    const fault = topicFilterFault(buffer, at + 2, filterEnd)
    if (fault !== undefined) return { fault }
    if (qosBytes === 1) qos.push(buffer[filterEnd] ?? 0)
    if ((qos.at(-1) ?? 0) > 2) return { fault: 'requested QoS is not 0, 1 or 2' }
    filters.push(buffer.toString('utf8', at + 2, filterEnd))
    at = filterEnd + qosBytes
  }
  return filters.length === 0 ? { fault: 'packet has no topic filter' } : { packetId, filters, qos }
}
