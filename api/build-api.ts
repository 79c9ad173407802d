/**
 * The HTTP API of the service (design: public contract). Building does no I/O and does not listen; the entry point does.
 * Every request passes, in this order: Host, anonymous access, then for what changes something Origin and content type
 * (access.ts), then the schema of its route (parameters.ts). Every error leaves as a problem (problems.ts).
 */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { errorTable, TidegateError } from '../errors.ts'
import { checkAccess } from './access.ts'
import { openapiRoutes, registerOpenapi } from './openapi.ts'
import { validatorCompiler } from './parameters.ts'
import type { ApiPorts } from './ports.ts'
import { encodeProblem, sendProblem } from './problems.ts'
import { backupRoutes } from './routes/backup.ts'
import { deadLetterRoutes } from './routes/dead-letters.ts'
import { deviceRoutes } from './routes/devices.ts'
import { journalRoutes } from './routes/journal.ts'
import { mappingRoutes } from './routes/mappings.ts'
import { operationsRoutes } from './routes/operations.ts'
import { pageRoutes } from './routes/page.ts'
import { queryRoutes } from './routes/query.ts'
import { streamRoutes } from './routes/stream.ts'
import { telemetryRoutes } from './routes/telemetry.ts'
import type { Api } from './routing.ts'
import { quoted } from './times.ts'

/** uPlot sets styles through CSSOM, which this policy lets it. */
const pagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': pagePolicy,
  'cache-control': 'no-store'
}

/** The API over its ports: not listening yet. Closing it ends the stream's clients, but none of the ports. */
export function buildApi(ports: ApiPorts): Api {
  const loggerInstance: FastifyBaseLogger = ports.log
  const api = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    // requests that come while it closes get a problem too
    return503OnClosing: false,
    exposeHeadRoutes: false,
    bodyLimit: ports.options.maxBodyBytes,
    // a whole request has to be there within this time; answers may take longer
    requestTimeout: 30_000,
    routerOptions: { maxParamLength: 4_096, ignoreTrailingSlash: false },
    frameworkErrors: (error, _request, reply) => void sendProblem(error, reply.headers(securityHeaders)),
    clientErrorHandler: refuseMalformed
  }).withTypeProvider<TypeBoxTypeProvider>()
  api.server.maxConnections = ports.options.connections

  api.setValidatorCompiler(validatorCompiler)
  api.setSerializerCompiler(() => value => JSON.stringify(value))
  api.setErrorHandler((error, _request, reply) => sendProblem(error, reply))
  api.setNotFoundHandler((request, reply) =>
    sendProblem(new TidegateError('TG_ROUTE_UNKNOWN', `no route ${request.method} ${quoted(request.url.split('?')[0] ?? '')}`), reply)
  )
  let closing = false
  api.addHook('preClose', async () => {
    closing = true
    ports.stream()?.endClients()
  })
  api.addHook('onRequest', async (request, reply) => {
    reply.headers(securityHeaders)
    if (closing) throw new TidegateError('TG_STORE_UNAVAILABLE', 'the service is stopping')
    checkAccess(request, ports.options)
  })

  registerOpenapi(api)
  // the document lists the routes that come after its plugin has loaded
  void api.register(async scope => {
    const routes: Api = scope.withTypeProvider<TypeBoxTypeProvider>()
    deviceRoutes(routes, ports)
    queryRoutes(routes, ports)
    streamRoutes(routes, ports)
    telemetryRoutes(routes, ports)
    deadLetterRoutes(routes, ports)
    mappingRoutes(routes, ports)
    journalRoutes(routes, ports)
    operationsRoutes(routes, ports)
    backupRoutes(routes, ports)
    openapiRoutes(routes)
    pageRoutes(routes, ports)
  })
  return api
}

/** Answers what is no HTTP request at all. */
function refuseMalformed(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const { status } = errorTable.TG_REQUEST_INVALID
  const body = encodeProblem('TG_REQUEST_INVALID', 'not a valid HTTP request')
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`
  )
}
