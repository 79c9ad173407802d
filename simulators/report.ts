import type { Verification } from './verification.ts'

/** What a simulation did and found. */
export interface SimulationReport {
  readonly home: string
  readonly seed: number
  readonly devices: number
  /** Messages a second that were asked for. */
  readonly rate: number
  readonly qos: 0 | 1 | 2
  /** Event time of the first reading, ISO 8601. */
  readonly startedAt: string
  /** From the first reading to the last acknowledgement. */
  readonly tookMs: number
  /** True when it was stopped before its end. */
  readonly interrupted: boolean
  readonly sent: number
  readonly acknowledged: number
  /** Sent, but more than 50 ms behind the schedule. */
  readonly late: number
  /** Never sent, because too many were waiting for their acknowledgement. */
  readonly notSent: number
  readonly reconnects: number
  /** From when a reading was due to its acknowledgement; null when nothing was acknowledged. */
  readonly ackMs: { readonly p50: number; readonly p99: number; readonly max: number } | null
  /** Undefined when verification was not asked for. */
  readonly verification?: Verification
  /** True when verification was asked for, whether or not it could be done. */
  readonly verify: boolean
}

/**
 * True when everything that the run promises holds: it ran to its end and, if it verified, no acknowledged reading is
 * missing and none at all is duplicated or wrong. The command exits with 0 exactly then.
 */
export function reportOk({ verify, verification, interrupted, sent, acknowledged, qos }: SimulationReport): boolean {
  if (!verify) return true
  if (interrupted || verification === undefined || sent === 0 || (qos > 0 && acknowledged === 0)) return false
  return verification.missing === 0 && verification.duplicated === 0 && verification.wrong === 0
}

/** The report as lines for a terminal, ending without a line feed. */
export function formatReport(report: SimulationReport): string {
  const { verification: found } = report
  const lines = [
    `${report.home} · ${count(report.devices)} devices · ${count(report.rate)} messages/s · QoS ${report.qos} · seed ${report.seed} · ${(report.tookMs / 1000).toFixed(1)} s${report.interrupted ? ' · interrupted' : ''}`,
    '',
    row('sent', report.sent, extras(report)),
    row('acknowledged', report.acknowledged, latency(report))
  ]
  if (found !== undefined) {
    lines.push(
      row('stored', found.stored, `read back within ${(found.tookMs / 1000).toFixed(1)} s`),
      row('missing', found.missing),
      row('duplicated', found.duplicated),
      row('wrong', found.wrong)
    )
    if (found.examples.length > 0) lines.push('', ...found.examples.map(example => `  ${example}`))
  }
  if (report.verify)
    lines.push('', reportOk(report) ? 'ok: every acknowledged reading is there once, as it was sent' : `FAILED: ${failure(report)}`)
  return lines.join('\n')
}

function failure({ interrupted, verification, sent, acknowledged }: SimulationReport): string {
  if (interrupted) return 'it was stopped before its end, so nothing was verified'
  if (sent === 0) return 'nothing was sent'
  if (verification === undefined) return 'nothing was verified'
  if (verification.missing + verification.duplicated + verification.wrong > 0) return 'what the API shows is not what was acknowledged'
  return acknowledged === 0 ? 'nothing was acknowledged' : 'unknown'
}

function extras({ late, notSent, reconnects }: SimulationReport): string {
  return [
    late > 0 ? `${count(late)} late` : '',
    notSent > 0 ? `${count(notSent)} not sent: too many waited for their acknowledgement` : '',
    reconnects > 0 ? `${count(reconnects)} reconnects` : ''
  ]
    .filter(part => part !== '')
    .join(' · ')
}

function latency({ ackMs }: SimulationReport): string {
  return ackMs === null ? '' : `p50 ${ackMs.p50.toFixed(1)} ms · p99 ${ackMs.p99.toFixed(1)} ms · max ${ackMs.max.toFixed(0)} ms`
}

function row(name: string, value: number, remark = ''): string {
  return `  ${name.padEnd(13)}${count(value).padStart(12)}${remark === '' ? '' : `   ${remark}`}`
}

function count(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 1 })
}
