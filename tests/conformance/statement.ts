/** What Tidegate does. The tests hold it for the first two; the others cannot be seen from a client's end of the wire. */
export type Statement =
  | { readonly says: string; readonly verdict: 'pass' }
  | { readonly says: string; readonly verdict: 'deviation'; readonly why: string }
  | { readonly says: string; readonly verdict: 'client' }
  | { readonly says: string; readonly verdict: 'unseen'; readonly why: string }

export const pass = (says: string) => ({ says, verdict: 'pass' }) as const
export const deviation = (says: string, why: string) => ({ says, verdict: 'deviation', why }) as const
/** A duty of the client that a server can neither keep nor check. */
export const client = (says: string) => ({ says, verdict: 'client' }) as const
export const unseen = (says: string, why: string) => ({ says, verdict: 'unseen', why }) as const

/** The statements of a table that have a test. */
export type Tested<Table extends Readonly<Record<string, Statement>>> = {
  [Id in keyof Table]: Table[Id]['verdict'] extends 'pass' | 'deviation' ? Id : never
}[keyof Table]
