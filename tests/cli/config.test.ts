import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { configKey, configPaths } from '../../config/keys.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { tidegate } from './harness.ts'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-cli-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true })
})

describe('config check', () => {
  it('says that a configuration is right', async () => {
    expect(await tidegate(['config', 'check'], { folder })).toEqual({ code: 0, out: 'the configuration is right', err: '' })
    expect(JSON.parse((await tidegate(['config', 'check', '--json'], { folder })).out)).toEqual({ ok: true, faults: [] })
  })

  it('lists every fault of a file', async () => {
    await writeFile(path.join(folder, 'wrong.yaml'), 'mqtt:\n  port: a\nhttp:\n  prot: 1\n')
    const { code, err } = await tidegate(['config', 'check', '--config', 'wrong.yaml'], { folder })
    expect(code).toBe(1)
    expect(err.split('\n')).toEqual([
      'tidegate: 2 faults in the configuration:',
      '  http.prot: is not a key: did you mean http.port? (wrong.yaml:4:3)',
      '  mqtt.port: "a" is not a whole number from 0 to 65535 (wrong.yaml:2:9)'
    ])
  })
})

describe('config print', () => {
  it('prints YAML that is read back as the same configuration, and where each value comes from', async () => {
    const argv = ['config', 'print', '--mqtt-port', '2883', '--set', 'journal.syncDelay=7ms', '--set', 'routes=[{"topic":"x/{device}"}]']
    const { code, out } = await tidegate(argv, { folder, environment: { TIDEGATE__HTTP__HOSTS: '["a.lan"]' } })
    expect(code).toBe(0)
    expect(out).toContain('port: 2883 # from --mqtt-port')
    const again = loadConfig({ folder, configFile: 'print.yaml', readFile: file => (file.endsWith('print.yaml') ? out : undefined) })
    const direct = loadConfig({
      folder,
      argvFlags: [
        { flag: '', path: 'mqtt.port', text: '2883' },
        { flag: '', path: 'journal.syncDelay', text: '7ms' },
        { flag: '', path: 'routes', text: '[{"topic":"x/{device}"}]' },
        { flag: '', path: 'http.hosts', text: '["a.lan"]' }
      ]
    })
    expect(again).toEqual(direct)
  })

  it('never prints a secret', async () => {
    for (const more of [[], ['--json']]) {
      const { out } = await tidegate(['config', 'print', ...more], { folder, environment: { TIDEGATE__STORE__INFLUX__TOKEN: 'hush-hush' } })
      expect(out).not.toContain('hush')
      expect(out).toContain('***')
    }
  })

  it('prints milliseconds and bytes as JSON', async () => {
    const { out } = await tidegate(['config', 'print', '--json'], { folder })
    expect(JSON.parse(out)).toEqual(loadConfig({ folder }))
  })
})

it('the schema has every key of the table and no other', async () => {
  const { out } = await tidegate(['config', 'schema'])
  expect(JSON.parse(out)).toEqual(configSchema())
  const found: string[] = []
  const walk = (schema: unknown, at: string): void => {
    if (typeof schema !== 'object' || schema === null || !('properties' in schema) || configKey(at) !== undefined) {
      found.push(at)
      return
    }
    for (const [name, inner] of Object.entries(schema.properties ?? {})) walk(inner, at === '' ? name : `${at}.${name}`)
  }
  walk(JSON.parse(out), '')
  expect(found).toEqual(configPaths)
})
