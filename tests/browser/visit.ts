import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { chromium, type BrowserContext, type Page } from 'playwright-core'
import { expect } from 'vitest'
import { programPath } from '../harness/servers.ts'
import { eventually } from '../harness/tidegate.ts'

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
]

/** The line in the chart, as the page says it. */
export interface Plotted {
  readonly device: string
  readonly measurement: string
  readonly field: string
  readonly raw: boolean
  readonly timesMs: readonly number[]
  readonly values: readonly number[]
}

/** A page in a browser of its own, that remembers all it asked for and complained of. */
export class Visit implements AsyncDisposable {
  readonly #context: BrowserContext
  readonly #profile: string
  readonly page: Page
  readonly requested: string[] = []
  readonly complaints: string[] = []

  private constructor(context: BrowserContext, page: Page, profile: string) {
    this.#context = context
    this.#profile = profile
    this.page = page
    context.on('request', request => this.requested.push(request.url()))
    page.on('websocket', socket => this.requested.push(socket.url()))
    page.on('pageerror', error => this.complaints.push(`page error: ${error.message}`))
    page.on('console', message => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(`console ${message.type()}: ${message.text()}`)
    })
  }

  static async open(url: string, size = { width: 1280, height: 800 }): Promise<Visit> {
    const profile = await mkdtemp(path.join(tmpdir(), 'tidegate-chromium-'))
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: programPath('chromium') ?? '',
      headless: true,
      args: flags,
      viewport: size
    })
    const visit = new Visit(context, context.pages()[0] ?? (await context.newPage()), profile)
    await visit.page.goto(url)
    return visit
  }

  /** What the chart shows; fails while it shows nothing. */
  async plotted(): Promise<Plotted> {
    const plotted: unknown = await this.page.evaluate('window.tidegateChart')
    expect(plotted).toBeTypeOf('object')
    return plotted as Plotted
  }

  async text(testId: string): Promise<string> {
    return await this.page.getByTestId(testId).innerText()
  }

  /** Waits until an expression is true in the page; polled from here, since the page's own policy forbids evaluation. */
  async until(expression: string, deadlineMs = 15_000): Promise<void> {
    await eventually(expression, async () => ((await this.page.evaluate(expression)) === true ? true : undefined), deadlineMs)
  }

  /** Nothing was asked of any other host, and nothing but what is expected was complained of. */
  expectInOrder(allowed?: RegExp): void {
    const own = new URL(this.page.url()).origin
    expect(this.requested.length).toBeGreaterThan(0)
    expect(this.requested.filter(url => !url.startsWith('data:') && new URL(url).origin !== own)).toEqual([])
    expect(this.complaints.filter(complaint => allowed?.test(complaint) !== true)).toEqual([])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close()
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
}
