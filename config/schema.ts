import { configKey, configPaths } from './keys.ts'
import type { ConfigKey } from './keys.ts'
import { childrenOf } from './layers.ts'

/** JSON Schema (draft 2020-12) of tidegate.yaml, from the table of keys. */
export function configSchema(): Readonly<Record<string, unknown>> {
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'tidegate.yaml', ...sectionSchema('') }
}

function sectionSchema(section: string): Readonly<Record<string, unknown>> {
  const properties = childrenOf(section).map(name => {
    const path = section === '' ? name : `${section}.${name}`
    const key = configKey(path)
    return [name, key === undefined ? sectionSchema(path) : { ...valueSchema(key), description: key.about, default: key.default }]
  })
  return {
    type: configPaths.length === 0 ? 'null' : ['object', 'null'],
    additionalProperties: false,
    properties: Object.fromEntries(properties)
  }
}

function valueSchema(key: ConfigKey): Readonly<Record<string, unknown>> {
  switch (key.kind) {
    case 'duration':
      return { type: 'string', pattern: String.raw`^\d+(\.\d+)?\s?(ms|s|m|h|d)$` }
    case 'size':
      return { type: 'string', pattern: String.raw`^\d+(\.\d+)?\s?(B|KiB|MiB|GiB|TiB)$` }
    case 'integer':
      return { type: 'integer', minimum: key.min, maximum: key.max }
    case 'choice':
      return { enum: key.of }
    case 'text':
    case 'folder':
    case 'url':
      return { type: 'string' }
    case 'hosts':
      return { type: 'array', items: { type: 'string' } }
    case 'routes':
      return { type: 'array', items: routeSchema }
  }
}

const routeSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['topic'],
  properties: {
    topic: { type: 'string', minLength: 1 },
    measurement: { type: 'string', minLength: 1 },
    payload: { enum: ['auto', 'json', 'scalar', 'line'] },
    ignore: { type: 'boolean' },
    integers: { type: 'array', items: { type: 'string', minLength: 1 } }
  }
}
