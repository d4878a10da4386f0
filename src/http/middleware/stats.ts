/**
 * What became of requests, as data: counts and durations by method, route and status, as OpenTelemetry's
 * `http.server.request.duration` has them (semantic conventions for HTTP metrics).
 */
import {
  type DurationHistogram,
  Histogram,
  REQUEST_BOUNDS_MS,
} from '../../resilience/histogram.ts';
import { requestEnd } from '../../telemetry/channels.ts';
import type { RefusalReason } from './refusal.ts';

/** Requests of one method, route and status. Numbers only grow. */
export interface RequestSeries {
  /** One of those that are known, in capitals; `_OTHER` for the rest. */
  readonly method: string;
  /** The template of the route, such as `/users/:id`; `other` where there is none, or there are too many. */
  readonly route: string;
  /** 499 where the client went away before it had all of the answer. */
  readonly status: number;
  readonly count: number;
  /** Of all of them. */
  readonly durations: DurationHistogram;
}

/** What became of the requests of a guard. */
export interface RequestGuardStats {
  /** Requests that are under way. */
  readonly active: number;
  /** Not let in, or answered in place of the handler; each is in `requests` as well. */
  readonly refused: Readonly<Record<RefusalReason, number>>;
  readonly requests: readonly RequestSeries[];
}

const METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
  'QUERY',
]);
/** Beyond this a route counts as other: somebody uses addresses as routes. */
const MAX_ROUTES = 500;
const OTHER = 'other';

class Series {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly durations: Histogram;
  count: number;

  constructor(method: string, route: string, status: number) {
    this.method = method;
    this.route = route;
    this.status = status;
    this.durations = new Histogram(REQUEST_BOUNDS_MS);
    this.count = 0;
  }

  add(tookMs: number): void {
    this.durations.record(tookMs);
    this.count += 1;
  }

  read(): RequestSeries {
    const { method, route, status, count, durations } = this;
    return { method, route, status, count, durations: durations.read() };
  }
}

/** All series of a route. The one that was used last is at hand: mostly it is used again. */
class Route {
  readonly name: string;
  readonly #series: Map<string, Series>;
  #last: Series | undefined;

  constructor(name: string) {
    this.name = name;
    this.#series = new Map();
    this.#last = undefined;
  }

  series(method: string, status: number): Series {
    const last = this.#last;
    if (last !== undefined && last.status === status && last.method === method) return last;
    const known = METHODS.has(method) ? method : '_OTHER';
    const key = `${status} ${known}`;
    let one = this.#series.get(key);
    if (one === undefined) {
      one = new Series(known, this.name, status);
      this.#series.set(key, one);
    }
    this.#last = one;
    return one;
  }

  all(): Iterable<Series> {
    return this.#series.values();
  }
}

/** Counts requests. */
export class RequestMeter {
  readonly #routes: Map<string, Route>;
  readonly #other: Route;
  readonly #refused: Record<RefusalReason, number>;
  #active: number;

  constructor() {
    this.#other = new Route(OTHER);
    this.#routes = new Map([[OTHER, this.#other]]);
    this.#refused = { limited: 0, unavailable: 0, shed: 0, deadline: 0, failed: 0, aborted: 0 };
    this.#active = 0;
  }

  begin(): void {
    this.#active += 1;
  }

  refuse(reason: RefusalReason): void {
    this.#refused[reason] += 1;
  }

  end(method: string, route: string | undefined, status: number, tookMs: number): void {
    this.#active -= 1;
    const valid = status >= 100 && status <= 999 ? status : 500;
    const durationMs = Math.max(0, tookMs);
    const series = this.#route(route).series(method, valid);
    series.add(durationMs);
    if (requestEnd.hasSubscribers)
      requestEnd.publish({ method: series.method, route: series.route, status: valid, durationMs });
  }

  stats(): RequestGuardStats {
    const routes = [...this.#routes.values()];
    const requests = routes.flatMap((route) => [...route.all()].map((series) => series.read()));
    return { active: this.#active, refused: { ...this.#refused }, requests };
  }

  #route(name: string | undefined): Route {
    if (name === undefined) return this.#other;
    const route = this.#routes.get(name);
    if (route !== undefined) return route;
    if (this.#routes.size >= MAX_ROUTES || typeof name !== 'string') return this.#other;
    const added = new Route(name);
    this.#routes.set(name, added);
    return added;
  }
}
