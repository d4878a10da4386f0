/** The suite of elections. It runs as that of locks does, on the same targets: `runLockCases(electionCases, ...)`. */
import { campaignCases } from './elections-campaign.ts';
import { observeCases } from './elections-observe.ts';
import type { LockCase } from './locks-context.ts';

/** All cases of elections. */
export const electionCases: readonly LockCase[] = [...campaignCases, ...observeCases].map(
  (one) => ({ ...one, needs: ['elections', ...(one.needs ?? [])] }),
);
