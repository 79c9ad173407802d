import { connect, createServer, type Server, type Socket } from 'node:net'

/**
 * A network between clients and one server that can lose what the server says: while it is deaf, the clients' bytes arrive
 * and no answer comes back. It goes on when the server is gone and comes back at the same port.
 */
export class LossyProxy implements AsyncDisposable {
  /** While true, nothing of the server reaches a client. */
  deaf = false
  /** Bytes of the server that were lost. */
  lostBytes = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(targetPort: number) {
    this.#server = createServer(client => {
      const server = connect({ host: '127.0.0.1', port: targetPort, noDelay: true })
      for (const [from, to] of [
        [client, server],
        [server, client]
      ] as const) {
        this.#sockets.add(from)
        from.on('error', () => undefined)
        from.on('close', () => {
          this.#sockets.delete(from)
          to.destroy()
        })
      }
      client.on('data', chunk => server.write(chunk))
      server.on('data', chunk => {
        if (this.deaf) this.lostBytes += chunk.length
        else client.write(chunk)
      })
    })
  }

  static async open(targetPort: number): Promise<LossyProxy> {
    const proxy = new LossyProxy(targetPort)
    await new Promise<void>(resolve => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    const address = this.#server.address()
    return typeof address === 'object' ? `mqtt://127.0.0.1:${address?.port}` : ''
  }

  /** Breaks every connection; new ones are taken. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
