import type { Config } from '../config.ts'
import { reasonCodes } from './packets/reason-codes.ts'
import type { Fault } from './packets/reason-codes.ts'

/**
 * Why a client from this address may not come in, or undefined. User names and passwords are recorded, never checked: until
 * there is a credential store every client counts as anonymous.
 */
export function accessFault(anonymous: Config['access']['anonymous'], address: string): Fault | undefined {
  if (anonymous === 'any' || (anonymous === 'loopback' && isLoopback(address))) return undefined
  const fault = anonymous === 'never' ? 'anonymous access is off' : 'anonymous access is for this machine only'
  return { fault, code: reasonCodes.notAuthorized }
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}
