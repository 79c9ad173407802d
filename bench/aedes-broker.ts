/** Plain aedes, as its own documentation starts it, in a process of its own: `node aedes-broker.js <port>`. */
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
createServer(socket => broker.handle(socket)).listen(Number(process.argv[2]), '127.0.0.1')
