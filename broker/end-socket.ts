import type { Socket } from 'node:net'

/** Time that a client has to close its side after ours, in milliseconds. */
const lingerMs = 1000

/** Sends what is written, then the end; what the client still sends is read away, so that it gets all of it. */
export function endSocket(socket: Socket): void {
  if (socket.destroyed) return
  socket.removeAllListeners('data')
  socket.on('error', () => {})
  socket.resume()
  socket.once('end', () => socket.destroySoon())
  if (socket.readableEnded) socket.destroySoon()
  else socket.end()
  const linger = setTimeout(() => socket.destroy(), lingerMs).unref()
  socket.once('close', () => clearTimeout(linger))
}
