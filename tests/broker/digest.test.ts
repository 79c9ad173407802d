import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { Digest, type DigestedParts } from '../../broker/digest.ts'

const digestOf = (digest: Digest, parts: DigestedParts): string => {
  digest.of(parts)
  return `${digest.low} ${digest.high}`
}

const plain: DigestedParts = {
  user: undefined,
  topic: Buffer.from('devices/a'),
  payload: Buffer.from('21.5'),
  qos: 1,
  retain: false,
  properties: undefined
}

test('the digest depends on every part, on which part a byte belongs to, and on the key of the process', () => {
  const digest = new Digest()
  const variants: DigestedParts[] = [
    plain,
    { ...plain, qos: 2 },
    { ...plain, retain: true },
    { ...plain, user: Buffer.alloc(0) },
    { ...plain, user: Buffer.from('u') },
    { ...plain, properties: Buffer.alloc(0) },
    { ...plain, properties: Buffer.from('u') },
    { ...plain, user: Buffer.from('u'), properties: Buffer.alloc(0) },
    { ...plain, topic: Buffer.from('devices/a\0') },
    { ...plain, payload: Buffer.from('21.5\0') },
    { ...plain, payload: Buffer.from([0, ...Buffer.from('21.5')]) },
    { ...plain, topic: Buffer.from('devices/a21.'), payload: Buffer.from('5') },
    { ...plain, payload: Buffer.alloc(0) }
  ]
  const digests = variants.map(parts => digestOf(digest, parts))
  expect(new Set(digests).size).toBe(variants.length)
  expect(variants.map(parts => digestOf(digest, parts))).toEqual(digests)
  expect(digestOf(new Digest(), plain)).not.toBe(digests[0])
})

test('each bit of a payload changes about half of the bits of both halves', () => {
  const digest = new Digest()
  for (const length of [1, 4, 7, 150]) {
    const payload = randomBytes(length)
    digest.of({ ...plain, payload })
    const { low, high } = digest
    let changed = 0
    for (let bit = 0; bit < length * 8; bit++) {
      const other = Buffer.from(payload)
      other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      digest.of({ ...plain, payload: other })
      const bits = [bitsOf(digest.low ^ low), bitsOf(digest.high ^ high)]
      expect(Math.min(...bits)).toBeGreaterThan(0)
      changed += bits.reduce((sum, count) => sum + count, 0)
    }
    // The mean of 64 bits is 32 with a deviation of 4 ÷ √bits.
    expect(Math.abs(changed / (length * 8) - 32)).toBeLessThan((8 * 4) / Math.sqrt(length * 8))
  }
})

function bitsOf(word: number): number {
  let count = 0
  for (let rest = word >>> 0; rest > 0; rest >>>= 1) count += rest & 1
  return count
}
