/** `quorate elect NAME -- COMMAND`: one of several runs the command; another takes over when it ends. */
import { hostname } from 'node:os';
import type { Elections } from '../../locks/index.ts';
import { durationOf, parse, splitProgram } from '../args.ts';
import { openElections } from '../engines/open.ts';
import { engineOptions } from '../engines/options.ts';
import { holdWhile, lostError } from '../hold.ts';
import { EXIT, type Io, jsonLine, line, UsageError } from '../io.ts';

const TOPIC = 'elect';

const options = {
  ...engineOptions,
  listen: { type: 'boolean', short: 'l' },
  ttl: { type: 'string' },
  'kill-after': { type: 'string' },
} as const;

export async function elect(argv: readonly string[], io: Io): Promise<number> {
  const { own, program } = splitProgram(argv);
  const { values, positionals } = parse(TOPIC, options, own);
  const [name, value = hostname(), ...extra] = positionals;
  if (name === undefined || name === '') throw new UsageError('elect needs a NAME', TOPIC);
  if (extra.length > 0) {
    throw new UsageError(
      `put -- before the command: quorate elect ${name} ${value} -- ${extra.join(' ')}`,
      TOPIC,
    );
  }
  if (values.listen && (positionals.length > 1 || program !== undefined)) {
    throw new UsageError('--listen only watches: it takes a NAME, no VALUE and no command', TOPIC);
  }
  if (program?.length === 0) throw new UsageError('there is no command after --', TOPIC);
  const ttlMs = durationOf(TOPIC, '--ttl', values.ttl ?? '10s');
  const killAfterMs = durationOf(TOPIC, '--kill-after', values['kill-after'] ?? '5s');
  await using elections = await openElections(TOPIC, values, ttlMs, io);
  if (values.listen) return await listen(elections.it, name, values.json === true, io);
  // Leaving the loop resigns.
  for await (const term of elections.it.campaign(name, value, { signal: io.interrupted })) {
    const token = term.fencingToken;
    if (program === undefined) {
      if (values.json) jsonLine(io, { name, value, holder: term.holder, token });
      else line(io, `${term.holder}\n${value}`);
    }
    const end = await holdWhile({
      lost: term.lost,
      program,
      env: {
        ...io.env,
        QUORATE_ELECTION_NAME: name,
        QUORATE_ELECTION_VALUE: value,
        QUORATE_ELECTION_TOKEN: token.toString(),
      },
      killAfterMs,
      io,
    });
    if (end.lost) throw lostError(term.lost, program !== undefined);
    return end.code;
  }
  return EXIT.ok;
}

async function listen(elections: Elections, name: string, json: boolean, io: Io): Promise<number> {
  for await (const leader of elections.observe(name, { signal: io.interrupted })) {
    if (leader === undefined) continue;
    const value = leader.value.toString();
    if (json) jsonLine(io, { name, value, token: leader.fencingToken, revision: leader.revision });
    else line(io, value);
  }
  return EXIT.ok;
}
