import { cellAt } from '../random.ts'

export const minutesPerDay = 1440

/** Hour of the simulated day, 0 … 24. */
export function hourOf(minute: number): number {
  return (((minute % minutesPerDay) + minutesPerDay) % minutesPerDay) / 60
}

/** A bump of height 1 around an hour of the day, `width` hours wide at 60 % of its height. */
export function bump(minute: number, hour: number, width: number): number {
  const away = Math.abs(hourOf(minute) - hour)
  const distance = Math.min(away, 24 - away) / width
  return Math.exp(-distance * distance * 2)
}

/** Height of the sun, 0 at night … 1 at noon, with dawn at 6 and dusk at 20. */
export function daylight(minute: number): number {
  const hour = hourOf(minute)
  return hour <= 6 || hour >= 20 ? 0 : Math.sin(((hour - 6) / 14) * Math.PI)
}

/** How busy the home is, 0 … 1: a peak in the morning, a larger one in the evening, little at night. */
export function activity(minute: number): number {
  return Math.min(1, 0.05 + 0.6 * bump(minute, 7.5, 1.5) + 0.25 * bump(minute, 13, 2.5) + 0.9 * bump(minute, 19.5, 3))
}

/** True in a share of all cells of `length` minutes; the share is how busy the home is in the middle of the cell. */
export function busyCell(seed: number, minute: number, length: number): boolean {
  const cell = Math.floor(minute / length)
  return cellAt(seed, cell) < activity((cell + 0.5) * length)
}

/**
 * Counts up what a power (in W) delivers: the function that it returns gives Wh since minute 0. The day's profile is
 * added up once, so that any minute can be asked for at once.
 */
export function energyOf(profile: (minute: number) => number): (minute: number) => number {
  const sums = new Float64Array(minutesPerDay + 1)
  for (let minute = 0; minute < minutesPerDay; minute++) sums[minute + 1] = (sums[minute] ?? 0) + profile(minute) / 60
  const day = sums[minutesPerDay] ?? 0
  return minute => Math.floor(minute / minutesPerDay) * day + (sums[minute % minutesPerDay] ?? 0)
}
