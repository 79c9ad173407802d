import { eventually, type Tidegate } from './tidegate.ts'

/** What GET /readyz says. */
export interface Readiness {
  readonly status: number
  /** Codes of its reasons. */
  readonly codes: readonly string[]
}

export async function readReadiness(tidegate: Tidegate): Promise<Readiness> {
  const answer = await fetch(`${tidegate.httpUrl}/readyz`)
  const body = (await answer.json()) as { readonly reasons: readonly { readonly code: string }[] }
  return { status: answer.status, codes: body.reasons.map(reason => reason.code) }
}

/** Resolves when /readyz refuses and gives that code as a reason. */
export async function refuses(tidegate: Tidegate, code: string): Promise<void> {
  await eventually(
    `/readyz is 503 with ${code}`,
    async () => {
      const { status, codes } = await readReadiness(tidegate)
      return status === 503 && codes.includes(code) ? true : undefined
    },
    60_000
  )
}

/** Resolves when the service says that its store is away, and that publishes are taken all the same. */
export async function outageSeen(tidegate: Tidegate): Promise<void> {
  await givesReason(tidegate, 'TG_STORE_UNAVAILABLE')
}

/** Resolves when /readyz is 200 and gives this reason among others. */
export async function givesReason(tidegate: Tidegate, code: string): Promise<void> {
  await eventually(
    `/readyz is 200 with ${code}`,
    async () => {
      const { status, codes } = await readReadiness(tidegate)
      return status === 200 && codes.includes(code) ? true : undefined
    },
    30_000
  )
}

/** Resolves when /readyz is 200 and gives no reason. */
export async function becomesReady(tidegate: Tidegate): Promise<void> {
  await eventually(
    '/readyz is 200 without a reason',
    async () => {
      const { status, codes } = await readReadiness(tidegate)
      return status === 200 && codes.length === 0 ? true : undefined
    },
    60_000
  )
}

/** The value of a metric without labels. */
export async function readMetric(tidegate: Tidegate, name: string): Promise<number> {
  const text = await (await fetch(`${tidegate.httpUrl}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}
