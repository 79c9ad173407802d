import type { Readiness } from './api/ports.ts'
import type { JournalDamage } from './channel/messages.ts'
import type { ErrorCode } from './errors.ts'

type DamageReason = Readiness['reasons'][number] & { readonly code: ErrorCode }

/**
 * What readiness says of damaged files, from the start until the next one. None of it stands in the way of publishes. What
 * ingest meets was in part found at the start already, so the two are told apart and never added.
 */
export function damageReasons(
  journal: JournalDamage | undefined,
  readings: { readonly reading: { readonly records: number; readonly bytes: number }; readonly letters: JournalDamage } | undefined
): DamageReason[] {
  return [
    ...openingReasons('the journal', 'journal', journal),
    ...readingReasons(readings?.reading),
    ...openingReasons('the dead letters', 'dead-letters', readings?.letters)
  ]
}

function openingReasons(what: string, folder: string, damage: JournalDamage | undefined): DamageReason[] {
  if (damage === undefined || Object.values(damage).every(count => count === 0)) return []
  const { records, bytes, quarantinedFiles } = damage
  const message =
    `at the start, in ${what}: ${counted(records, 'record')} damaged or missing, ${counted(bytes, 'damaged byte')}, ` +
    `${counted(quarantinedFiles, 'file')} moved away; copies are in ${folder}/quarantine`
  return [{ code: 'TG_JOURNAL_DAMAGED', message, counts: { records, bytes, quarantinedFiles } }]
}

function readingReasons(reading: { readonly records: number; readonly bytes: number } | undefined): DamageReason[] {
  if (reading === undefined || (reading.records === 0 && reading.bytes === 0)) return []
  const { records, bytes } = reading
  const message =
    `ingest passed over ${counted(records, 'record')} of the journal that ${records === 1 ? 'is' : 'are'} damaged or missing, ` +
    `and ${counted(bytes, 'damaged byte')}; the ledger counts the records as damaged`
  return [{ code: 'TG_JOURNAL_DAMAGED', message, counts: { records, bytes } }]
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
