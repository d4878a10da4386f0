/** Ids of members and clusters on the command line: hexadecimal, as etcdctl prints them. */
import { UsageError } from './io.ts';

/** As `quorate member list` prints it. */
export function hexId(id: bigint): string {
  return id.toString(16).padStart(16, '0');
}

/** @throws UsageError for what is no id */
export function memberIdOf(topic: string, text: string | undefined): bigint {
  if (text === undefined) {
    throw new UsageError('a member ID is missing; `quorate member list` shows them', topic);
  }
  if (/^[0-9a-f]{1,16}$/i.test(text)) return BigInt(`0x${text}`);
  throw new UsageError(
    `'${text}' is no member ID, such as 8e9e05c52164694d; \`quorate member list\` shows them`,
    topic,
  );
}
