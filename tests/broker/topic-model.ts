import * as fc from 'fast-check'

/** MQTT 3.1.1 §4.7, written as plainly as possible. */
export function matchesModel(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  const go = (filterLevels: readonly string[], levels: readonly string[]): boolean => {
    const [level, ...filterRest] = filterLevels
    if (level === '#') return true
    if (level === undefined || levels.length === 0) return level === undefined ? levels.length === 0 : filterLevels.join('/') === '#'
    return (level === '+' || level === levels[0]) && go(filterRest, levels.slice(1))
  }
  return go(filter.split('/'), topic.split('/'))
}

const level = fc.constantFrom('a', 'b', 'c', '', '$x', '__proto__')
/** Topic names, of few levels, so that they meet. */
export const topics = fc.array(level, { minLength: 1, maxLength: 4 }).map(levels => levels.join('/'))
/** Topic filters of the same levels. */
export const filters = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 4 }), fc.boolean())
  .map(([levels, hash]) => [...levels, ...(hash || levels.length === 0 ? ['#'] : [])].join('/'))
