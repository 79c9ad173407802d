import type { Fault } from './fault.ts'

/** Faults in the gate and the channel: acknowledgements, resends, bounds. */
export const edgeFaults: readonly Fault[] = [
  {
    name: 'a topic alias keeps the first topic that it was set to',
    file: 'broker/topic-aliases.ts',
    find: 'this.#topics[alias] = Buffer.from(buffer.subarray(start, end))\n',
    replace: 'this.#topics[alias] ??= Buffer.from(buffer.subarray(start, end))\n',
    caughtBy: ['tests/conformance/mqtt5/conformance5.test.ts']
  },
  {
    name: 'retain handling 1 sends to subscriptions that were there',
    file: 'broker/routing/router.ts',
    find: '(subscription.retainHandling === 1 && known !== undefined)',
    replace: '(subscription.retainHandling === 1 && known !== undefined && this === undefined)',
    caughtBy: ['tests/conformance/mqtt5/sessions5.test.ts']
  },
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
    find: 'this.#gate.resends.forgetFrom(this.client, this.#firstOrdinal)\n',
    replace: '',
    caughtBy: ['tests/broker/resends.test.ts']
  },
  {
    name: 'other machines are served without credentials',
    file: 'broker/access.ts',
    find: "return address === '::1' || address.startsWith('127.')",
    replace: "return address !== ''",
    caughtBy: ['tests/broker/connecting.test.ts']
  },
  {
    name: 'a client that comes again has its whole rate again',
    file: 'broker/rates.ts',
    find: 'const known = this.#byClient.get(clientId)\n',
    replace: 'const known = this.#absent.size < 0 ? this.#byClient.get(clientId) : undefined\n',
    caughtBy: ['tests/broker/rates.test.ts']
  },
  {
    name: 'one connection may have a whole turn of the event loop',
    file: 'broker/turns.ts',
    find: 'if (this.packets >= this.maxPackets || this.bytes >= this.maxBytes) return false\n',
    replace: '',
    caughtBy: ['tests/broker/turns.test.ts']
  },
  {
    name: 'a topic alias stands for no topic',
    file: 'broker/publishing5.ts',
    find: 'if (this.#topic !== undefined) record.topic = this.#topic\n',
    replace: '',
    caughtBy: ['tests/broker/mqtt5-publishing.test.ts']
  },
  {
    name: 'more publishes at once than the receive maximum are taken',
    file: 'broker/publisher-side.ts',
    find: 'if (qos !== 0 && this.#publishing5?.spent === true)',
    replace: 'if (qos === 0 && this.#publishing5?.spent === true)',
    caughtBy: ['tests/broker/mqtt5-publishing.test.ts']
  },
  {
    name: 'a delayed will is published although its client is back',
    file: 'broker/gate.ts',
    find: 'this.#wills.cancel(request.clientId)',
    replace: 'this.#wills.expedite(request.clientId)',
    caughtBy: ['tests/broker/mqtt5-connecting.test.ts']
  },
  {
    name: 'subscribers get the properties of a message with its topic alias',
    file: 'broker/packets/publish5-packet.ts',
    find: 'if (aliasStart < 0) return',
    replace: 'if (aliasStart < 0 || aliasStart > 0) return',
    caughtBy: ['tests/broker/packets5.test.ts', 'tests/broker/mqtt5-subscribing.test.ts']
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
    find: "if (host.state === 'opening' && !this.block('connack')) return\n",
    replace: '',
    caughtBy: ['tests/broker/session-changes.test.ts']
  },
  {
    name: 'the rest of a packet stays in the buffer that all sockets are read into',
    file: 'broker/packets/frame-parser.ts',
    find: 'if (rest > 0 && (!this.#owned || ',
    replace: 'if (rest > 0 && (',
    caughtBy: ['tests/broker/frame-parser.test.ts']
  },
  {
    name: 'acknowledgements are written over those that the kernel has not taken',
    file: 'broker/outbound.ts',
    find: '  shared = Buffer.allocUnsafeSlow(sharedBytes)\n    single = shared.subarray(0, 4)\n',
    replace: '',
    caughtBy: ['tests/broker/shared-read-socket.test.ts']
  },
  {
    name: 'a subscription that comes is not seen by who has published before',
    file: 'broker/topic-interest.ts',
    find: 'if (router.subscriptionsGeneration !== this.#generation) {',
    replace: 'if (this.#generation < 0) {',
    caughtBy: ['tests/broker/topic-interest.test.ts']
  },
  {
    name: 'answers to SUBSCRIBE that wait for the disk are not bounded',
    file: 'broker/subscriber-side.ts',
    find: 'this.#waitsForAnswers = this.#unanswered >= limit\n',
    replace: 'this.#waitsForAnswers = limit < 0\n',
    caughtBy: ['tests/broker/session-changes.test.ts']
  },
  {
    name: 'PUBCOMPs that wait for one another wait for another commit',
    file: 'broker/publisher-side.ts',
    find: '      this.#gate.releaseOverdue()\n',
    replace: '',
    caughtBy: ['tests/broker/session-changes.test.ts']
  }
]
