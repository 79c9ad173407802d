import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { faults } from '../faults/faults.ts'
import { top } from './sources.ts'

it('each fault that is planted has its place in the sources once, and a name of its own', () => {
  const misplaced = faults.filter(({ file, find }) => readFileSync(path.join(top, file), 'utf8').split(find).length !== 2)
  expect(misplaced.map(({ name }) => name)).toEqual([])
  expect(new Set(faults.map(({ name }) => name)).size).toBe(faults.length)
})
