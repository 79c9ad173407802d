import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The top folder of the checkout. */
export const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))

/** One module of the product or of the tests, by its path from the top folder. */
export interface SourceFile {
  readonly file: string
  readonly text: string
  /** Modules that it imports: paths from the top folder for relative ones, names of packages otherwise. */
  readonly imports: readonly string[]
}

const left = /^(?:node_modules|dist|data|results|\..*|dist\..*)$/

/** Every TypeScript file below the top folder. */
export function readSources(): readonly SourceFile[] {
  const files: SourceFile[] = []
  const walk = (folder: string): void => {
    for (const entry of readdirSync(path.join(top, folder), { withFileTypes: true })) {
      if (left.test(entry.name)) continue
      const file = path.posix.join(folder, entry.name)
      if (entry.isDirectory()) walk(file)
      else if (entry.name.endsWith('.ts')) files.push(readSource(file))
    }
  }
  walk('')
  return files
}

function readSource(file: string): SourceFile {
  const text = readFileSync(path.join(top, file), 'utf8')
  return { file, text, imports: importsOf(file, text) }
}

/** The modules that a text imports or re-exports, type-only ones included. */
export function importsOf(file: string, text: string): readonly string[] {
  // Statements begin a line; what a comment or a string says about imports does not count.
  const statement =
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm
  const specifiers = [...text.matchAll(statement)].map(match => match[1] ?? match[2] ?? match[3] ?? '')
  return specifiers.map(specifier => {
    if (specifier.startsWith('.')) return path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier))
    return specifier
  })
}
