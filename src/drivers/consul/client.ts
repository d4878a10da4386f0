/**
 * Requests to Consul: which agent is asked, what is asked again, and what a failure means.
 *
 * What changes something is sent again only where nobody can have acted on it: it never left, or the answer
 * itself says that it was refused.
 */
import { sleep } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { type ErrorCode, QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import { HttpConnections, type HttpReply, type Lane, NoReply } from './http.ts';
import type { ResolvedConnection } from './options.ts';

export interface ConsulRequest {
  readonly method: 'GET' | 'PUT';
  readonly path: string;
  readonly body?: unknown;
  /** For errors: `the lock 'a'`. */
  readonly doing: string;
  /** Whether it may be done twice, or nobody minds whether it was done. */
  readonly repeatable: boolean;
  /** Statuses that are answers, besides 200. */
  readonly answers?: readonly number[];
  readonly signal?: AbortSignal | undefined;
  /** The agent may keep it so long. */
  readonly waitMs?: number;
  /** Where it is not a call like others: see there. */
  readonly lane?: Lane;
}

/** What a failed attempt means. */
interface Verdict {
  readonly code: ErrorCode;
  /** It cannot have been done, nor will it be. */
  readonly notDone: boolean;
  /** This agent cannot: the next one may. */
  readonly isAgent: boolean;
  /** It passes soon, for all agents. */
  readonly passes: boolean;
  readonly why: string;
  readonly cause?: unknown;
}

/** While there is no leader. */
const TRY_AGAIN_MS = 100;
/** On top of the wait: Consul adds up to a sixteenth to it. */
const WAIT_SLACK = 17 / 16;

export class ConsulClient {
  readonly clock: Clock;
  readonly random: Random;
  readonly #timeoutMs: number;
  readonly #agents: readonly HttpConnections[];
  /** The agent that answered last. */
  #current: number;

  constructor({ targets, token, tls, timeoutMs, clock, random }: ResolvedConnection) {
    this.clock = clock;
    this.random = random;
    this.#timeoutMs = timeoutMs;
    this.#agents = targets.map((target) => new HttpConnections(target, { clock, tls, token }));
    this.#current = 0;
  }

  /** @throws QuorateError, with an honest outcome; or the reason of the signal */
  async request(request: ConsulRequest): Promise<HttpReply> {
    const deadlineMs = this.clock.now() + this.#timeoutMs;
    let agentsLeft = this.#agents.length;
    while (true) {
      const tried = this.#current;
      const agent = this.#agents[tried]!;
      const leftMs = Math.max(1, deadlineMs - this.clock.now());
      // One that is silent must leave the next one time.
      const limitMs = request.repeatable ? leftMs / Math.max(1, agentsLeft) : leftMs;
      const reply = await attempt(agent, request, limitMs);
      if (!(reply instanceof NoReply) && isAnswer(reply, request)) return reply;
      const verdict = reply instanceof NoReply ? unanswered(reply) : refused(reply);
      if (verdict.isAgent) {
        agentsLeft -= 1;
        // Others may have gone on already.
        if (this.#current === tried) this.#current = (tried + 1) % this.#agents.length;
      }
      const mayRepeat = verdict.notDone || request.repeatable;
      const isHopeful = verdict.passes || (verdict.isAgent && agentsLeft > 0);
      const pauseMs = verdict.passes ? TRY_AGAIN_MS + this.random.below(TRY_AGAIN_MS) : 0;
      if (!mayRepeat || !isHopeful || this.clock.now() + pauseMs >= deadlineMs) {
        throw failure(request, verdict, agent.target.name);
      }
      if (pauseMs > 0) await sleep(this.clock, pauseMs, request.signal);
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const agent of this.#agents) agent.close();
  }
}

async function attempt(
  agent: HttpConnections,
  { method, path, body, signal, waitMs = 0, lane = 'call' }: ConsulRequest,
  limitMs: number,
): Promise<HttpReply | NoReply> {
  const message = {
    method,
    path,
    body: body === undefined ? undefined : JSON.stringify(body),
    timeoutMs: Math.ceil(limitMs + waitMs * WAIT_SLACK),
    signal,
  };
  try {
    return await agent.send(message, lane);
  } catch (error) {
    if (error instanceof NoReply) return error;
    throw error;
  }
}

function isAnswer({ status }: HttpReply, { answers = [] }: ConsulRequest): boolean {
  return status === 200 || answers.includes(status);
}

function unanswered(error: NoReply): Verdict {
  return {
    code: error.isNonsense ? 'ERR_PROTOCOL' : 'ERR_UNAVAILABLE',
    notDone: !error.wasSent,
    isAgent: true,
    passes: false,
    why: error.message,
    cause: error,
  };
}

/** Answers that refuse. Texts and statuses are those of Consul's HTTP API; some errors of the caller are a 500. */
function refused({ status, text }: HttpReply): Verdict {
  const said = text.trim().slice(0, 300) || `HTTP status ${status}`;
  const verdict = (code: ErrorCode, also: Partial<Verdict> = {}): Verdict => {
    return { code, notDone: true, isAgent: false, passes: false, why: said, ...also };
  };
  if (/no cluster leader/i.test(said)) return verdict('ERR_NO_LEADER', { passes: true });
  if (/rate limit|too many requests/i.test(said) || status === 429) {
    return verdict('ERR_BUSY', { passes: true });
  }
  if (/acl not found|token not found/i.test(said)) return verdict('ERR_UNAUTHENTICATED');
  if (status === 401) return verdict('ERR_UNAUTHENTICATED');
  if (/permission denied/i.test(said) || status === 403) return verdict('ERR_PERMISSION_DENIED');
  if (status === 413) return verdict('ERR_REQUEST_TOO_LARGE');
  if (/invalid session ttl|session ttl .* invalid|invalid key name/i.test(said) || status === 400) {
    return verdict('ERR_INVALID_ARGUMENT');
  }
  // At its start an agent does not know itself yet.
  if (/missing node registration/i.test(said)) return verdict('ERR_UNAVAILABLE', { passes: true });
  // It could not reach the servers at all.
  if (/no known consul servers|failed to get conn/i.test(said)) {
    return verdict('ERR_UNAVAILABLE', { isAgent: true });
  }
  // An agent that is not there any more answers so too: what became of the request nobody knows.
  if (status >= 500) return verdict('ERR_UNAVAILABLE', { notDone: false, isAgent: true });
  return verdict('ERR_PROTOCOL', { notDone: false });
}

function failure(request: ConsulRequest, verdict: Verdict, agent: string): QuorateError {
  const { code, notDone, why, cause } = verdict;
  const isUnknown = !notDone && !request.repeatable;
  const retryable = RETRYABLE.has(code);
  return new QuorateError(
    code,
    `${request.doing}: ${why} (Consul at ${agent})${ADVICE[code] ?? ''}`,
    {
      outcome: isUnknown ? 'unknown' : 'not-applied',
      retryable,
      cause,
    },
  );
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set(['ERR_UNAVAILABLE', 'ERR_NO_LEADER', 'ERR_BUSY']);

const ADVICE: Partial<Record<ErrorCode, string>> = {
  ERR_UNAVAILABLE: '; check the address and that the agent runs',
  ERR_UNAUTHENTICATED: '; check the token',
  ERR_PERMISSION_DENIED: '; the token needs key:write on the prefix and session:write on the node',
  ERR_PROTOCOL: '; check that the address is the HTTP API of a Consul agent',
  ERR_INVALID_ARGUMENT: '',
};
