import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openApi } from './fakes.ts'

let folder = ''

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-page-'))
  await mkdir(path.join(folder, 'page', 'parts'), { recursive: true })
  await writeFile(path.join(folder, 'page', 'index.html'), '<!doctype html><title>Tidegate</title>')
  await writeFile(path.join(folder, 'page', 'page.js'), 'export {}')
  await writeFile(path.join(folder, 'page', 'parts', 'chart.js'), 'export const chart = 1')
  await writeFile(path.join(folder, 'page', '.built'), 'x')
  await writeFile(path.join(folder, 'secret.txt'), 'secret')
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

describe('the page', () => {
  it.each([
    ['/', 'text/html; charset=utf-8', '<!doctype html>'],
    ['/page.js', 'application/javascript; charset=utf-8', 'export {}'],
    ['/parts/chart.js', 'application/javascript; charset=utf-8', 'export const chart'],
    ['/assets/uplot/uPlot.esm.js', 'application/javascript; charset=utf-8', 'uPlot.js'],
    ['/assets/uplot/uPlot.iife.min.js', 'application/javascript; charset=utf-8', 'var uPlot'],
    ['/assets/uplot/uPlot.min.css', 'text/css; charset=utf-8', '.uplot']
  ])('is served at %s', async (url, type, start) => {
    await using api = await openApi({ options: { dashboardFolder: path.join(folder, 'page') } })
    const response = await api.inject({ url })
    expect([response.statusCode, response.headers['content-type']]).toEqual([200, type])
    expect(response.body.slice(0, 200)).toContain(start)
  })

  it.each([
    '/nothing.html',
    '/.built',
    '/../secret.txt',
    '/..%2fsecret.txt',
    '/%2e%2e/secret.txt',
    '/%2e%2e%2fsecret.txt',
    '/parts/..%2f..%2fsecret.txt',
    '/..%5csecret.txt',
    '/assets/uplot/uPlot.cjs.js',
    '/assets/uplot/../package.json',
    '/assets/uplot/%2e%2e%2fpackage.json',
    '/parts',
    '/page.js%00.html'
  ])('has nothing at %s', async url => {
    await using api = await openApi({ options: { dashboardFolder: path.join(folder, 'page') } })
    const response = await api.inject({ url })
    expect([400, 404]).toContain(response.statusCode)
    expect(response.headers['content-type']).toContain('application/problem+json')
    expect(response.body).not.toContain('secret"')
  })

  it('is missing without a fault of the rest when it was not built', async () => {
    await using api = await openApi()
    expect((await api.inject({ url: '/' })).json()).toMatchObject({ status: 404 })
    expect((await api.inject({ url: '/healthz' })).statusCode).toBe(200)
  })
})

describe('/docs', () => {
  it('is served from here and loads only from here', async () => {
    await using api = await openApi()
    const response = await api.inject({ url: '/docs' })
    const references = [...response.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(match => match[1] ?? '')
    expect(references.length).toBeGreaterThan(4)
    for (const reference of references) {
      expect(reference).toMatch(/^\/docs\/static\//)
      expect((await api.inject({ url: reference })).statusCode).toBe(200)
    }
    // scripts of the page itself would be refused by the policy
    expect(response.body).not.toMatch(/<script>(?!\s*<\/script>)/)
    const start = await api.inject({ url: '/docs/static/swagger-initializer.js' })
    expect(start.body).toContain('"validatorUrl":null')
    expect((await api.inject({ url: '/docs/json' })).json()).toEqual((await api.inject({ url: '/openapi.json' })).json())
  })
})
