/** Shelly, first generation (shelly-api-docs.shelly.cloud/gen1): one plain value a topic; the levels are the field. */
import type { Dialect } from './dialect.ts'
import { ignored, levelsOf } from './dialect.ts'

export const shelly: readonly Dialect[] = [
  ignored('shellies/announce'),
  ignored('shellies/command'),
  ignored('shellies/{device}/{rest…}/command'),
  ignored('shellies/{device}/command'),
  {
    pattern: 'shellies/{device}/{rest…}',
    meaning: captured => {
      const field = levelsOf(captured, 'rest', '_')
      return { measurement: 'home', device: levelsOf(captured, 'device'), scalarField: field, prefix: field }
    }
  }
]
