/** Who may ask: the Host check (DNS rebinding), the Origin check on what changes something, content types, anonymous access. */
import { isIPv4 } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { TidegateError } from '../errors.ts'
import { quoted } from './times.ts'

/** What a route says about itself beside its schema. */
export interface RouteFacts {
  /** Answers without credentials from anywhere: only liveness and readiness. */
  readonly open?: boolean
  /** Content types that a body may have. Default application/json. */
  readonly accepts?: readonly string[]
}

declare module 'fastify' {
  interface FastifyContextConfig extends RouteFacts {}
}

/** True for addresses of this machine, also where they come mapped into IPv6. */
export function isLoopbackAddress(address: string): boolean {
  const bare = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
  return bare === '::1' || (isIPv4(bare) && bare.startsWith('127.'))
}

/** True when a Host header names this server: a loopback name or address with any port, or one of `hosts`. */
export function isHostAccepted(host: string | undefined, hosts: readonly string[]): boolean {
  if (host === undefined) return false
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]/@?#\s]+)(?::\d{1,5})?$/i.exec(host)
  const name = match?.[1]?.toLowerCase()
  if (name === undefined) return false
  if (name === 'localhost' || name === '[::1]' || isLoopbackAddress(name)) return true
  return hosts.some(accepted => accepted.toLowerCase() === name || accepted.toLowerCase() === host.toLowerCase())
}

/**
 * Lets a request pass or says why not.
 * @throws TidegateError TG_HOST_REFUSED, TG_ANONYMOUS_REFUSED, TG_ORIGIN_REFUSED or TG_MEDIA_TYPE
 */
export function checkAccess(
  request: FastifyRequest,
  options: { readonly anonymous: 'loopback' | 'any' | 'never'; readonly hosts: readonly string[] }
): void {
  const { host } = request.headers
  if (!isHostAccepted(host, options.hosts)) {
    throw new TidegateError(
      'TG_HOST_REFUSED',
      `Host ${quoted(host ?? '')} is not a loopback name; http.hosts in the configuration lists further ones`
    )
  }
  const facts: RouteFacts = request.routeOptions.config
  if (facts.open !== true) checkAnonymous(request.socket.remoteAddress ?? '', options.anonymous)
  const changes = request.method !== 'GET' && request.method !== 'HEAD' && request.method !== 'OPTIONS'
  if (!changes || request.is404) return
  checkOrigin(request.headers.origin, host ?? '')
  checkMediaType(request, facts.accepts ?? ['application/json'])
}

function checkAnonymous(address: string, anonymous: 'loopback' | 'any' | 'never'): void {
  if (anonymous === 'any' || (anonymous === 'loopback' && isLoopbackAddress(address))) return
  throw new TidegateError(
    'TG_ANONYMOUS_REFUSED',
    anonymous === 'loopback'
      ? 'only this machine is served without credentials (access.anonymous)'
      : 'credentials are needed (access.anonymous)'
  )
}

function checkOrigin(origin: string | undefined, host: string): void {
  if (origin === undefined) return
  const lower = host.toLowerCase()
  if (origin === `http://${lower}` || origin === `https://${lower}`) return
  // browsers leave a default port out of Origin; other clients may leave it in
  const url = URL.canParse(origin) ? new URL(origin) : undefined
  const own = url === undefined || !URL.canParse(`${url.protocol}//${host}`) ? undefined : new URL(`${url.protocol}//${host}`)
  if (url !== undefined && own !== undefined && url.origin !== 'null' && url.origin === own.origin) return
  throw new TidegateError('TG_ORIGIN_REFUSED', `Origin ${quoted(origin)} is not ${quoted(host)}`)
}

function checkMediaType(request: FastifyRequest, accepted: readonly string[]): void {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  const encoding = request.headers['content-encoding']
  if (accepted.includes(type) && (encoding === undefined || encoding.toLowerCase() === 'identity')) return
  throw new TidegateError('TG_MEDIA_TYPE', `the body has to be ${accepted.join(' or ')}, without a content encoding`)
}
