import { createRequire } from 'node:module'
import path from 'node:path'
import fastifyStatic from '@fastify/static'
import type { ApiPorts } from '../ports.ts'
import type { Api } from '../routing.ts'

const chartFiles = new Set(['/uPlot.esm.js', '/uPlot.iife.min.js', '/uPlot.min.css'])

/** The page at / with what it loads from its folder, and the chart library under /assets/uplot/. */
export function pageRoutes(api: Api, ports: ApiPorts): void {
  const chartFolder = path.join(path.dirname(createRequire(import.meta.url).resolve('uplot/package.json')), 'dist')
  const common = { dotfiles: 'ignore', cacheControl: false, suppressWarning: true } as const
  void api.register(fastifyStatic, {
    ...common,
    root: chartFolder,
    prefix: '/assets/uplot/',
    allowedPath: file => chartFiles.has(file),
    decorateReply: false
  })
  void api.register(fastifyStatic, { ...common, root: path.resolve(ports.options.dashboardFolder), prefix: '/' })
}
