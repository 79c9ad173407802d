import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, it } from 'vitest'
import { demoHome } from '../../simulators/simulations.ts'
import { eventually } from '../harness/tidegate.ts'
import { top } from '../layout/sources.ts'

it('the demo says where it is, its home can be queried within ten seconds, and Ctrl-C ends it with exit code 0', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-demo-run-'))
  const startedMs = performance.now()
  const argv = ['demo', '--mqtt-port', '0', '--http-port', '0', '--json']
  const child = spawn(process.execPath, [path.join(top, 'bin/tidegate.mjs'), ...argv], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit']
  })
  try {
    const [line]: string[] = await once(createInterface({ input: child.stdout }), 'line', { signal: AbortSignal.timeout(10_000) })
    const { page, mqtt, data }: { page: string; mqtt: string; data: string } = JSON.parse(line ?? '')
    expect(data).toBe(path.join(folder, 'data', 'demo'))
    expect(mqtt).toMatch(/^mqtt:\/\/127\.0\.0\.1:\d+$/)
    const online = await eventually(
      'every device of the home is online',
      async () => {
        const answer = await fetch(new URL('/api/v1/devices?limit=100', page))
        const { items }: { items: { device: string; online: boolean | null }[] } = JSON.parse(await answer.text())
        return items.length >= demoHome.devices ? items.filter(item => item.online === true) : undefined
      },
      10_000 - (performance.now() - startedMs)
    )
    expect(online.length).toBeGreaterThanOrEqual(demoHome.devices)
    child.kill('SIGINT')
    await once(child, 'exit')
    expect(child.exitCode).toBe(0)
  } finally {
    child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
})
