import { Type } from 'typebox'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A payload in JSON: as text where it is valid UTF-8, else in base64. Exactly one of the two. */
export const payloadMembers = {
  payload: Type.Optional(Type.String({ description: 'The payload as text' })),
  payloadBase64: Type.Optional(
    Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', description: 'The payload in base64, where it is no text' })
  )
}

/** The member that holds a payload. */
export function encodePayload(payload: Uint8Array): { readonly payload: string } | { readonly payloadBase64: string } {
  try {
    return { payload: decoder.decode(payload) }
  } catch {
    return { payloadBase64: Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('base64') }
  }
}
