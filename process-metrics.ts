import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Metrics } from './metrics.ts'

/** Binds what this process costs: CPU time, memory, and how long its event loop was held. */
export function bindProcessMetrics(metrics: Metrics, name: 'edge' | 'service'): void {
  const delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()
  metrics.bind(`tidegate_${name}_cpu_seconds_total`, () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  metrics.bind(`tidegate_${name}_resident_memory_bytes`, () => process.memoryUsage.rss())
  metrics.bind(`tidegate_${name}_event_loop_delay_seconds`, () => {
    const longestNs = delay.max
    delay.reset()
    return longestNs / 1e9
  })
}
