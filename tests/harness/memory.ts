import { readFileSync } from 'node:fs'
import type { Tidegate } from './tidegate.ts'

/** Far above what either process takes, and below what tests throw at them. */
export const rssBoundBytes = 450 * 1024 * 1024

function rssOf(pid: number | undefined): number {
  if (pid === undefined) return 0
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
}

/** The greatest memory of both processes, looked at every 50 ms until disposed. */
export function watchMemory(tidegate: Tidegate): { readonly edge: number; readonly service: number } & Disposable {
  const greatest = { edge: 0, service: 0, [Symbol.dispose]: () => clearInterval(timer) }
  const timer = setInterval(() => {
    greatest.edge = Math.max(greatest.edge, rssOf(tidegate.pid))
    greatest.service = Math.max(greatest.service, rssOf(tidegate.servicePid()))
  }, 50)
  return greatest
}
