import { Gauge, register } from 'prom-client'

/** Numbers of the exports of the decision log, on control's `/metrics`. */
function gauge(name: string, help: string): Gauge<'export'> {
  const known = register.getSingleMetric(name) as Gauge<'export'> | undefined
  return known ?? new Gauge({ name, help, labelNames: ['export'] })
}

export function countExport(
  name: string,
  is: { readonly behind: number; readonly lag_s: number; readonly failing_since: Date | null; readonly now_ms: number },
): void {
  gauge('sallyport_decision_export_behind', 'Decisions that an export has not delivered yet').set(
    { export: name },
    is.behind,
  )
  gauge('sallyport_decision_export_lag_seconds', 'Age of the first decision that an export has not delivered').set(
    { export: name },
    is.lag_s,
  )
  gauge('sallyport_decision_export_failing_seconds', 'For how long an export has failed; 0: it works').set(
    { export: name },
    is.failing_since === null ? 0 : Math.max(0, (is.now_ms - is.failing_since.getTime()) / 1000),
  )
}
