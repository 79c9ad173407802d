/** RFC 9457 answers: every error leaves the API as application/problem+json with a code of the error table. */
import type { FastifyError, FastifyReply } from 'fastify'
import { Type } from 'typebox'
import { errorTable, TidegateError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'

/** Seconds that a client is asked to wait before it tries again after a 503. */
const retryAfterSeconds = 1

/** The body of every answer with an error status. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'Identifies the kind of problem: the code as a URN' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String({ description: 'A code of docs/errors.md', examples: ['TG_PARAMETER_INVALID'] }),
    parameter: Type.Optional(Type.String({ description: 'The parameter, or member of the body, at fault' }))
  },
  { description: 'A problem (RFC 9457)' }
)

/** A parameter that is wrong: answers 400 and names it. */
export function parameterError(parameter: string, message: string): TidegateError {
  return new TidegateError('TG_PARAMETER_INVALID', `${parameter}: ${message}`, { context: { parameter } })
}

/** The text of a problem answer. */
export function encodeProblem(code: ErrorCode, detail: string, parameter?: unknown): string {
  const { title, status } = errorTable[code]
  const named = typeof parameter === 'string' ? { parameter } : {}
  return JSON.stringify({ type: `urn:tidegate:error:${code}`, title, status, detail, code, ...named })
}

/** The TidegateError that stands for anything thrown while a request was served. An unknown error is TG_BUG. */
export function toTidegateError(error: unknown): TidegateError {
  if (error instanceof TidegateError) return error
  const code = frameworkCode(error)
  const message = code === 'TG_BUG' || !(error instanceof Error) ? 'the log of the service has the details' : error.message
  return new TidegateError(code, message, { cause: error })
}

/** Sends an error as a problem. Bugs are logged with their cause; what a client did wrong is not. */
export function sendProblem(error: unknown, reply: FastifyReply): FastifyReply {
  const problem = toTidegateError(error)
  if (problem.outcome === 'bug') {
    reply.log.error({ err: problem.cause ?? problem, code: problem.code, route: reply.request.routeOptions.url }, 'request failed')
  }
  if (problem.status === 503) reply.header('retry-after', retryAfterSeconds)
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="tidegate"')
  return reply
    .code(problem.status)
    .type('application/problem+json')
    .send(encodeProblem(problem.code, problem.message, problem.context['parameter']))
}

function frameworkCode(error: unknown): ErrorCode {
  if (!(error instanceof Error)) return 'TG_BUG'
  const { code, statusCode = 500 } = error as Partial<FastifyError>
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return 'TG_BODY_TOO_LARGE'
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return 'TG_MEDIA_TYPE'
  if (code?.startsWith('FST_ERR_CTP_') === true) return 'TG_BODY_INVALID'
  if (statusCode === 404 || statusCode === 403) return 'TG_ROUTE_UNKNOWN'
  return statusCode >= 400 && statusCode < 500 ? 'TG_REQUEST_INVALID' : 'TG_BUG'
}
