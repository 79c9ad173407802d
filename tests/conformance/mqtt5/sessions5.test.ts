import { describe } from 'vitest'
import { testStatements } from './checks.ts'

describe('MQTT 5.0: sessions, wills and time', () => testStatements('unhurried'))
