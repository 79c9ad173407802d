import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { Outbound } from '../../broker/outbound.ts'
import { listenToBytes, readShared, SharedReadSocket } from '../../broker/shared-read-socket.ts'
import { buildStatistics } from '../../broker/statistics.ts'
import { until } from './raw-client.ts'

/** Connections over loopback: the client's end, and the server's as the listener makes it. */
async function pairs(count: number): Promise<{ readonly ends: readonly (readonly [Socket, SharedReadSocket])[] } & AsyncDisposable> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const ends: (readonly [Socket, SharedReadSocket])[] = []
  for (let index = 0; index < count; index++) {
    const client = connect({
      port: typeof address === 'object' && address !== null ? address.port : 0,
      host: '127.0.0.1',
      allowHalfOpen: true
    })
    const [accepted] = (await once(server, 'connection')) as [Socket] // what a server hands over
    const socket = readShared(accepted)
    if (!(socket instanceof SharedReadSocket)) throw new Error('it has no handle')
    ends.push([client, socket])
  }
  return {
    ends,
    async [Symbol.asyncDispose]() {
      for (const [client, socket] of ends) {
        client.destroy()
        socket.destroy()
      }
      server.close()
      await once(server, 'close')
    }
  }
}

describe('SharedReadSocket', () => {
  test('each connection gets its own bytes out of the buffer that all share, and the end behind them', async () => {
    await using made = await pairs(20)
    const got = made.ends.map(() => '')
    const ended: number[] = []
    for (const [index, [client, socket]] of made.ends.entries()) {
      listenToBytes(socket, (buffer, start, end) => {
        got[index] += buffer.toString('latin1', start, end)
        buffer.fill(0xff)
      })
      socket.on('end', () => ended.push(index))
      expect(socket.remoteAddress).toBe('127.0.0.1')
      client.end(`${index}:`.repeat(10_000 + index))
    }
    await until(() => ended.length === made.ends.length, 'all have ended')
    expect(got).toEqual(made.ends.map((_, index) => `${index}:`.repeat(10_000 + index)))
  })

  test('a paused one is not read until it is resumed', async () => {
    await using made = await pairs(1)
    const [[client, socket] = []] = made.ends
    if (client === undefined || socket === undefined) throw new Error('no pair')
    let bytes = 0
    listenToBytes(socket, (_, start, end) => {
      bytes += end - start
      socket.pause()
    })
    client.write(Buffer.alloc(1_000_000))
    await until(() => bytes > 0, 'the first bytes are there')
    const before = bytes
    socket.resume()
    await until(() => bytes > before, 'it goes on')
    expect(bytes).toBeLessThan(1_000_000)
    socket.onBytes = (_, start, end) => (bytes += end - start)
    socket.resume()
    await until(() => bytes === 1_000_000, 'all bytes are there')
  })

  test('what is written at once and what goes through the stream arrive in order, also when the client does not read for a while', async () => {
    await using made = await pairs(1)
    const [[client, socket] = []] = made.ends
    if (client === undefined || socket === undefined) throw new Error('no pair')
    const expected: Buffer[] = []
    let number = 0
    const next = (size: number): Buffer => {
      const bytes = Buffer.alloc(size)
      for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32BE(number++, at)
      expected.push(Buffer.from(bytes))
      return bytes
    }
    const small = Buffer.alloc(4)
    const writeSmall = (): boolean => {
      const bytes = next(4)
      bytes.copy(small)
      return socket.writeAtOnce(small)
    }
    expect(writeSmall()).toBe(true)
    // Until the kernel takes no more: the buffer is still in use then, and what follows waits in the stream.
    let last = next(262_144)
    while (socket.writeAtOnce(last)) last = next(262_144)
    expect(socket.writableLength).toBe(0)
    socket.write(next(4000))
    expect(socket.writeAtOnce(next(40))).toBe(false)
    expect(socket.writableLength).toBe(4040)
    socket.end()
    const chunks: Buffer[] = []
    client.on('data', chunk => chunks.push(chunk))
    await once(client, 'end')
    expect(Buffer.concat(chunks).equals(Buffer.concat(expected))).toBe(true)
  })

  test('once all has left it writes at once again', async () => {
    await using made = await pairs(1)
    const [[client, socket] = []] = made.ends
    if (client === undefined || socket === undefined) throw new Error('no pair')
    while (socket.writeAtOnce(Buffer.alloc(262_144)));
    client.resume()
    await until(() => socket.writeAtOnce(Buffer.alloc(4)), 'the kernel takes bytes again')
  })

  test('a client that is gone ends the socket with its error', async () => {
    await using made = await pairs(1)
    const [[client, socket] = []] = made.ends
    if (client === undefined || socket === undefined) throw new Error('no pair')
    const errors: Error[] = []
    socket.on('error', error => errors.push(error))
    client.resetAndDestroy()
    await until(() => client.closed, 'the client is gone')
    while (!socket.destroyed && socket.writeAtOnce(Buffer.alloc(65_536))) await new Promise(resolve => setImmediate(resolve))
    await until(() => socket.closed, 'it is closed')
    expect(errors).toMatchObject([{ code: 'ECONNRESET', syscall: 'write' }])
  })
})

describe('Outbound', () => {
  test('acknowledgements arrive in order and whole, also what the kernel took only in part, while others are written', async () => {
    await using made = await pairs(2)
    const [[client, socket] = [], [otherClient, other] = []] = made.ends
    if (client === undefined || socket === undefined || otherClient === undefined || other === undefined) throw new Error('no pairs')
    const statistics = buildStatistics()
    const out = new Outbound(socket, statistics)
    const beside = new Outbound(other, statistics)
    otherClient.resume()
    const expected: number[] = []
    let sent = 0
    let firsts = 0
    let writes = 0
    const write = (count: number): void => {
      for (let index = 0; index < count; index++) {
        const packetId = (sent++ % 65_535) + 1
        firsts += out.stage((0x40 << 16) | packetId) ? 1 : 0
        expected.push(packetId)
      }
      out.writeStaged()
      writes += 1
      beside.stage((0x50 << 16) | 0xffff)
      beside.stage((0x50 << 16) | 0xffff)
      beside.writeStaged()
    }
    write(1)
    for (let count = 1; socket.writableLength === 0; count = (count % 1000) + 333) write(count)
    for (const count of [1, 2, 1, 1001, 3]) write(count)
    expect(firsts).toBe(writes)
    expect(out.isStuck(0)).toBe(socket.writableNeedDrain)
    socket.end()
    const chunks: Buffer[] = []
    client.on('data', chunk => chunks.push(chunk))
    await once(client, 'end')
    const got = Buffer.concat(chunks)
    expect(got.length).toBe(expected.length * 4)
    const wrong = expected.findIndex((packetId, index) => got.readUInt32BE(index * 4) !== (0x40020000 | packetId) >>> 0)
    expect(wrong).toBe(-1)
    expect(statistics.acknowledged).toBeGreaterThan(expected.length)
  })
})
