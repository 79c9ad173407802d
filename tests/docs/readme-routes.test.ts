import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { Tidegate } from '../harness/tidegate.ts'
import { top } from '../layout/sources.ts'

it('README lists the routes of the OpenAPI document, and no other', async () => {
  await using tidegate = await Tidegate.start()
  const answer = await fetch(`${tidegate.httpUrl}/openapi.json`)
  const document: { paths: Record<string, object> } = JSON.parse(await answer.text())
  const served = Object.entries(document.paths).flatMap(([url, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${url}`)
  )
  const readme = readFileSync(path.join(top, 'README.md'), 'utf8')
  const listed = [...readme.matchAll(/^\| ((?:GET|POST|DELETE|PUT|PATCH) \/\S*) \|/gm)].map(match => match[1] ?? '')
  expect(listed.toSorted()).toEqual(served.toSorted())
})
