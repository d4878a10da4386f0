/**
 * All figures that there are. Names are OpenTelemetry's way of writing; those for Prometheus follow from them by the rules
 * of its specification ("Prometheus and OpenMetrics compatibility").
 */

/** `updown`: goes up and down, and those of several instances add up. `gauge`: they do not; of several the highest counts. */
export type FigureKind = 'counter' | 'updown' | 'gauge' | 'histogram';

/** One figure, with all its series. */
export interface Figure {
  readonly name: string;
  readonly kind: FigureKind;
  /** As UCUM has it: `s` for seconds, `1` for shares, `{call}` for what is counted. */
  readonly unit: string;
  readonly help: string;
  /** Labels whose values users choose: they become `other` where there are too many. */
  readonly names: readonly string[];
}

const figure = (kind: FigureKind, unit: string, names: readonly string[]) => {
  return (name: string, help: string): Figure => ({ name, kind, unit, help, names });
};

const BY_PIPELINE = ['pipeline'];
const BY_POLICY = ['pipeline', 'policy'];
const BY_POOL = ['pool'];
const BY_ROUTE = ['http_route'];

const pipelineCalls = figure('counter', '{call}', BY_PIPELINE);
const pipelineNow = figure('updown', '{call}', BY_PIPELINE);
const pipelineTime = figure('histogram', 's', BY_PIPELINE);
const calls = figure('counter', '{call}', BY_POLICY);
const attempts = figure('counter', '{attempt}', BY_POLICY);
const callsNow = figure('updown', '{call}', BY_POLICY);
const policiesNow = figure('updown', '{policy}', BY_POLICY);
const shares = figure('gauge', '1', BY_POLICY);
const times = figure('gauge', 's', BY_POLICY);
const tasks = figure('counter', '{task}', BY_POOL);
const tasksNow = figure('updown', '{task}', BY_POOL);
const threads = figure('counter', '{thread}', BY_POOL);
const taskTimes = figure('histogram', 's', BY_POOL);

/** By what each is read from. */
export const FIGURES = {
  pipeline: {
    calls: pipelineCalls('quorate.pipeline.calls', 'Calls that have ended, by outcome.'),
    running: pipelineNow('quorate.pipeline.running', 'Calls under way.'),
    duration: pipelineTime('quorate.pipeline.duration', 'How long calls took, however they ended.'),
  },
  breaker: {
    state: policiesNow('quorate.breaker.state', '1 for the state that the circuit is in, else 0.'),
    opened: figure('counter', '{time}', BY_POLICY)('quorate.breaker.opened', 'How often it broke.'),
    refused: calls('quorate.breaker.refused', 'Calls refused: the circuit was not closed.'),
    late: calls('quorate.breaker.late', 'Results that came too late to count.'),
    failures: shares('quorate.breaker.failure_ratio', 'Share of the window that failed.'),
    slow: shares('quorate.breaker.slow_ratio', 'Share of the window that was slow.'),
  },
  limit: {
    calls: calls('quorate.limit.calls', 'Calls that a rate limit let through or refused.'),
    waiting: callsNow('quorate.limit.waiting', 'Calls that wait for a rate limit.'),
  },
  concurrency: {
    limit: callsNow('quorate.concurrency.limit', 'Calls that may run at the same time.'),
    running: callsNow('quorate.concurrency.running', 'Calls that run.'),
    queued: callsNow('quorate.concurrency.queued', 'Calls that wait for a place.'),
    refused: calls('quorate.concurrency.refused', 'Calls refused: all places were taken.'),
  },
  shed: {
    offered: calls('quorate.shed.offered', 'Calls that came, by priority.'),
    refused: calls('quorate.shed.refused', 'Calls shed, by priority.'),
    overloaded: policiesNow('quorate.shed.overloaded', '1 while overloaded, else 0.'),
  },
  timeout: {
    exceeded: calls('quorate.timeout.exceeded', 'Calls ended by a timeout.'),
  },
  deadline: {
    refused: calls('quorate.deadline.refused', 'Calls not begun: no time was left.'),
    exceeded: calls('quorate.deadline.exceeded', 'Calls ended by their deadline.'),
  },
  retry: {
    calls: calls('quorate.retry.calls', 'Calls that came to a retry.'),
    retries: attempts('quorate.retry.retries', 'Attempts after the first ones.'),
    exhausted: calls('quorate.retry.exhausted', 'Calls whose last attempt failed.'),
    overBudget: calls(
      'quorate.retry.over_budget',
      'Calls not tried again: the budget was used up.',
    ),
  },
  hedge: {
    calls: calls('quorate.hedge.calls', 'Calls that came to a hedge.'),
    hedges: attempts('quorate.hedge.hedges', 'Attempts beside the first ones.'),
    won: calls('quorate.hedge.won', 'Calls that a later attempt answered.'),
    overBudget: attempts('quorate.hedge.over_budget', 'Attempts not made: the budget was used up.'),
  },
  fallback: {
    calls: calls('quorate.fallback.calls', 'Calls that came to a fallback.'),
    answered: calls('quorate.fallback.answered', 'Calls that the fallback answered.'),
    failures: calls('quorate.fallback.failures', 'Calls whose fallback failed as well.'),
  },
  degrade: {
    degraded: policiesNow('quorate.degrade.degraded', '1 while the primary is not called, else 0.'),
    errors: shares('quorate.degrade.error_ratio', "Share of the primary's calls that failed."),
    mean: times('quorate.degrade.mean', "How long the primary's calls took lately, on average."),
  },
  pool: {
    size: tasksNow('quorate.pool.size', 'Tasks that may run at the same time.'),
    running: tasksNow('quorate.pool.running', 'Workers that are taken.'),
    queued: tasksNow('quorate.pool.queued', 'Tasks in the queue.'),
    blocked: tasksNow('quorate.pool.blocked', 'Tasks that wait for room in the queue.'),
    submitted: tasks('quorate.pool.submitted', 'Tasks that came.'),
    tasks: tasks('quorate.pool.tasks', 'Tasks that have ended, by how.'),
    threads: figure(
      'updown',
      '{thread}',
      BY_POOL,
    )('quorate.pool.threads', 'Threads that there are.'),
    started: threads('quorate.pool.threads_started', 'Threads started.'),
    crashed: threads('quorate.pool.threads_crashed', 'Threads that ended by themselves.'),
    recycled: threads(
      'quorate.pool.threads_recycled',
      'Threads ended as they had been used enough.',
    ),
    waited: taskTimes('quorate.pool.wait', 'How long tasks waited for a worker.'),
    ran: taskTimes('quorate.pool.run', 'How long tasks ran.'),
  },
  http: {
    active: figure('updown', '{request}', [])('http.server.active_requests', 'Requests under way.'),
    duration: figure(
      'histogram',
      's',
      BY_ROUTE,
    )('http.server.request.duration', 'How long requests took.'),
    refused: figure(
      'counter',
      '{request}',
      [],
    )('quorate.http.refused', 'Requests refused before their handler, by reason.'),
  },
  own: {
    other: figure(
      'updown',
      '{series}',
      [],
    )(
      'quorate.telemetry.other',
      'Series read last that had no room for their names and are added up as other.',
    ),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Figure>>>>;

/** All of them. */
export const ALL_FIGURES: readonly Figure[] = Object.values(FIGURES).flatMap(
  (group): readonly Figure[] => Object.values(group),
);
