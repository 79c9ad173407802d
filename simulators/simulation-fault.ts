/** Why a simulation cannot run, in one line for the person who typed the command. Every other error is a defect. */
export class SimulationFault extends Error {
  override readonly name = 'SimulationFault'
}
