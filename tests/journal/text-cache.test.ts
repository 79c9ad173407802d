import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TextCache } from '../../journal/text-cache.ts'

test('any bytes give the text that they are, whatever was asked before and whatever lies around them', () => {
  const cache = new TextCache()
  const around = fc.uint8Array({ maxLength: 3 })
  // Few letters and lengths, so that the same, and nearly the same, come again.
  const texts = fc.oneof(
    fc.string({ unit: fc.constantFrom('a', 'b', 'é', '/'), maxLength: 4 }),
    fc.string({ unit: 'binary', maxLength: 80 })
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(around, texts, around), { maxLength: 30 }), asked => {
      for (const [before, text, behind] of asked) {
        const bytes = Buffer.concat([before, Buffer.from(text), behind])
        expect(cache.textOf(bytes, before.length, bytes.length - behind.length)).toBe(Buffer.from(text).toString('utf8'))
      }
    })
  )
})

test('a text stays what it was when the bytes that it was read from change', () => {
  const cache = new TextCache()
  const bytes = Buffer.from('kitchen')
  expect(cache.textOf(bytes, 0, 7)).toBe('kitchen')
  bytes.write('chicken')
  expect(cache.textOf(bytes, 0, 7)).toBe('chicken')
  expect(cache.textOf(Buffer.from('kitchen'), 0, 7)).toBe('kitchen')
})

test('more texts than it keeps, and texts that share a place in it, are each their own', () => {
  const cache = new TextCache()
  const names = Array.from({ length: 20_000 }, (_, index) => `device-${index}`)
  for (let turn = 0; turn < 2; turn++) for (const name of names) expect(cache.textOf(Buffer.from(name), 0, name.length)).toBe(name)
})
