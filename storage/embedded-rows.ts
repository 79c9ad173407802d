import { type DuckDBConnection, DuckDBDataChunk, type DuckDBType, type DuckDBValue } from '@duckdb/node-api'

/** Values that a DuckDB data chunk holds at most. */
const chunkRows = 2048

/** A table in memory that rows pass through on their way into the database file. */
export interface StagingTable {
  readonly name: string
  readonly columns: readonly { readonly name: string; readonly type: DuckDBType }[]
}

/** Makes the staging table of a connection, or empties it. */
export async function prepareStaging(connection: DuckDBConnection, table: StagingTable): Promise<void> {
  const columns = table.columns.map(column => `${column.name} ${column.type.toString()}`).join(', ')
  await connection.run(`CREATE OR REPLACE TEMP TABLE ${table.name} (${columns})`)
}

/**
 * Puts rows, given as one array a column, into a staging table that prepareStaging made. Appending straight to a table of
 * the file would block the event loop for up to 100 ms; here it is in memory, and the loop turns after each chunk.
 */
export async function stage(
  connection: DuckDBConnection,
  table: StagingTable,
  columns: readonly (readonly DuckDBValue[])[]
): Promise<void> {
  const rows = columns[0]?.length ?? 0
  if (rows === 0) return
  const types = table.columns.map(column => column.type)
  const appender = await connection.createAppender(table.name, null, 'temp')
  try {
    for (let from = 0; from < rows; from += chunkRows) {
      const chunk = DuckDBDataChunk.create(types)
      chunk.setColumns(columns.map(column => column.slice(from, from + chunkRows)))
      appender.appendDataChunk(chunk)
      await new Promise(resolve => setImmediate(resolve))
    }
  } finally {
    appender.closeSync()
  }
}
