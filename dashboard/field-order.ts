/**
 * Which fields people look at first. The API lists fields by name, and a battery's level is rarely why someone opens the
 * page: what moves comes first, what hardly does comes last, everything else in between by name.
 */
const first = ['temperature', 'power', 'value', 'humidity', 'co2', 'flow', 'moisture', 'pressure', 'current', 'charge', 'illuminance']
const last = ['voltage', 'energy', 'total', 'battery', 'linkquality', 'rssi', 'uptime', 'seq']

/** Orders two field names, for sort. */
export function compareFields(a: string, b: string): number {
  return rankOf(a) - rankOf(b) || (a < b ? -1 : a > b ? 1 : 0)
}

// part of a name counts too: ENERGY_Power, flowTemperature
function rankOf(name: string): number {
  const lower = name.toLowerCase()
  const dull = last.findIndex(word => lower === word || (lower.endsWith(word) && !first.includes(lower)))
  if (dull >= 0) return 1000 + dull
  const exact = first.indexOf(lower)
  if (exact >= 0) return exact
  const part = first.findIndex(word => lower.endsWith(word))
  return part >= 0 ? 100 + part : 500
}
