import { Type } from 'typebox'
import { encodePosition } from '../../telemetry.ts'
import type { ApiPorts } from '../ports.ts'
import { parameterError } from '../problems.ts'
import { NoParameters, problemResponses, watchClient } from '../routing.ts'
import type { Api } from '../routing.ts'

const Target = Type.Object(
  {
    folder: Type.String({
      minLength: 1,
      maxLength: 4_096,
      description: 'Absolute path on the machine of Tidegate of a folder that holds nothing but the file backup.key'
    }),
    key: Type.String({ minLength: 16, maxLength: 256, description: 'What backup.key holds: it shows that you can write there yourself' })
  },
  { additionalProperties: false, title: 'BackupTarget' }
)

const Position = Type.Union([Type.String(), Type.Null()])

const BackupBody = Type.Object(
  {
    folder: Type.String(),
    created: Type.String({ description: 'ISO 8601' }),
    checkpoint: {
      ...Position,
      description: 'Records below have their outcome in the database of the backup; null when it has no checkpoint'
    },
    head: { ...Position, description: 'Every record from the checkpoint up to here is in the journal of the backup' },
    store: Type.Union([Type.Literal('embedded'), Type.Literal('influx')], {
      description: 'Where the points are: in the backup, or in an InfluxDB that is not part of it'
    }),
    files: Type.Integer({ minimum: 0 }),
    bytes: Type.Integer({ minimum: 0 }),
    heldMs: Type.Integer({ minimum: 0, description: 'How long writes to the database waited' }),
    tookMs: Type.Integer({ minimum: 0 })
  },
  { title: 'Backup', description: 'The backup that was made' }
)

/** POST /api/v1/backup. */
export function backupRoutes(api: Api, ports: ApiPorts): void {
  api.post(
    '/api/v1/backup',
    {
      schema: {
        operationId: 'makeBackup',
        summary: 'Write a backup of the data folder, while it is in use, into a folder on this machine',
        tags: ['operations'],
        querystring: NoParameters,
        body: Target,
        response: { 200: BackupBody, ...problemResponses }
      }
    },
    async (request, reply) => {
      const { folder, key } = request.body
      if (!folder.startsWith('/') || folder.includes('\0')) throw parameterError('folder', 'write an absolute path')
      const { checkpoint, head, ...facts } = await ports.backup({ folder, key }, watchClient(reply).signal)
      return { ...facts, checkpoint: position(checkpoint), head: position(head) }
    }
  )

  function position(ordinal: number | null): string | null {
    return ordinal === null ? null : encodePosition(ports.journal, ordinal)
  }
}
