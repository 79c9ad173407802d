/** Draws a small line of values without axes; fewer than two are no line. */
export function drawSpark(canvas: HTMLCanvasElement, values: readonly number[], ink: string): void {
  const ratio = devicePixelRatio
  const width = Math.round(canvas.clientWidth * ratio)
  const height = Math.round(canvas.clientHeight * ratio)
  if (canvas.width !== width) canvas.width = width
  if (canvas.height !== height) canvas.height = height
  const context = canvas.getContext('2d')
  if (context === null) return
  context.clearRect(0, 0, width, height)
  if (values.length < 2) return
  const low = Math.min(...values)
  const span = Math.max(...values) - low
  const edge = 2 * ratio
  context.beginPath()
  for (const [index, value] of values.entries()) {
    const x = edge + (index / (values.length - 1)) * (width - 2 * edge)
    const y = span === 0 ? height / 2 : height - edge - ((value - low) / span) * (height - 2 * edge)
    context.lineTo(x, y)
  }
  context.strokeStyle = ink
  context.lineWidth = 1.5 * ratio
  context.lineJoin = 'round'
  context.stroke()
}
