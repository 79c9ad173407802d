/** Plain counters of the edge's MQTT side since the start, and gauges of now; a scrape reads them. */
export interface BrokerStatistics {
  /** Gauges. */
  sockets: number
  connections: number
  pausedSockets: number
  /** Bytes read on behind waiting publishes, and of unfinished packets. */
  heldBytes: number
  /** Of topics behind topic aliases. */
  topicAliasBytes: number
  /** Counters. */
  connectsAccepted: number
  connectsRefused: number
  /** Connects refused by reason. */
  readonly refusedByReason: Map<string, number>
  /** Connections closed for what the client sent, or for not reading. */
  violations: number
  /** Publishes taken, by QoS; resends and wills are not among them. */
  readonly publishes: [number, number, number]
  /** PUBACK and PUBREC written for durable publishes. */
  acknowledged: number
  /** QoS 0 publishes dropped because the journal did not take any. */
  shed: number
  /** QoS 1 and 2 publishes recognised as sent again. */
  resends: number
  /** Publishes forgotten because of a bound before they were too old to be sent again. */
  rememberedEvicted: number
  /** Publishes that were against the rules; each closed its connection or was answered with a reason code. */
  publishesRefused: number
  wills: number
  willsDropped: number
  bytesReceived: number
  bytesSent: number
  /** Messages handed to subscribers' side. */
  routed: number
  /** Messages not kept for a session without a connection because a bound was reached. */
  offlineDropped: number
  /** Messages not kept for a connected subscriber that is too far behind. */
  slowDropped: number
  /** Messages whose expiry passed before their turn. */
  expiredDropped: number
  /** Messages that are larger than their subscriber takes. */
  oversizedDropped: number
  /** Retained messages not kept because there were as many as the limit. */
  retainedDropped: number
}

export function buildStatistics(): BrokerStatistics {
  return {
    sockets: 0,
    connections: 0,
    pausedSockets: 0,
    heldBytes: 0,
    topicAliasBytes: 0,
    connectsAccepted: 0,
    connectsRefused: 0,
    refusedByReason: new Map(),
    violations: 0,
    publishes: [0, 0, 0],
    acknowledged: 0,
    shed: 0,
    resends: 0,
    rememberedEvicted: 0,
    publishesRefused: 0,
    wills: 0,
    willsDropped: 0,
    bytesReceived: 0,
    bytesSent: 0,
    routed: 0,
    offlineDropped: 0,
    slowDropped: 0,
    expiredDropped: 0,
    oversizedDropped: 0,
    retainedDropped: 0
  }
}
