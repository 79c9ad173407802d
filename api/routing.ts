/** What the route files share: the typed instance, problem responses for their schemas, and the client's going away. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, RawServerDefault } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { TSchema } from 'typebox'
import { TidegateError } from '../errors.ts'
import type { Storage } from '../storage/port.ts'
import type { ApiPorts } from './ports.ts'
import { Problem } from './problems.ts'

/** A Fastify instance whose handlers are typed by their TypeBox schemas. */
export type Api = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

const problem = { content: { 'application/problem+json': { schema: Problem } } }

/** The error responses that every route may give. */
export const problemResponses = {
  '4xx': { description: 'The request is at fault', ...problem },
  '5xx': { description: 'Nothing is lost: with Retry-After the same request may succeed later', ...problem }
}

/**
 * Responses of a route that writes its JSON itself, for the sake of exact digits or of streaming: documented, but the
 * compiler does not hold what is sent against them (a test does).
 */
export function textResponses(responses: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return { ...responses, ...problemResponses }
}

/** A page of items, as every list answers. */
export function listOf<Item extends TSchema>(item: Item, description: string) {
  return Type.Object({ items: Type.Array(item), nextCursor: NextCursor }, { description })
}

/** The query string of a route that has no parameters: one that is given is an error, as everywhere. */
export const NoParameters = Type.Object({})

/** The cursor of the next page. */
export const NextCursor = Type.Union([Type.String(), Type.Null()], {
  description: 'Give it as cursor for the next page; null on the last one'
})

/**
 * The store, once it is open.
 * @throws TidegateError TG_STORE_UNAVAILABLE before that
 */
export function requireStorage(ports: ApiPorts): Storage {
  return opened(ports.storage())
}

/** The same for any part that is undefined until it is open. */
export function opened<Part>(part: Part | undefined): Part {
  if (part === undefined) throw new TidegateError('TG_STORE_UNAVAILABLE', 'the store is not open yet')
  return part
}

/**
 * An answer that is on its way: its signal aborts when the client goes away before it has everything, or by `cut`, which
 * also breaks the connection, so that what was sent so far cannot pass for a complete answer.
 */
export function watchClient(reply: FastifyReply): { readonly signal: AbortSignal; cut(): void } {
  const controller = new AbortController()
  const abort = (): void => {
    if (!reply.raw.writableFinished) controller.abort(new TidegateError('TG_QUERY_CANCELLED', 'the client went away'))
  }
  reply.raw.once('close', abort)
  if (reply.request.socket.destroyed) abort()
  return {
    signal: controller.signal,
    cut: () => {
      abort()
      reply.raw.destroy()
    }
  }
}
