import type { Fault } from './fault.ts'

/** Faults in the gate and the channel: acknowledgements, resends, bounds. */
export const edgeFaults: readonly Fault[] = [
  {
    name: 'the gate acknowledges at the append',
    file: 'broker/publisher-side.ts',
    find: 'acknowledgement.puback, packetId, ordinal)',
    replace: 'acknowledgement.puback, packetId, -1)',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'a PUBREC goes out at the append',
    file: 'broker/publisher-side.ts',
    find: 'push(this, acknowledgement.pubrec, packetId, ordinal)',
    replace: 'push(this, acknowledgement.pubrec, packetId, -1)',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'POST /api/v1/telemetry answers before the record is durable',
    file: 'broker/gate.ts',
    find: 'if (ordinal < this.#journal.durable) return\n',
    replace: 'if (ordinal >= 0) return\n',
    caughtBy: ['tests/broker/broker.test.ts']
  },
  {
    name: 'a will is routed and not journaled',
    file: 'broker/gate.ts',
    find: 'if (this.appendPublish({ clientId, user, topic, payload, qos, retain, will: true, properties, received: undefined }) < 0) return false\n',
    replace: `const ordinal = this.lastOrdinal
    if (!this.router.hasRoom()) return false
    this.router.push({ ordinal, topic: utf8(topic), payload: Buffer.from(payload), qos, retain, clientId: utf8(clientId) })
    this.router.release(this.#journal.durable)\n`,
    caughtBy: ['tests/broker/connecting.test.ts']
  },
  {
    name: 'a checkpoint that is ahead looks right once enough records came',
    file: 'channel/supervisor.ts',
    find: 'const checkpointAtMost = this.#checkpointTold ? durable : this.#openedAt\n',
    replace: 'const checkpointAtMost = this.#checkpointTold ? durable : Math.max(durable, this.#openedAt)\n',
    caughtBy: ['tests/channel/supervisor.test.ts']
  },
  {
    name: 'a QoS 0 publish that is shed is not counted',
    file: 'broker/publisher-side.ts',
    find: 'statistics.shed += 1\n',
    replace: 'statistics.shed += 0\n',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'a QoS 2 id whose PUBREL has not come is taken again',
    file: 'broker/publisher-side.ts',
    find: 'const known = receivedIds.get(packetId)\n',
    replace: 'const known = receivedIds.size < 0 ? receivedIds.get(packetId) : undefined\n',
    caughtBy: ['tests/broker/publishing.test.ts']
  },
  {
    name: 'a resend is recognised without a look at its bytes',
    file: 'broker/resends.ts',
    find: 'publishes.hasDigest(index, digest.low, digest.high) ?',
    replace: 'publishes.timeOf(index) <= this.#now() ?',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a start does not read what may be sent again',
    file: 'broker/broker.ts',
    find: 'await gate.recall()\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a start believes received times that go back',
    file: 'broker/resends.ts',
    find: 'Math.max(0, sinceMs)',
    replace: 'sinceMs',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a later publish under a packet id does not end the one before',
    file: 'broker/resends.ts',
    find: 'if (known !== none) publishes.remove(known)\n    else if',
    replace: 'if (known !== none) return\n    if',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a publish that waited when its connection broke is taken for an older one',
    file: 'broker/publisher-side.ts',
    find: 'if (parser.header >> 4 === 3) this.#passOver(parser)\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a resend is acknowledged before its original is durable',
    file: 'broker/publisher-side.ts',
    find: 'if (!this.#answer(type, packetId, original))',
    replace: 'if (!this.#answer(type, packetId, -1))',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'a resend after DISCONNECT is recognised',
    file: 'broker/publisher-side.ts',
    find: 'this.#gate.resends.forgetFrom(this.#client, this.#firstOrdinal)\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'other machines are served without credentials',
    file: 'broker/gate.ts',
    find: "return address === '::1' || address.startsWith('127.')",
    replace: "return address !== ''",
    caughtBy: ['tests/broker/connecting.test.ts']
  },

  // What the fuzzer has to notice.
  {
    name: 'a packet id of 0 is taken',
    file: 'broker/packets/publish-packet.ts',
    find: 'return into.packetId === 0 ? publishFaults.packetId : undefined',
    replace: 'return undefined',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  },
  {
    name: 'a remaining length may have five bytes',
    file: 'broker/packets/frame-parser.ts',
    find: 'if (shift === 21) return',
    replace: 'if (shift === 28) return',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  },
  {
    name: 'a topic that is not UTF-8 is taken',
    file: 'broker/packets/topics.ts',
    find: 'if (!ascii && !isUtf8(buffer.subarray(start, end))) return nameFaults.utf8\n',
    replace: 'if (!ascii && end === start) return nameFaults.utf8\n',
    caughtBy: ['tests/fuzz/fuzz.test.ts']
  },
  {
    name: 'what follows CONNECT is not held until CONNACK',
    file: 'broker/intake.ts',
    find: "if (host.state === 'opening' && !this.block('connack')) break\n",
    replace: '',
    caughtBy: ['tests/broker/session-changes.test.ts']
  }
]
