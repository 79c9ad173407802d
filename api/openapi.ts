import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import { Type } from 'typebox'
import { NoParameters, problemResponses } from './routing.ts'
import type { Api } from './routing.ts'

/** React sets styles by attribute, and icons are data addresses; all else is as strict as for the page. */
const docsPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Registers what makes the OpenAPI document from the routes; has to come before them. */
export function registerOpenapi(api: Api): void {
  void api.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Tidegate',
        version: '1',
        description: 'MQTT telemetry in, queryable time series out. Errors are problem+json (RFC 9457) with a code of docs/errors.md.'
      },
      tags: [
        { name: 'readings', description: 'Publish, query and follow readings' },
        { name: 'devices', description: 'Devices and their newest values' },
        { name: 'operations', description: 'How the service does' }
      ]
    },
    convertConstToEnum: true
  })
  void api.register(fastifySwaggerUi, {
    routePrefix: '/docs',
    uiConfig: { url: '/openapi.json', validatorUrl: null, docExpansion: 'list' },
    staticCSP: docsPolicy
  })
}

/** GET /openapi.json. */
export function openapiRoutes(api: Api): void {
  api.get(
    '/openapi.json',
    {
      schema: {
        operationId: 'getOpenapi',
        summary: 'This document (OpenAPI 3.1)',
        tags: ['operations'],
        querystring: NoParameters,
        response: { 200: Type.Object({}, { description: 'The document' }), ...problemResponses }
      }
    },
    async () => api.swagger()
  )
}
