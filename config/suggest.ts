import { distance } from 'fastest-levenshtein'

/** The known word that was probably meant, undefined when none is near. Case, `-` and `_` do not count. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const bare = bareOf(word)
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(bare.length / 3)) + 1
  for (const candidate of known) {
    const apart = distance(bare, bareOf(candidate))
    if (apart < bestDistance) {
      best = candidate
      bestDistance = apart
    }
  }
  return best
}

function bareOf(word: string): string {
  return word
    .slice(0, 100)
    .toLowerCase()
    .replaceAll(/[-_\s]/g, '')
}
